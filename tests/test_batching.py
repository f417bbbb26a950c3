"""Small clips of one shape go through the model together; each file is what it would be alone."""

from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest
import torch
from safetensors.torch import load
from torch import Tensor

from tests.clips import write_clip
from tests.commands import run
from vae3d_cli.codec import EncodeOptions, encode_video
from vae3d_cli.codec import encode as encode_module
from vae3d_cli.execution import CLIPS_AT_ONCE, Batching, StrategyOptions
from vae3d_cli.model.cache import TemporalCache
from vae3d_cli.model.tiny import TinyVae
from vae3d_cli.weights import Model


@pytest.fixture
def clips(tmp_path: Path) -> Path:
    """A folder of more clips than go together, no two alike."""
    folder = tmp_path / "clips"
    folder.mkdir()
    for number in range(CLIPS_AT_ONCE + 3):
        write_clip(folder / f"{number:02d}.mp4", 9, 64, 56, seed=number)
    return folder


@pytest.fixture
def batches(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many clips went through the model together, each time that some did, as if no CPU rounded otherwise."""
    sizes: list[int] = []
    encode = Batching.encode

    def encode_and_count(self: Batching, chunks: Iterable[tuple[Tensor, ...]]) -> Iterator[Tensor]:
        parts = [*chunks]
        sizes.append(len(parts[0]))
        return encode(self, parts)

    monkeypatch.setattr(Batching, "encode", encode_and_count)
    monkeypatch.setattr(Batching, "is_exact", lambda *_: True)
    return sizes


def encode(clips: Path, *options: object) -> dict[str, bytes]:
    """The latents files of the clips, by their names."""
    result = run("encode", clips, "-r", "-q", "-o", clips.parent / "out", *options)
    assert result.exit_code == 0, result.stderr
    return {path.stem: path.read_bytes() for path in (clips.parent / "out").glob("*.safetensors")}


def alone(clips: Path, model: Model, options: EncodeOptions | None = None) -> dict[str, bytes]:
    """The same from the library, one after the other."""
    made = {}
    for path in clips.glob("*.mp4"):
        output = clips.parent / "alone.safetensors"
        encode_video(path, output, model, options or EncodeOptions())
        made[path.stem] = output.read_bytes()
    return made


def test_files_are_those_of_each_clip_alone(clips: Path, small: Model, small_checkpoint: Path) -> None:
    write_clip(clips / "00-other.mp4", 9, 64, 48)  # breaks a batch that has begun
    write_clip(clips / "01-longer.mp4", 13, 64, 56)
    assert encode(clips, "-m", small_checkpoint) == alone(clips, small)


def test_full_batches_of_one_shape_go_together(clips: Path, batches: list[int], small_checkpoint: Path) -> None:
    encode(clips, "-m", small_checkpoint)
    assert batches == [CLIPS_AT_ONCE]


@pytest.mark.parametrize("options", [("--strategy", "whole"), ("--size", "136x128")])
def test_what_does_not_gain_goes_alone(
    clips: Path, batches: list[int], small_checkpoint: Path, options: tuple[str, str]
) -> None:
    encode(clips, "-m", small_checkpoint, *options)
    assert not batches


def test_long_clips_go_alone_and_keep_their_frames(
    monkeypatch: pytest.MonkeyPatch, clips: Path, batches: list[int], small: Model, small_checkpoint: Path
) -> None:
    monkeypatch.setattr(encode_module, "_MAX_WAITING_BYTES", 5 * 3 * 64 * 56)
    assert encode(clips, "-m", small_checkpoint) == alone(clips, small)
    assert not batches


def test_a_clip_that_is_damaged_is_in_no_batch(clips: Path, batches: list[int], small_checkpoint: Path) -> None:
    damaged = clips / "00.mp4"
    damaged.write_bytes(damaged.read_bytes()[:-900])
    result = run("encode", clips, "-r", "-q", "-m", small_checkpoint, "-o", clips.parent / "out")
    assert result.exit_code == 1
    assert "00.mp4" in result.stderr
    assert batches == [CLIPS_AT_ONCE]
    assert len([*(clips.parent / "out").glob("*.safetensors")]) == CLIPS_AT_ONCE + 2
    assert not [*(clips.parent / "out").glob(".vae3d-*.tmp")]


@pytest.mark.usefixtures("batches")
def test_a_batch_that_does_not_fit_the_memory_fails_one_clip(
    monkeypatch: pytest.MonkeyPatch, clips: Path, small: Model, small_checkpoint: Path
) -> None:
    forward = TinyVae.encode

    def run_out(self: TinyVae, pixels: Tensor, cache: TemporalCache) -> Tensor:
        if len(pixels) > 1:
            raise torch.OutOfMemoryError("out of memory")
        return forward(self, pixels, cache)

    expected = alone(clips, small)
    monkeypatch.setattr(TinyVae, "encode", run_out)
    result = run("encode", clips, "-r", "-q", "-m", small_checkpoint, "-o", clips.parent / "out")
    assert result.exit_code == 1
    assert "00.mp4" in result.stderr
    made = {path.stem: path.read_bytes() for path in (clips.parent / "out").glob("*.safetensors")}
    assert made == {name: latents for name, latents in expected.items() if name != "00"}


def test_a_cpu_that_rounds_batches_otherwise_runs_each_alone(
    monkeypatch: pytest.MonkeyPatch, clips: Path, small: Model, small_checkpoint: Path
) -> None:
    forward = TinyVae.encode
    together = []

    def round_otherwise(self: TinyVae, pixels: Tensor, cache: TemporalCache) -> Tensor:
        if len(pixels) == 1:
            return forward(self, pixels, cache)
        together.append(pixels.shape[2])
        return torch.nextafter(forward(self, pixels, cache), torch.tensor(torch.inf))

    monkeypatch.setattr(TinyVae, "encode", round_otherwise)
    assert encode(clips, "-m", small_checkpoint) == alone(clips, small)
    assert together == [5]  # the trial, and no clip


def test_larger_frames_gain_nothing(small: Model) -> None:
    batching = Batching(small.network)
    assert batching.gains(StrategyOptions(), 128, 128)
    assert not batching.gains(StrategyOptions(), 128, 136)


def test_draws_are_those_of_each_clip_alone(
    clips: Path, batches: list[int], small: Model, small_checkpoint: Path
) -> None:
    expected = alone(clips, small, EncodeOptions(posterior="sample", seed=5))
    made = encode(clips, "-m", small_checkpoint, "--posterior", "sample", "--seed", 5)
    assert batches
    assert made.keys() == expected.keys()
    for name, latents in made.items():  # bit by bit only where the CPU is exact, which is not asked for here
        assert torch.allclose(load(latents)["latents"], load(expected[name])["latents"], rtol=0, atol=1e-4)
