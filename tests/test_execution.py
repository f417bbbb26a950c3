"""Strategies of HunyuanVideo's network: exact ones agree, and none takes more memory than it may."""

import errno
import os
import weakref
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.weak import WeakIdKeyDictionary

from tests.hunyuanvideo import (
    SMALL,
    UNEVEN,
    deviation,
    moments_of,
    ours,
    pixels_of,
    random_latents,
    random_pixels,
    reference,
    tiles,
)
from vae3d_cli.config import HunyuanVideoConfig
from vae3d_cli.errors import MemoryLimitError, OutputError, UsageError
from vae3d_cli.execution import StrategyOptions, check_strategy, decode_chunks, encode_chunks
from vae3d_cli.execution.layers import AttentionLayer, decoder_layers
from vae3d_cli.execution.layerwise import run_layerwise
from vae3d_cli.execution.memory import FileBuffer, Memory
from vae3d_cli.execution.whole import Coder, gather
from vae3d_cli.geometry import TileSizes
from vae3d_cli.model.normalization import Statistics

KIB, MIB = 1 << 10, 1 << 20
LAYERWISE = StrategyOptions(name="layerwise")
CPU = torch.device("cpu")


def pixel_chunks(pixels: Tensor) -> list[Tensor]:
    return list(torch.split(pixels, [1] + [4] * (pixels.shape[2] // 4), dim=2))


def encode(pixels: Tensor, options: StrategyOptions, config: HunyuanVideoConfig = UNEVEN) -> Tensor:
    return torch.cat(list(encode_chunks(ours(config), pixel_chunks(pixels), options).chunks), dim=2)


def decode(latents: Tensor, options: StrategyOptions, config: HunyuanVideoConfig = UNEVEN) -> Tensor:
    return torch.cat(list(decode_chunks(ours(config), torch.split(latents, 1, dim=2), options).chunks), dim=2)


class LiveBytes(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Counts the bytes of all tensors that are made and not yet gone, without asking those who make them."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.now = 0
        self.peak = 0
        self._seen = WeakIdKeyDictionary()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
        for storage in self._storages((args, kwargs)):
            self._seen[storage] = None  # was there before
        result = func(*args, **(kwargs or {}))
        for storage in self._storages(result):
            if storage not in self._seen:
                self._seen[storage] = None
                self.now += storage.nbytes()
                self.peak = max(self.peak, self.now)
                weakref.finalize(storage, self._gone, storage.nbytes())
        return result

    def _storages(self, tree: object) -> Iterator[torch.UntypedStorage]:
        return (leaf.untyped_storage() for leaf in tree_leaves(tree) if isinstance(leaf, Tensor))

    def _gone(self, size: int) -> None:
        self.now -= size


@pytest.mark.parametrize("budget", [1000 * MIB, 4 * MIB, MIB, 400 * KIB])
@pytest.mark.parametrize(("num_frames", "height", "width"), [(1, 32, 32), (5, 40, 72), (17, 64, 32)])
def test_layerwise_is_whole_over_any_slabs(budget: int, num_frames: int, height: int, width: int) -> None:
    options = replace(LAYERWISE, memory_bytes=budget)
    pixels = random_pixels(num_frames, height, width)
    assert deviation(encode(pixels, options), ours(UNEVEN).encode(pixels)) < 1e-5
    latents = random_latents(1 + num_frames // 4, height // 8, width // 8, 16)
    assert deviation(decode(latents, options), ours(UNEVEN).decode(latents)) < 1e-5


@pytest.mark.parametrize("budget", [8 * MIB, 2 * MIB, 700 * KIB])
def test_the_working_set_of_layerwise_stays_within_its_budget(budget: int) -> None:
    options = replace(LAYERWISE, memory_bytes=budget)
    pixels, latents = random_pixels(17, 64, 64), random_latents(5, 8, 8, 16)
    for chunks in (
        encode_chunks(ours(UNEVEN), pixel_chunks(pixels), options).chunks,
        decode_chunks(ours(UNEVEN), torch.split(latents, 1, dim=2), options).chunks,
    ):
        with LiveBytes() as live:
            for _ in chunks:
                pass
        assert budget / 4 < live.peak <= budget


@pytest.mark.parametrize("budget", [MIB, 400 * KIB, 200 * KIB])
def test_attention_alone_stays_within_its_budget(budget: int) -> None:
    layers = decoder_layers(ours(UNEVEN))
    stop = next(index for index, layer in enumerate(layers) if isinstance(layer, AttentionLayer)) + 2
    latents = random_latents(9, 12, 12, 16)
    with Memory(CPU, budget) as memory:
        source = gather([latents], Coder(ours(UNEVEN).decode, layers, torch.float32), memory)
        with LiveBytes() as live:
            for _ in run_layerwise(layers[:stop], source, memory, torch.float32, lambda _: None):
                pass
    assert budget / 4 < live.peak <= budget


def test_the_count_is_of_what_is_held() -> None:
    memory = Memory(CPU, 1000)
    buffer = memory.allocate(100, torch.float32)
    assert (memory.live_bytes, memory.left_bytes) == (400, 600)
    with memory.held(600):
        assert memory.left_bytes == 0
    buffer.free()
    assert (memory.live_bytes, memory.peak_bytes) == (0, 1000)
    with pytest.raises(MemoryLimitError, match="too little"), memory.held(1001):
        pass


def test_room_for_kernels_is_kept_and_given_back_where_an_activation_needs_it() -> None:
    with Memory(CPU, 64 * KIB) as memory:
        first = memory.scratch(4096, 0)
        assert memory.scratch(1024, 48 * KIB).data_ptr() == first.data_ptr()
        assert memory.live_bytes == 16 * KIB
        memory.scratch(1024, 48 * KIB + 1)  # which would not fit beside what is kept
        assert memory.live_bytes == 4 * KIB
        memory.scratch(100, 0)  # far less is needed than is kept
        assert memory.live_bytes == 400
        memory.scratch(4096, 0)
        buffer = memory.allocate(8 * KIB - 64, torch.float32)
        assert buffer.on_device
        assert memory.live_bytes == 32 * KIB - 256
        with pytest.raises(MemoryLimitError):
            memory.scratch(16 * KIB, 0)
        buffer.free()
        memory.scratch(16, 0)
    assert memory.live_bytes == 0


def test_a_slab_that_does_not_fit_after_all_is_halved(monkeypatch: pytest.MonkeyPatch) -> None:
    pixels = random_pixels(9, 32, 32)
    convolve, sizes = F.conv3d, []

    def scarce(values: Tensor, *rest: Any) -> Tensor:
        sizes.append(values.numel())
        if values.numel() > 60_000:
            raise RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED")
        output: Tensor = convolve(values, *rest)
        return output

    expected = ours(UNEVEN).encode(pixels)
    monkeypatch.setattr(F, "conv3d", scarce)
    assert deviation(encode(pixels, LAYERWISE), expected) < 1e-5
    assert max(sizes) > 60_000
    monkeypatch.setattr(F, "conv3d", lambda *_: (_ for _ in ()).throw(torch.cuda.OutOfMemoryError("never")))
    with pytest.raises(torch.cuda.OutOfMemoryError):
        encode(pixels, LAYERWISE)


@pytest.mark.parametrize("strategy", ["whole", "layerwise", "tiled"])
def test_every_clip_of_a_batch_is_run_as_it_is_alone(strategy: str) -> None:
    tiles = TileSizes(tile_px=32, tile_overlap_px=8, chunk_frames=4, chunk_overlap_frames=0)
    options = StrategyOptions(name=strategy, tiles=tiles) if strategy == "tiled" else StrategyOptions(name=strategy)
    clips = [sign * random_pixels(9, 40, 48) for sign in (1, -1, 0.5)]
    alone = [encode(pixels, options) for pixels in clips]
    moments = encode(torch.cat(clips), options)
    assert torch.equal(moments, torch.cat(alone))
    latents = [part.chunk(2, dim=1)[0] for part in alone]
    assert torch.equal(decode(torch.cat(latents), options), torch.cat([decode(part, options) for part in latents]))


def test_the_progress_of_a_batch_ends_at_one_and_never_falls() -> None:
    shares: list[float] = []
    batch = torch.cat([random_pixels(5, 32, 32)] * 2)
    list(encode_chunks(ours(UNEVEN), pixel_chunks(batch), LAYERWISE, shares.append).chunks)
    assert shares == sorted(shares)
    assert shares[-1] == pytest.approx(1)


def test_chunks_of_a_batch_have_the_same_clips() -> None:
    first, second = pixel_chunks(torch.cat([random_pixels(5, 32, 32)] * 3))
    for others in (second[:2], torch.cat([second, second])):
        with pytest.raises(UsageError, match="clips and the first has 3"):
            list(encode_chunks(ours(UNEVEN), [first, others], StrategyOptions()).chunks)


def test_auto_is_layerwise() -> None:
    execution = encode_chunks(ours(UNEVEN), pixel_chunks(random_pixels(5, 32, 32)), StrategyOptions())
    list(execution.chunks)
    assert execution.strategy == {"name": "layerwise"}


def test_progress_ends_at_one_and_never_falls() -> None:
    shares: list[float] = []
    options = replace(LAYERWISE, memory_bytes=MIB)
    list(encode_chunks(ours(UNEVEN), pixel_chunks(random_pixels(9, 32, 32)), options, shares.append).chunks)
    assert shares == sorted(shares)
    assert shares[-1] == pytest.approx(1)
    assert len(shares) > 30


def test_a_budget_for_less_than_a_row_is_refused_before_any_work() -> None:
    with pytest.raises(MemoryLimitError, match="one row of this clip takes"):
        encode(random_pixels(5, 32, 64), replace(LAYERWISE, memory_bytes=20 * KIB))


@pytest.mark.parametrize("budget", [*range(80 * KIB, 200 * KIB, 17 * KIB), 300 * KIB, 500 * KIB])
def test_any_budget_that_is_taken_is_enough(budget: int) -> None:
    pixels = random_pixels(5, 16, 48)
    assert deviation(encode(pixels, replace(LAYERWISE, memory_bytes=budget)), ours(UNEVEN).encode(pixels)) < 1e-5


def test_there_may_be_too_little_memory_for_an_activation_in_one_piece(monkeypatch: pytest.MonkeyPatch) -> None:
    memory = Memory(CPU, MIB)

    def fail(*_: object, **__: object) -> Tensor:
        raise RuntimeError("CUDA out of memory. Tried to allocate 2 GiB")

    with monkeypatch.context() as patch:
        patch.setattr(torch, "empty", fail)
        assert isinstance(memory.allocate(1000, torch.float32), FileBuffer)
    assert memory.live_bytes == 0
    memory.__exit__(None, None, None)


@pytest.mark.parametrize("name", ["auto", "whole", "layerwise", "tiled"])
def test_a_clip_of_no_frames_gives_nothing(name: str) -> None:
    assert list(encode_chunks(ours(UNEVEN), [], StrategyOptions(name=name)).chunks) == []


def test_a_full_disk_is_an_error_that_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    class Full:
        def seek(self, _: int) -> None: ...

        def write(self, _: object) -> int:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    buffer = FileBuffer(torch.float32, CPU)
    buffer.free()
    monkeypatch.setattr(buffer, "_file", Full())
    with pytest.raises(OutputError, match="No space left on device, where a clip waits"):
        buffer.write(0, torch.zeros(4))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_file_keeps_values_of_any_type(dtype: torch.dtype) -> None:
    buffer = FileBuffer(dtype, CPU)
    values = torch.randn(100).to(dtype)
    buffer.write(0, values[:60])
    buffer.write(60, values[60:])
    assert torch.equal(buffer.read(20, 90), values[20:90])
    buffer.free()


def test_statistics_are_right_far_from_zero_and_do_not_depend_on_the_cut() -> None:
    values = torch.randn(1, 8, 6, 10, 12) + 1000
    grouped = values.double().view(4, -1)
    for size in (1, 2, 6):
        statistics = Statistics()
        for part in torch.split(values, size, dim=2):
            statistics.add(part)
        mean, variance = statistics.by_group(4)
        assert torch.allclose(mean.double()[::2], grouped.mean(dim=1), rtol=1e-7)
        assert torch.allclose(variance.double()[::2], grouped.var(dim=1, correction=0), rtol=1e-5)


CLIPS = [(1, 32, 32), (5, 80, 72), (13, 32, 32), (17, 96, 64), (21, 48, 112), (45, 64, 64)]


@pytest.mark.parametrize(("num_frames", "height", "width"), CLIPS)
@pytest.mark.parametrize("px", [None, (64, 48)], ids=["windows", "tiles"])
@pytest.mark.parametrize("budget", [None, MIB])
def test_tiled_is_what_diffusers_does(
    num_frames: int, height: int, width: int, px: tuple[int, int] | None, budget: int | None
) -> None:
    theirs = tiles(reference(SMALL), frames=(16, 12), px=px)
    sizes = TileSizes(tile_px=64 if px else 1024, tile_overlap_px=16, chunk_frames=16, chunk_overlap_frames=4)
    options = StrategyOptions(name="tiled", tiles=sizes, memory_bytes=budget)
    pixels = random_pixels(num_frames, height, width)
    moments = moments_of(theirs, pixels)
    assert deviation(encode(pixels, options, SMALL), moments) < 1e-5
    latents = moments[:, :4]
    assert deviation(decode(latents, options, SMALL), pixels_of(theirs, latents)) < 1e-5


def test_tiled_has_the_geometry_of_the_original_by_default() -> None:
    theirs = tiles(reference(SMALL), frames=(64, 48), px=(256, 192))
    options = StrategyOptions(name="tiled")
    pixels = random_pixels(117, 16, 264)
    moments = moments_of(theirs, pixels)
    assert deviation(encode(pixels, options, SMALL), moments) < 1e-5
    latents = moments[:, :4]
    assert deviation(decode(latents, options, SMALL), pixels_of(theirs, latents)) < 1e-5
    assert encode_chunks(ours(SMALL), [], options).strategy == {
        "name": "tiled",
        "tile_px": 256,
        "tile_overlap_px": 64,
        "chunk_frames": 64,
        "chunk_overlap_frames": 16,
    }


def test_tiled_reads_no_more_than_a_window_ahead() -> None:
    read = 0

    def clip() -> Iterator[Tensor]:
        nonlocal read
        for chunk in pixel_chunks(random_pixels(65, 16, 16)):
            read += chunk.shape[2]
            yield chunk

    options = StrategyOptions(name="tiled", tiles=TileSizes(chunk_frames=16, chunk_overlap_frames=4))
    chunks = encode_chunks(ours(SMALL), clip(), options).chunks
    next(chunks)
    assert read == 17


@pytest.mark.parametrize(
    ("sizes", "options"),
    [
        (TileSizes(tile_px=60), "--tile-px 60 and --tile-overlap-px 64: give multiples of 8"),
        (TileSizes(tile_px=64, tile_overlap_px=64), "--tile-px 64 and --tile-overlap-px 64"),
        (TileSizes(tile_overlap_px=4), "--tile-px 256 and --tile-overlap-px 4"),
        (TileSizes(chunk_frames=18), "--chunk-frames 18 and --chunk-overlap-frames 16: give multiples of 4"),
        (TileSizes(chunk_overlap_frames=-4), "--chunk-frames 64 and --chunk-overlap-frames -4"),
    ],
)
def test_impossible_tiles_are_called_wrong_by_their_options(sizes: TileSizes, options: str) -> None:
    with pytest.raises(UsageError, match=options):
        check_strategy(StrategyOptions(name="tiled", tiles=sizes))


def test_a_model_has_its_own_strategies() -> None:
    with pytest.raises(UsageError, match="use auto, whole, layerwise, tiled"):
        check_strategy(StrategyOptions(name="stream"), ours(SMALL))
    with pytest.raises(UsageError, match="--strategy quick"):
        check_strategy(StrategyOptions(name="quick"))
