"""HunyuanVideo's VAE through the commands, at toy size."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from tests.clips import moving_frames, read_back, write_clip
from tests.commands import assert_failed, run, run_bytes
from tests.hunyuanvideo import UNEVEN, deviation, moments_of, ours, reference, whole_clips
from vae3d_cli.codec.pixels import to_pixels
from vae3d_cli.model.posterior import Posterior

CPU = torch.device("cpu")
FACTOR = 0.476986


@pytest.fixture
def folder(hunyuanvideo_folder: Path) -> Path:
    """What diffusers saves."""
    return hunyuanvideo_folder


@pytest.fixture
def lossless(tmp_path: Path) -> Path:
    """Seven frames whose pixels are those of `moving_frames`."""
    return write_clip(tmp_path / "clip.mkv", 7, codec="libx264rgb", pix_fmt="rgb24", options={"qp": "0"})


def expected_moments() -> torch.Tensor:
    frames = moving_frames(7, 32, 24)
    return moments_of(whole_clips(reference(UNEVEN)), to_pixels([*frames, frames[-1], frames[-1]], UNEVEN, CPU))


def encode(clip: Path, folder: Path, *arguments: object) -> dict[str, torch.Tensor]:
    result = run("encode", clip, "-m", folder, "-f", "-q", *arguments)
    assert result.exit_code == 0, result.stderr
    return load_file(clip.with_suffix(".safetensors"))


def test_what_diffusers_saves_and_the_original_form_run_from_the_shell(
    tmp_path: Path, folder: Path, clip: Path
) -> None:
    original = tmp_path / "pytorch_model.pt"
    weights = reference(UNEVEN).state_dict()
    torch.save({"state_dict": {f"vae.{name}": value for name, value in weights.items()}}, original)
    (tmp_path / "config.json").write_bytes((folder / "config.json").read_bytes())
    reports = []
    for model in (folder, original):
        result = run_bytes("roundtrip", clip, "-m", model, "--json")
        assert (result.returncode, result.stderr) == (0, b"")
        reports.append(json.loads(result.stdout))
    assert [report["model"] for report in reports] == ["diffusers", "pytorch_model.pt"]
    for key in ("encoder_sha256", "metrics", "latents_shape", "strategy"):
        assert reports[0][key] == reports[1][key]
    assert reports[0]["latents_shape"] == [16, 3, 3, 4]
    assert reports[0]["strategy"] == {"name": "layerwise"}


@pytest.mark.parametrize("strategy", ["auto", "whole", "layerwise"])
def test_encode_gives_the_moments_of_the_reference(lossless: Path, folder: Path, strategy: str) -> None:
    options = ("--posterior", "moments", "--strategy", strategy, "--memory", "1MiB")
    moments = encode(lossless, folder, *options)["moments"]
    expected = Posterior.from_moments(expected_moments())
    assert deviation(moments, torch.cat((expected.mean, expected.logvar), dim=1)[0]) < 1e-5


def test_decode_gives_the_pixels_of_the_reference(lossless: Path, folder: Path) -> None:
    latents = encode(lossless, folder)["latents"][None]
    output = lossless.with_name("out.png")
    assert (
        run("decode", lossless.with_suffix(".safetensors"), "-m", folder, "--frames", "6:7", "-o", output).exit_code
        == 0
    )
    expected = whole_clips(reference(UNEVEN)).decode(latents).sample[0, :, 6]
    frame = ((expected.clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8).permute(1, 2, 0).numpy()
    assert np.abs(read_back(output)[0][0].astype(int) - frame).max() <= 1  # a half may be rounded the other way


def test_posteriors_and_the_scaling_factor(lossless: Path, folder: Path) -> None:
    mode = encode(lossless, folder)["latents"]
    assert torch.allclose(encode(lossless, folder, "--scaled")["latents"], mode * FACTOR)
    described = json.loads(run("info", lossless.with_suffix(".safetensors"), "--json").stdout)
    assert (described["scaled"], described["scaling_factor"]) == (True, FACTOR)
    assert (described["latent_space"], described["model"]) == ("hunyuanvideo", "diffusers")
    sample = encode(lossless, folder, "--posterior", "sample", "--seed", 3)["latents"]
    assert not torch.equal(sample, mode)
    assert torch.equal(encode(lossless, folder, "--posterior", "sample", "--seed", 3)["latents"], sample)
    assert_failed(
        run("encode", lossless, "-m", folder, "-f", "--scaled", "--posterior", "moments"), 2, "--scaled: moments"
    )


@pytest.mark.parametrize("scaled", ["--scaled", "--unscaled"])
def test_scaled_latents_decode_to_the_same_frames(lossless: Path, folder: Path, scaled: str) -> None:
    report = json.loads(run("roundtrip", lossless, "-m", folder, "--json", "-q", scaled).stdout)
    plain = json.loads(run("roundtrip", lossless, "-m", folder, "--json", "-q").stdout)
    assert report["metrics"]["psnr"]["mean"] == pytest.approx(plain["metrics"]["psnr"]["mean"], abs=1e-3)


def test_the_borders_of_tiles_are_measured_apart(tmp_path: Path, folder: Path) -> None:
    clip = write_clip(tmp_path / "clip.mkv", 5, 48, 24, codec="libx264rgb", pix_fmt="rgb24", options={"qp": "0"})
    tiles = ("--strategy", "tiled", "--tile-px", 16, "--tile-overlap-px", 8)
    written = ("-o", tmp_path / "recon.mkv", "--lossless")
    psnr = json.loads(run("roundtrip", clip, "-m", folder, "--json", "-q", *tiles, *written).stdout)["metrics"]["psnr"]
    originals, decoded = (np.stack(read_back(path)[0]).astype(int) for path in (clip, tmp_path / "recon.mkv"))
    # Tiles come in at every multiple of 8: columns 7, 8, 15, 16, ... 39, 40 of 48, and rows 7, 8, 15, 16 of 24.
    seams = np.zeros((24, 48), dtype=bool)
    seams[[7, 8, 15, 16]] = True
    seams[:, [side for border in range(8, 48, 8) for side in (border - 1, border)]] = True
    for name, where in (("seams", seams), ("elsewhere", ~seams)):
        mse = ((originals - decoded) ** 2)[:, where].mean()
        assert psnr[name] == pytest.approx(10 * np.log10(255**2 / mse))
    psnr = json.loads(run("roundtrip", clip, "-m", folder, "--json", "-q").stdout)["metrics"]["psnr"]
    assert not {"seams", "elsewhere"} & set(psnr)
    small = ("--strategy", "tiled", "--tile-px", 48, "--tile-overlap-px", 8)
    psnr = json.loads(run("roundtrip", clip, "-m", folder, "--json", "-q", *small).stdout)["metrics"]["psnr"]
    assert "seams" not in psnr


def test_an_image_is_a_clip_of_one_frame(tmp_path: Path, folder: Path) -> None:
    image = write_clip(tmp_path / "a.png", 1, 40, 24, codec="png", pix_fmt="rgb24", container="image2")
    latents = encode(image, folder)["latents"]
    assert latents.shape == (16, 1, 3, 5)
    moments = ours(UNEVEN).encode(to_pixels(moving_frames(1, 40, 24), UNEVEN, CPU))
    assert deviation(latents, moments[0, :16]) < 1e-5
    assert run("decode", tmp_path / "a.safetensors", "-m", folder, "-o", tmp_path / "b.png").exit_code == 0
    assert [frame.shape for frame in read_back(tmp_path / "b.png")[0]] == [(24, 40, 3)]


@pytest.mark.parametrize(("dtype", "most"), [("bf16", 0.1), ("fp16", 0.02)])
def test_less_precision_works_on_the_cpu(lossless: Path, folder: Path, dtype: str, most: float) -> None:
    full = encode(lossless, folder)["latents"]
    for strategy in ("whole", "layerwise"):
        less = encode(lossless, folder, "--dtype", dtype, "--strategy", strategy)["latents"]
        assert str(less.dtype) == {"bf16": "torch.bfloat16", "fp16": "torch.float16"}[dtype]
        assert deviation(less.float(), full) < most


def test_tiles_and_their_sizes_are_recorded(tmp_path: Path, folder: Path) -> None:
    clip = write_clip(tmp_path / "clip.mp4", 22, 80, 40)
    sizes = ("--tile-px", 64, "--tile-overlap-px", 16, "--chunk-frames", 16, "--chunk-overlap-frames", 4)
    encode(clip, folder, "--strategy", "tiled", *sizes)
    latents = clip.with_suffix(".safetensors")
    assert json.loads(run("info", latents, "--json").stdout)["strategy"] == {
        "name": "tiled",
        "tile_px": 64,
        "tile_overlap_px": 16,
        "chunk_frames": 16,
        "chunk_overlap_frames": 4,
    }
    whole = run("decode", latents, "-m", folder, "--strategy", "tiled", *sizes, "-o", tmp_path / "a.mkv")
    assert whole.exit_code == 0
    assert [frame.shape for frame in read_back(tmp_path / "a.mkv")[0]] == [(40, 80, 3)] * 22
    part = ("--strategy", "tiled", *sizes, "--frames", "3:4")
    assert run("decode", latents, "-m", folder, *part, "-o", tmp_path / "a.png").exit_code == 0


def test_verbose_says_what_was_chosen_and_why(lossless: Path, folder: Path) -> None:
    result = run("encode", lossless, "-m", folder, "-v", "--memory", "1MiB")
    assert result.exit_code == 0
    for words in (
        "strategy layerwise; kernels: still, upsample, winograd",
        "config.json: the config",
        "layout of original",
    ):
        assert words in result.stderr


@pytest.mark.parametrize(
    ("arguments", "status", "reason"),
    [
        (["--strategy", "stream"], 2, "use auto, whole, layerwise, tiled"),
        (["--tile-px", "64"], 2, "--tile-px: only --strategy tiled has tiles"),
        (["--strategy", "tiled", "--tile-px", "60"], 2, "multiples of 8"),
        (["--strategy", "tiled", "--chunk-overlap-frames", "64"], 2, "and a smaller overlap"),
        (["--memory", "lots"], 2, "give a size such as 6GiB"),
        (["--memory", "0"], 2, "give a size such as 6GiB"),
        (["--frames", "90:99"], 1, "clip.mp4: has only 6 frames; --frames starts at 90"),
        (["--frames", "90:99", "--strategy", "tiled"], 1, "has only 6 frames"),
        (["--memory", "10KiB"], 1, "clip.mp4: --memory 10.0KiB is too little: one row"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_what_cannot_be_is_refused(clip: Path, folder: Path, arguments: list[str], status: int, reason: str) -> None:
    assert_failed(run("encode", clip, "-m", folder, *arguments), status, reason)
    assert [path.name for path in clip.parent.iterdir()] == [clip.name]


def test_a_model_on_the_hub_that_cannot_be_had_is_one_line(clip: Path, tmp_path: Path) -> None:
    environment = {"HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path / "cache")}
    result = run_bytes("encode", clip, "-m", "hunyuanvideo", environment=environment)
    assert result.returncode == 1
    assert result.stderr.startswith(b"vae3d: error: hunyuanvideo: ")
    assert result.stderr.count(b"\n") == 1
