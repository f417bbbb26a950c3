"""A whole clip through HunyuanVideo's network, exactly: at once where that fits, else layer by layer."""

import logging
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import chain
from math import prod

import torch
from torch import Tensor

from vae3d_cli.execution.activation import Activation
from vae3d_cli.execution.layers import ConvLayer, Layer
from vae3d_cli.execution.layerwise import run_layerwise
from vae3d_cli.execution.memory import Memory, is_out_of_memory, size_text
from vae3d_cli.execution.slabs import Progress, slab_bytes
from vae3d_cli.geometry import Slab
from vae3d_cli.model.hunyuanvideo import Size

logger = logging.getLogger(__name__)

WHOLE, LAYERWISE = "whole", "layerwise"


@dataclass(frozen=True)
class Coder:
    """One direction of the network: as a function of a whole clip, and as the list of its layers."""

    forward: Callable[[Tensor], Tensor]
    layers: list[Layer]
    dtype: torch.dtype


def gather(chunks: Iterable[Tensor], coder: Coder, memory: Memory) -> Activation:
    """A clip that comes in chunks `[1, C, T, H, W]`, all of it, in a file: its length is not known beforehand."""
    first = next(iterator := iter(chunks))
    _, channels, _, height, width = first.shape
    buffer = memory.spill(coder.dtype)
    num_frames = 0
    for chunk in chain([first], iterator):
        frames = chunk.shape[2]
        part = Activation(buffer, (num_frames + frames, height, width), channels)
        part.write(Slab(num_frames, num_frames + frames, 0, height), chunk)
        num_frames += frames
    return Activation(buffer, (num_frames, height, width), channels)


def at_rest(values: Tensor, coder: Coder, memory: Memory) -> Activation:
    """`[1, C, T, H, W]` as the source of a run."""
    _, channels, frames, height, width = values.shape
    source = Activation(memory.allocate(values.numel(), coder.dtype), (frames, height, width), channels)
    source.write(Slab(0, frames, 0, height), values)
    return source


def run_whole(source: Activation, coder: Coder, progress: Progress) -> Iterator[Tensor]:
    """The network as it is."""
    values = source.read_slab(Slab(0, source.size[0], 0, source.size[1]))
    outputs = coder.forward(values)
    source.buffer.free()
    progress(1.0)
    yield outputs


def run_exactly(
    source: Activation, coder: Coder, memory: Memory, progress: Progress, chosen: Callable[[str], None]
) -> Iterator[Tensor]:
    """At once if it fits the budget by an estimate, else layer by layer; also where it did not fit after all.

    `chosen` is told which, by the name of the strategy.
    """
    needed = whole_bytes(coder.layers, source.size, coder.dtype)
    fits = needed <= memory.left_bytes
    logger.info(
        "strategy %s: %d frames at once take about %s, and --memory is %s on %s",
        WHOLE if fits else LAYERWISE,
        source.size[0],
        size_text(needed),
        size_text(memory.budget_bytes),
        memory.device,
    )
    if fits:
        chosen(WHOLE)
        try:
            yield from run_whole(source, coder, progress)
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
        else:
            return
        logger.info("out of memory; strategy layerwise after all")
        torch.cuda.empty_cache()
    chosen(LAYERWISE)
    yield from run_layerwise(coder.layers, source, memory, coder.dtype, progress)


def whole_bytes(layers: list[Layer], size: Size, dtype: torch.dtype) -> int:
    """About how much a clip takes at once: the layer that takes most, with what its residual keeps, and a third more.

    The third is what was measured on the CPU for clips of 9x128x128 to 17x256x256.
    """
    most, kept = 0, 0
    for layer in layers:
        whole = Slab(0, layer.out_size(size)[0], 0, layer.out_size(size)[1])
        if isinstance(layer, ConvLayer) and layer.opens:
            kept = prod(size) * layer.in_channels * dtype.itemsize
        most = max(most, kept + slab_bytes(layer, size, whole, dtype))
        if isinstance(layer, ConvLayer) and layer.closes:
            kept = 0
        size = layer.out_size(size)
    return most * 4 // 3
