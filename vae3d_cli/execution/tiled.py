"""Overlapping windows in time and tiles in space, blended: approximate, and what the references compute.

The grid is theirs to the last tile: windows begin at every stride as long as the clip has a frame there, also where the
window before reached the end; a window is one frame longer than its name, and all but the first drop their first output
frame; what is blended with has been blended itself. Only one window is held, with the end of the one before.
"""

from collections.abc import Callable, Iterable, Iterator

import torch
from torch import Tensor

from vae3d_cli.geometry import TileAxis

HEIGHT, WIDTH = 3, 4
TIME = 2


def run_tiled(
    run: Callable[[Tensor], Tensor], chunks: Iterable[Tensor], space: TileAxis, time: TileAxis
) -> Iterator[Tensor]:
    """Outputs of a clip that comes in `chunks` `[1, C, T, H, W]`, by a function that takes one tile; on the CPU."""
    frames = _Frames(chunks)
    if not frames.has(time.tile):  # the clip is one window, and blends with nothing
        yield _run_tiles(run, frames.read(0, time.tile), space)
        return
    before = None
    start = 0
    while frames.has(start):
        window = _run_tiles(run, frames.read(start, start + time.tile + 1), space)
        if before is not None:
            window = _blend(before, window[:, :, 1:], TIME, time.blended)
        kept = window[:, :, : time.kept + (before is None)]
        if kept.shape[TIME]:
            yield kept
        before = window[:, :, window.shape[TIME] - min(time.blended, window.shape[TIME]) :].clone()
        del window, kept  # a view would keep the window
        start += time.stride


class _Frames:
    """The frames of a clip from `start` on, read as far as they are asked for, on the CPU."""

    def __init__(self, chunks: Iterable[Tensor]) -> None:
        self._chunks = iter(chunks)
        self._held: list[Tensor] = []
        self._start = 0
        self._stop = 0

    def has(self, index: int) -> bool:
        """Whether the clip has a frame of that number."""
        while self._stop <= index:
            chunk = next(self._chunks, None)
            if chunk is None:
                return False
            self._held += chunk.cpu().unbind(TIME)
            self._stop += chunk.shape[TIME]
        return True

    def read(self, start: int, stop: int) -> Tensor:
        """Frames `start` to `stop - 1`, or to the end of the clip; those before are forgotten."""
        self.has(stop - 1)
        del self._held[: start - self._start]
        self._start = start
        return torch.stack(self._held[: stop - start], dim=TIME)


def _run_tiles(run: Callable[[Tensor], Tensor], window: Tensor, space: TileAxis) -> Tensor:
    """One window: as it is if it is no larger than a tile, else tile by tile, blended above and then to the left."""
    height, width = window.shape[HEIGHT:]
    if max(height, width) <= space.tile:
        return run(window)
    bands: list[Tensor] = []
    above: list[Tensor] = []
    for top in range(0, height, space.stride):
        tiles: list[Tensor] = []
        for column, left in enumerate(range(0, width, space.stride)):
            tile = run(window[..., top : top + space.tile, left : left + space.tile])
            if above:
                tile = _blend(above[column], tile, HEIGHT, space.blended)
            if tiles:
                tile = _blend(tiles[-1], tile, WIDTH, space.blended)
            tiles.append(tile)
        bands.append(torch.cat([tile[..., : space.kept, : space.kept] for tile in tiles], dim=WIDTH))
        above = tiles
    return torch.cat(bands, dim=HEIGHT)


def _blend(old: Tensor, new: Tensor, axis: int, extent: int) -> Tensor:
    """`new`, whose first positions come in linearly over the last of `old`: none of `new` at its first."""
    extent = min(extent, old.shape[axis], new.shape[axis])
    if extent == 0:
        return new
    shape = [1] * new.ndim
    shape[axis] = extent
    weight = (torch.arange(extent, dtype=new.dtype) / extent).view(shape)
    tail = old.narrow(axis, old.shape[axis] - extent, extent)
    head = new.narrow(axis, 0, extent)
    return torch.cat((tail * (1 - weight) + head * weight, new.narrow(axis, extent, new.shape[axis] - extent)), axis)
