"""The strategies by name: what they are for which network, and the choice among them."""

import logging
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass, field
from itertools import chain, tee

import torch
from torch import Tensor, nn

from vae3d_cli.errors import UsageError
from vae3d_cli.execution.layers import Layer, decoder_layers, encoder_layers
from vae3d_cli.execution.layerwise import run_layerwise
from vae3d_cli.execution.memory import Memory, size_text
from vae3d_cli.execution.slabs import Progress
from vae3d_cli.execution.tiled import run_tiled
from vae3d_cli.execution.whole import Coder, at_rest, gather, run_whole
from vae3d_cli.geometry import TileAxis, TileSizes
from vae3d_cli.kernels import KERNELS
from vae3d_cli.model.cache import TemporalCache
from vae3d_cli.model.hunyuanvideo import HunyuanVideoVae
from vae3d_cli.model.tiny import TinyVae

logger = logging.getLogger(__name__)

Network = TinyVae | HunyuanVideoVae
AUTO = "auto"
STREAM, WHOLE, LAYERWISE, TILED = STRATEGIES = ("stream", "whole", "layerwise", "tiled")


@dataclass(frozen=True, kw_only=True)
class StrategyOptions:
    """How a clip is to be run: `tiles` are for `tiled`, `memory_bytes` is the budget on the device.

    By default the budget is most of what is free. What does not fit rests in host memory, then in temporary files.
    `kernels` are those that may compute `layerwise` and `tiled` in fp32 on the CPU.
    """

    name: str = AUTO
    tiles: TileSizes = field(default_factory=TileSizes)
    memory_bytes: int | None = None
    kernels: frozenset[str] = frozenset(KERNELS)


@dataclass
class Execution:
    """A clip on its way through a network: `chunks` come out as they are asked for.

    `strategy` is what a latents file says of it.
    """

    chunks: Iterator[Tensor]
    strategy: dict[str, object]


def check_strategy(options: StrategyOptions, network: nn.Module | None = None) -> None:
    """See that there is such a strategy, and that `network` has it.

    Raises:
        UsageError: It is not so, a kernel does not exist, or the tiles are of impossible sizes.
    """
    names: tuple[str, ...] = STRATEGIES
    if isinstance(network, TinyVae):
        names = (STREAM, WHOLE)
    elif isinstance(network, HunyuanVideoVae):
        names = (WHOLE, LAYERWISE, TILED)
    if options.name not in (AUTO, *names):
        raise UsageError(f"--strategy {options.name}: the model has none of that name; use auto, {', '.join(names)}")
    if unknown := options.kernels - set(KERNELS):
        raise UsageError(f"kernels: there is no {', '.join(sorted(unknown))}; use some of {', '.join(KERNELS)}")
    tiles = options.tiles
    for option, overlap_option, size, overlap, unit in (
        ("--tile-px", "--tile-overlap-px", tiles.tile_px, tiles.tile_overlap_px, 8),
        ("--chunk-frames", "--chunk-overlap-frames", tiles.chunk_frames, tiles.chunk_overlap_frames, 4),
    ):
        if size % unit or overlap % unit or not 0 <= overlap < size:
            raise UsageError(
                f"{option} {size} and {overlap_option} {overlap}: give multiples of {unit}, and a smaller overlap"
            )


def reads_ahead(options: StrategyOptions, network: Network) -> bool:
    """Whether the whole clip is read before any of it is computed."""
    return isinstance(network, HunyuanVideoVae) and options.name != TILED


def input_device(network: Network) -> torch.device:
    """Where chunks are best made: on the device, if they are run as they come."""
    if isinstance(network, HunyuanVideoVae):
        return torch.device("cpu")
    return next(network.parameters()).device


def encode_chunks(
    network: Network, pixels: Iterable[Tensor], options: StrategyOptions, progress: Progress = lambda _share: None
) -> Execution:
    """Moments `[B, 2C, T', H/8, W/8]` of a clip that comes in chunks of pixels `[B, 3, T, H, W]`.

    The first chunk has 1 + 4k frames, the others 4k. `progress` is told the share of the work that is done, where the
    whole clip is read ahead. HunyuanVideo's network runs the clips of a batch one after the other: the batch waits in
    memory, and comes out as one chunk on the CPU.

    Raises:
        UsageError: The network has no such strategy.
        MemoryLimitError: No part of the clip fits the memory.
        OutputError: The disk has no room for what does not fit.
    """
    check_strategy(options, network)
    if isinstance(network, TinyVae):
        return _stream(network.encode, pixels, options, TemporalCache())
    return _run(
        network.encode, encoder_layers, network, pixels, options, options.tiles.encoder_axes(network.config), progress
    )


