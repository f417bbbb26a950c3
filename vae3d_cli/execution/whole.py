"""A whole clip through HunyuanVideo's network: how it is gathered, and how it runs at once."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from vae3d_cli.execution.activation import Activation
from vae3d_cli.execution.layers import Layer
from vae3d_cli.execution.memory import Memory
from vae3d_cli.execution.slabs import Progress
from vae3d_cli.geometry import Slab


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
