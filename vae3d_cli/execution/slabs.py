"""Working through a layer slab by slab, within the budget."""

import logging
from bisect import bisect_right
from collections.abc import Callable, Iterator
from math import prod

import torch
from torch import Tensor

from vae3d_cli.errors import MemoryLimitError
from vae3d_cli.execution.layers import Layer
from vae3d_cli.execution.memory import Memory, out_of_memory_ignored, size_text
from vae3d_cli.geometry import Slab, plan_slabs
from vae3d_cli.kernels.winograd import TILE
from vae3d_cli.model.hunyuanvideo import Size

logger = logging.getLogger(__name__)

# Told which share of the work is done.
Progress = Callable[[float], None]


class SlabLoop:
    """The slabs of one run: as large as fits `memory`, with what is done counted against all of `layers`."""

    def __init__(self, layers: list[Layer], size: Size, memory: Memory, dtype: torch.dtype, progress: Progress) -> None:
        self.memory = memory
        self.dtype = dtype
        self._progress = progress
        self._done = 0.0
        self._total = 0.0
        for layer in layers:
            self._check(layer, size)
            self._total += layer.work(size)
            size = layer.out_size(size)

    def plan(self, layer: Layer, size: Size, *, in_order: bool = False) -> list[Slab]:
        """Slabs of a layer's output that fit what is left, and read as little as can be more than once.

        `size` is that of its input. They are in the order of the buffer if they must be.
        """
        frames, height, _ = layer.out_size(size)
        room = min(self.memory.left_bytes, self.memory.max_slab_bytes(in_order=in_order))
        best, least = (1, 1), float("inf")
        for count in sorted({-(-frames // parts) for parts in range(1, frames + 1)}):
            rows = self._most_rows(layer, size, count, room)
            if not rows or (in_order and count > 1 and rows < height):
                break
            # A slab reads two frames more of the past, and a row more on each side.
            cost = (count + 2) / count * (rows + 2 * (rows < height)) / rows
            if cost <= least:
                best, least = (count, rows), cost
        return plan_slabs(frames, height, *best)

    def _most_rows(self, layer: Layer, size: Size, frames: int, room: int) -> int:
        """How many rows of so many frames fit: by halves, and a multiple of what kernels work in."""
        height = layer.out_size(size)[1]
        rows = bisect_right(
            range(1, height + 1), room, key=lambda n: slab_bytes(layer, size, Slab(0, frames, 0, n), self.dtype)
        )
        return rows - rows % TILE if TILE < rows < height else rows

    def each(
        self, layer: Layer, size: Size, slabs: list[Slab], compute: Callable[[Slab], Tensor], share: float = 1.0
    ) -> Iterator[tuple[Slab, Tensor]]:
        """The slabs in order, with what is computed for each; one that does not fit after all is halved.

        `share` is how much of the layer's work this is.
        """
        waiting = slabs[::-1]
        positions = prod(layer.out_size(size)[:2])
        while waiting:
            slab = waiting.pop()
            values = None
            with self.memory.held(slab_bytes(layer, size, slab, self.dtype)):
                if len(slab.halves()) == 1:
                    values = compute(slab)
                else:
                    with out_of_memory_ignored():
                        values = compute(slab)
                failed = values is None
                if values is not None:
                    yield slab, values
                del values  # else it would live on beside the next
            if failed:
                logger.info("out of memory in a slab of %d frames; it is halved", slab.stop - slab.start)
                waiting += slab.halves()[::-1]
                continue
            part = (slab.stop - slab.start) * (slab.bottom - slab.top) / positions
            self._done += part * share * layer.work(size)
            self._progress(self._done / self._total)

    def _check(self, layer: Layer, size: Size) -> None:
        """See that a single row fits, before any work."""
        least = slab_bytes(layer, size, Slab(0, 1, 0, 1), self.dtype)
        if least > self.memory.slab_bytes:
            raise MemoryLimitError(
                f"--memory {size_text(self.memory.budget_bytes)} is too little: one row of this clip takes "
                f"{size_text(least)}; give at least twice that"
            )


def slab_bytes(layer: Layer, size: Size, slab: Slab, dtype: torch.dtype) -> int:
    """What is held for a slab of a layer's output: its values, and three copies of a frame in fp32 for statistics."""
    row = layer.out_size(size)[2] * layer.out_channels
    return layer.values_held(size, slab) * dtype.itemsize + 12 * (slab.bottom - slab.top) * row