def decode_chunks(
    network: Network,
    latents: Iterable[Tensor],
    options: StrategyOptions,
    start: int = 0,
    progress: Progress = lambda _share: None,
) -> Execution:
    """Pixels `[B, 3, T, H, W]` of latents `[B, C, T', H/8, W/8]` that come in chunks.

    The first is latent frame `start` of its clip: not 0 only where the network has a context. `progress` and batches
    are as in `encode_chunks`.

    Raises:
        UsageError: The network has no such strategy.
        MemoryLimitError: No part of the clip fits the memory.
        OutputError: The disk has no room for what does not fit.
    """
    check_strategy(options, network)
    if isinstance(network, TinyVae):
        return _stream(network.decode, latents, options, TemporalCache(start))
    return _run(
        network.decode, decoder_layers, network, latents, options, options.tiles.decoder_axes(network.config), progress
    )


def _stream(
    code: Callable[[Tensor, TemporalCache], Tensor],
    chunks: Iterable[Tensor],
    options: StrategyOptions,
    cache: TemporalCache,
) -> Execution:
    """Chunk by chunk, remembering one map per memory block; `whole` is the clip as one chunk, for comparison."""

    def run() -> Iterator[Tensor]:
        if options.name != WHOLE:
            yield from (code(chunk, cache) for chunk in chunks)
        elif parts := list(chunks):
            yield code(torch.cat(parts, dim=2), cache)

    return Execution(run(), {"name": WHOLE if options.name == WHOLE else STREAM})


def _run(
    forward: Callable[[Tensor], Tensor],
    layers_of: Callable[[HunyuanVideoVae, frozenset[str]], list[Layer]],
    network: HunyuanVideoVae,
    chunks: Iterable[Tensor],
    options: StrategyOptions,
    axes: tuple[TileAxis, TileAxis],
    progress: Progress,
) -> Execution:
    """HunyuanVideo's network, in one direction."""
    name = LAYERWISE if options.name == AUTO else options.name
    weight = network.quant_conv.weight
    has_kernels = name != WHOLE and (weight.device.type, weight.dtype) == ("cpu", torch.float32)
    kernels = options.kernels if has_kernels else frozenset()
    coder = Coder(forward, layers_of(network, kernels), weight.dtype)
    memory = Memory(weight.device, options.memory_bytes)
    logger.info("strategy %s; kernels: %s", name, ", ".join(sorted(kernels)) or "none")

    def run_tile(tile: Tensor) -> Tensor:
        """A tile is a clip of its own."""
        parts = run_layerwise(coder.layers, at_rest(tile, coder, memory), memory, coder.dtype, lambda _share: None)
        return torch.cat([part.cpu() for part in parts], dim=2)

    def run_clip(clip: Iterable[Tensor], progress: Progress) -> Iterator[Tensor]:
        if name == TILED:
            yield from run_tiled(run_tile, clip, *axes)
            return
        source = gather(clip, coder, memory)
        if name == WHOLE:
            yield from run_whole(source, coder, progress)
        else:
            yield from run_layerwise(coder.layers, source, memory, coder.dtype, progress)

    def run() -> Iterator[Tensor]:
        iterator = iter(chunks)
        first = next(iterator, None)
        if first is None:
            return
        clip = chain([first], iterator)
        with memory:
            if len(first) == 1:
                yield from run_clip(clip, progress)
            else:
                yield _one_by_one(run_clip, clip, len(first), progress)
        logger.info("at most %s were counted on %s", size_text(memory.peak_bytes), memory.device)

    sizes = asdict(options.tiles) if name == TILED else {}
    return Execution(run(), {"name": name, **sizes})


def _one_by_one(
    run_clip: Callable[[Iterable[Tensor], Progress], Iterator[Tensor]],
    chunks: Iterable[Tensor],
    num_clips: int,
    progress: Progress,
) -> Tensor:
    """A batch of clips, each run by itself, joined on the CPU.

    Raises:
        UsageError: A later chunk has another number of clips than the first, or there are none.
    """

    def clip(copies: Iterable[Tensor], index: int) -> Iterator[Tensor]:
        for chunk in copies:
            if len(chunk) != num_clips:
                raise UsageError(f"a chunk has {len(chunk)} clips and the first has {num_clips}; give the same to each")
            yield chunk[index : index + 1]

    def share_of(index: int) -> Progress:
        return lambda share: progress((index + share) / num_clips)

    if num_clips == 0:
        raise UsageError("the batch has no clips; give at least one")
    outputs = []
    for index, copies in enumerate(tee(chunks, num_clips)):
        parts = run_clip(clip(copies, index), share_of(index))
        outputs.append(torch.cat([part.cpu() for part in parts], dim=2))
    return torch.cat(outputs)
