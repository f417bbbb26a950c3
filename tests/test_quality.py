"""The validation protocol of the embedded model."""

import argparse
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from skimage.metrics import peak_signal_noise_ratio
from torch import Tensor

from tests.benchmarks import quality
from tests.clips import write_clip
from tests.conftest import SMALL_CONFIG
from vae3d_cli.errors import UsageError, VideoError
from vae3d_cli.training.data import FrameCache
from vae3d_cli.training.fit import fit
from vae3d_cli.weights import Checkpoint, Model, load_model, write_checkpoint


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A clip of a held-out scene, and one of another."""
    folder = tmp_path_factory.mktemp("clips")
    for name in ("tree_0", "street_0"):
        write_clip(folder / f"{name}.mp4", 18, 96, 64)
    return folder


@pytest.fixture(scope="module")
def fitted(folder: Path) -> Path:
    """A model whose networks add nothing."""
    path = folder / "fitted.safetensors"
    network = fit([folder / "street_0.mp4"], [], FrameCache(folder / "frames"), SMALL_CONFIG, seed=0)
    write_checkpoint(path, Checkpoint(SMALL_CONFIG, network.state_dict(), {}))
    return path


@pytest.fixture(scope="module")
def frames(folder: Path) -> Tensor:
    """What is compared of the held-out clip."""
    return quality.read_frames(folder / "tree_0.mp4")


def test_the_centre_of_the_first_17_frames_is_compared(frames: Tensor) -> None:
    assert (frames.dtype, frames.shape) == (torch.uint8, (17, 3, 256, 256))
    ramp = torch.arange(512).div(2).byte().expand(1, 3, 256, -1)
    assert torch.equal(quality.cropped(ramp), ramp[..., 128:384])
    assert torch.equal(quality.cropped(ramp.transpose(2, 3)), ramp[..., 128:384].transpose(2, 3))


def test_frames_are_counted_by_their_position_in_the_group() -> None:
    indices = [float(index) for index in range(17)]
    assert quality.at_position(indices, 1) == [1, 5, 9, 13]
    assert quality.at_position(indices, 4) == [4, 8, 12, 16]
    still = quality.ClipScore(psnr=[50.0, *[30.0, 31.0, 32.0, 34.0] * 4], ssim=[1.0], difference_psnr=1.0, flicker=0.0)
    figures = quality.summarise([still], [still])
    assert [figures[f"position_{number}_psnr"] for number in (1, 2, 3, 4)] == [30, 31, 32, 34]
    assert figures["position_spread"] == 4
    assert figures["first_frame_psnr"] == 50
    assert figures["mean_gain_over_linear"] == 0


def test_psnr_is_that_of_scikit_image(small: Model, frames: Tensor) -> None:
    code = quality.codec_of(small)
    decoded = code(frames)
    score = quality.score(code, frames, decoded)
    expected = [
        peak_signal_noise_ratio(a.numpy(), b.numpy(), data_range=255)  # type: ignore[no-untyped-call]
        for a, b in zip(frames, decoded, strict=True)
    ]
    assert score.psnr == pytest.approx(expected, abs=1e-6)
    errors = np.diff(decoded.numpy().astype(float), axis=0) - np.diff(frames.numpy().astype(float), axis=0)
    of_differences = 10 * np.log10(255**2 / np.square(errors).mean((1, 2, 3)))
    assert score.difference_psnr == pytest.approx(of_differences.mean(), abs=1e-6)


def test_flicker_is_of_the_first_frame_held_and_counted_from_frame_4(frames: Tensor) -> None:
    def pulsing(held: Tensor) -> Tensor:
        assert all(torch.equal(frame, frames[0]) for frame in held)
        levels = torch.tensor([200, 0, 0, 0, 10, 10, 10, 10, 12, 10, 10, 10, 10, 10, 10, 10, 10])
        return levels.byte()[:, None, None, None].expand_as(held)

    assert quality.score(pulsing, frames, frames).flicker == pytest.approx((2 + 2) / 12)


def test_the_linear_part_by_itself_is_the_codec_whose_networks_add_nothing(
    fitted: Path, small_checkpoint: Path, folder: Path, frames: Tensor
) -> None:
    linear = quality.yardstick(str(fitted), folder, None)
    assert torch.equal(linear(frames), quality.codec_of(load_model(str(fitted), dtype="fp32"))(frames))
    with pytest.raises(UsageError, match="more than linear"):
        quality.yardstick(str(small_checkpoint), folder, None)


def test_a_yardstick_is_fitted_on_what_is_not_held_out(folder: Path, frames: Tensor, tmp_path: Path) -> None:
    linear = quality.yardstick(None, folder, None)
    assert quality.score(linear, frames, linear(frames)).psnr[0] > 25
    write_clip(tmp_path / "tree_0.mp4", 18)
    with pytest.raises(VideoError, match="no clip is left"):
        quality.yardstick(None, tmp_path, None)


def test_every_figure_and_a_picture_are_written(
    fitted: Path, small_checkpoint: Path, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    report, picture = tmp_path / "report.json", tmp_path / "picture.png"
    models = [str(small_checkpoint), str(fitted)]
    quality.main(
        argparse.Namespace(clips=folder, models=models, linear=str(fitted), photos=None, json=report, picture=picture)
    )
    written = json.loads(report.read_text())
    assert list(written["figures"]) == ["linear", "small.safetensors", "fitted.safetensors"]
    assert written["figures"]["fitted.safetensors"]["least_gain_over_linear"] == 0
    assert written["figures"]["small.safetensors"]["least_gain_over_linear"] < 0
    assert list(written["clips"]["linear"]) == ["tree_0"]
    assert len(written["clips"]["linear"]["tree_0"]["psnr"]) == 17
    assert f"{written['figures']['linear']['psnr']:.2f} dB" in capsys.readouterr().out
    with Image.open(picture) as image:
        assert image.width <= 1000


def test_what_the_protocol_cannot_take_is_refused(tmp_path: Path) -> None:
    short = write_clip(tmp_path / "street_0.mp4", 16)
    with pytest.raises(VideoError, match=r"street_0\.mp4: has 16 frames, and the protocol takes 17"):
        quality.read_frames(short)
    with pytest.raises(UsageError, match="no clip of a held-out scene"):
        quality.main(argparse.Namespace(clips=tmp_path))
