"""Fitting the linear codec."""

from pathlib import Path

import numpy as np
import pytest
import torch

from tests.clips import write_clip
from tests.conftest import SMALL_CONFIG
from vae3d_cli.errors import VideoError
from vae3d_cli.model.cache import TemporalCache
from vae3d_cli.model.posterior import Posterior
from vae3d_cli.training.data import (
    CLIP_SUFFIXES,
    FrameCache,
    find_files,
    hold_out,
    scene_of,
    to_pixels,
)
from vae3d_cli.training.fit import fit
from vae3d_cli.training.klt import SAMPLING_SHARE, BlockStatistics, blocks_of
from vae3d_cli.video import open_clip


@pytest.fixture(scope="module")
def material(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("material")
    for name, size in (("a_0", 64), ("b_0", 96)):
        write_clip(folder / f"{name}.mp4", 9, size, 48)
    write_clip(folder / "photo.png", 1, 64, 64, codec="png", pix_fmt="rgb24", container="rawvideo")
    return folder


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> FrameCache:
    return FrameCache(tmp_path_factory.mktemp("frames"))


def correlated(num_blocks: int, dimension: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    mixing = torch.randn(dimension, dimension, generator=generator) * torch.logspace(0, -2, dimension)[:, None]
    return torch.randn(num_blocks, dimension, generator=generator) @ mixing + 0.5


def test_latents_have_unit_variance_and_no_correlation() -> None:
    blocks = correlated(5000, 24)
    statistics = BlockStatistics(24)
    for part in blocks.split(700):  # type: ignore[no-untyped-call]
        statistics.add(part, len(part))
    basis = statistics.basis(6)
    latents = (blocks.double() - basis.mean) @ basis.encoder.T
    covariance = latents.T @ latents / len(blocks)
    assert torch.allclose(covariance, torch.eye(6, dtype=torch.float64), atol=1e-3)


def test_the_codec_is_the_best_linear_one() -> None:
    blocks = correlated(5000, 24)
    statistics = BlockStatistics(24)
    statistics.add(blocks, 1.0)
    basis = statistics.basis(6)
    centred = blocks.double() - blocks.double().mean(0)
    decoded = centred @ basis.encoder.T @ basis.decoder.T
    # Eckart-Young: no rank-6 approximation leaves less than the singular values beyond the sixth.
    least = torch.linalg.svdvals(centred)[6:].square().sum()
    assert float((centred - decoded).square().sum() / least) == pytest.approx(1, abs=1e-5)


def test_sampling_adds_the_share_of_the_error_that_it_may() -> None:
    blocks = correlated(20_000, 24).double()
    statistics = BlockStatistics(24)
    statistics.add(blocks, 1.0)
    basis = statistics.basis(6)
    mean = (blocks - basis.mean) @ basis.encoder.T
    noise = torch.randn(mean.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(1))

    def error(latents: torch.Tensor) -> float:
        return float((latents @ basis.decoder.T + basis.mean - blocks).square().mean())

    sampled = error(mean + noise * torch.exp(0.5 * basis.logvar))
    assert sampled / error(mean) == pytest.approx(1 + SAMPLING_SHARE, abs=0.001)


def test_a_fitted_network_is_the_linear_codec_with_the_fitted_posterior(material: Path, cache: FrameCache) -> None:
    clips = find_files([material], CLIP_SUFFIXES)
    network = fit(clips, [material / "photo.png"], cache, SMALL_CONFIG, seed=0)
    pixels = to_pixels(cache.frames(clips[0]))
    with torch.no_grad():
        posterior = Posterior.from_moments(network.encode(pixels, TemporalCache()))
        decoded = network.decode(posterior.mode(), TemporalCache())
    assert float((decoded - pixels).square().mean()) < 0.1 * float(pixels.var())
    assert torch.equal(posterior.logvar[:, :, 1].amin((2, 3)), posterior.logvar[:, :, 1].amax((2, 3)))
    group = blocks_of(pixels[:, :, 1:5], SMALL_CONFIG)
    linear = network.encoder.linear.rest
    assert linear.bias is not None
    by_hand = group @ linear.weight[:, :, 0, 0].T + linear.bias
    assert torch.allclose(posterior.mean[0, :, 1].flatten(1).T, by_hand[:, :16], atol=1e-3)


def test_the_same_seed_gives_the_same_network(material: Path, cache: FrameCache) -> None:
    clips = find_files([material], CLIP_SUFFIXES)
    a, b = (fit(clips, [material / "photo.png"], cache, SMALL_CONFIG, seed=5).state_dict() for _ in range(2))
    assert all(torch.equal(a[name], b[name]) for name in a)


def test_hidden_files_are_not_trained_on(tmp_path: Path) -> None:
    for name in ("b.mp4", "a/c.mp4", ".vae3d-0123456789abcdef.part.mp4", ".trash/d.mp4", "a/._c.mp4"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.touch()
    assert find_files([tmp_path], CLIP_SUFFIXES) == [tmp_path / "a" / "c.mp4", tmp_path / "b.mp4"]
    assert find_files([tmp_path / ".trash" / "d.mp4"], CLIP_SUFFIXES) == [tmp_path / ".trash" / "d.mp4"]


def test_held_out_scenes_are_not_trained_on(tmp_path: Path) -> None:
    clips = [tmp_path / "bikes_2.mp4", tmp_path / "street_1.mp4"]
    assert [scene_of(path) for path in clips] == ["bikes", "street"]
    assert hold_out(clips, ["bikes"]) == (clips[1:], clips[:1])
    assert hold_out(clips, []) == (clips, [])
    with pytest.raises(VideoError, match="no clip is left"):
        hold_out(clips, ["bikes", "street"])
    with pytest.raises(VideoError, match="tree: there is no clip of this scene"):
        hold_out(clips, ["tree"])


def test_a_clip_without_a_group_is_named(tmp_path: Path, cache: FrameCache) -> None:
    clip = write_clip(tmp_path / "short.mp4", 4)
    with pytest.raises(VideoError, match=r"short\.mp4: has 4 frames, and a clip needs 5"):
        fit([clip], [], cache, SMALL_CONFIG, seed=0)


def test_a_file_is_decoded_once_until_it_changes(tmp_path: Path) -> None:
    clip, cache = write_clip(tmp_path / "clip.mp4", 5), FrameCache(tmp_path / "frames")
    first = cache.frames(clip)
    assert first.shape == (5, 3, 24, 32)
    with open_clip(clip) as video:
        assert np.array_equal(first, np.stack([frame.rgb for frame in video]))
    (entry,) = cache.folder.iterdir()
    stamp = entry.stat().st_mtime_ns
    assert np.array_equal(cache.frames(clip), first)
    assert [path.stat().st_mtime_ns for path in cache.folder.iterdir()] == [stamp]
    write_clip(clip, 7)
    assert len(cache.frames(clip)) == 7


def test_deep_clips_are_kept_in_8_bits(tmp_path: Path, cache: FrameCache) -> None:
    deep = write_clip(tmp_path / "deep.mp4", 5, pix_fmt="yuv420p10le")
    with open_clip(deep) as video:
        frames = np.stack([frame.rgb for frame in video])
    assert frames.dtype == np.uint16
    kept = cache.frames(deep)
    assert kept.dtype == np.uint8
    assert np.abs(kept - frames / 257).max() <= 0.5


def test_a_link_to_nothing_is_named(tmp_path: Path, cache: FrameCache) -> None:
    (tmp_path / "gone.mp4").symlink_to(tmp_path / "nowhere")
    with pytest.raises(VideoError, match=r"gone\.mp4: No such file"):
        cache.frames(tmp_path / "gone.mp4")
