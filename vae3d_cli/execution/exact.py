"""A whole clip through HunyuanVideo's network, exactly: at once where that fits, else layer by layer."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from math import prod

import torch
from torch import Tensor

from vae3d_cli.execution.activation import Activation
from vae3d_cli.execution.layers import ConvLayer, Layer
from vae3d_cli.execution.layerwise import run_layerwise
from vae3d_cli.execution.memory import Memory, out_of_memory_ignored, size_text
from vae3d_cli.execution.slabs import Progress, slab_bytes
from vae3d_cli.geometry import Slab
from vae3d_cli.model.hunyuanvideo import Size

WHOLE, LAYERWISE = "whole", "layerwise"


@dataclass(frozen=True)
class Coder:
    """One direction of the network: as a function of a whole clip, and as the list of its layers."""

    forward: Callable[[Tensor], Tensor]
    layers: list[Layer]
    dtype: torch.dtype


def gather(chunks: Iterable[Tensor], coder: Coder, memory: Memory) -> Activation:
    """A clip of one chunk `[1, C, T, H, W]` or more, all of it, in a file: its length is not known beforehand."""
    buffer = memory.spill(coder.dtype)
    stop = 0
    for chunk in chunks:
        _, channels, frames, height, width = chunk.shape
        start, stop = stop, stop + frames
        Activation(buffer, (stop, height, width), channels).write(Slab(start, stop, 0, height), chunk)
    return Activation(buffer, (stop, height, width), channels)


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
    source: Activation, coder: Coder, memory: Memory, progress: Progress, chosen: Callable[[str, str], None]
) -> Iterator[Tensor]:
    """At once if it fits the budget by an estimate, else layer by layer; also where it did not fit after all.

    `chosen` is told which, by the name of the strategy, and why.
    """
    needed = whole_bytes(coder.layers, source.size, coder.dtype)
    sizes = f"take about {size_text(needed)}, and --memory is {size_text(memory.budget_bytes)}"
    reason = f"{source.size[0]} frames at once {sizes}"
    # Past 2 GiB values not every kernel of CUDA can count.
    countable = memory.device.type != "cuda" or needed // coder.dtype.itemsize < 1 << 31
    if needed <= memory.left_bytes and countable:
        chosen(WHOLE, reason)
        with out_of_memory_ignored():
            yield from run_whole(source, coder, progress)
            return
        reason = "out of memory at once"
    chosen(LAYERWISE, reason)
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
