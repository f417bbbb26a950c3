"""What a clip is between two layers, resting wherever there is room."""

from dataclasses import dataclass

import torch
from torch import Tensor

from vae3d_cli.execution.memory import Buffer
from vae3d_cli.geometry import Reach, Slab
from vae3d_cli.model.hunyuanvideo import Size


@dataclass
class Activation:
    """`[T, H, W, C]` in a buffer: channels last, so that a slab is a run of it and convolutions take it as it is."""

    buffer: Buffer
    size: Size
    channels: int

    def read(self, frames: Reach, rows: Reach) -> Tensor:
        """Frames and rows, without the copies of the edge, as `[1, C, t, h, W]`."""
        _, height, width = self.size
        row = width * self.channels
        runs = (
            [(frames.start * height * row, frames.stop * height * row)]
            if rows.stop - rows.start == height
            else [
                ((n * height + rows.start) * row, (n * height + rows.stop) * row)
                for n in range(frames.start, frames.stop)
            ]
        )
        parts = [self.buffer.read(*run) for run in runs]
        flat = parts[0] if len(parts) == 1 else torch.cat(parts)
        return to_channels_first(flat, frames.stop - frames.start, rows.stop - rows.start, width)

    def read_slab(self, slab: Slab) -> Tensor:
        """The positions of a slab, `[1, C, t, h, W]`."""
        return self.read(Reach(slab.start, slab.stop, 0, 0), Reach(slab.top, slab.bottom, 0, 0))

    def write(self, slab: Slab, values: Tensor) -> None:
        """Put `[1, C, t, h, W]` where the slab is."""
        _, height, width = self.size
        together = slab.stop - slab.start if slab.bottom - slab.top == height else 1
        frames = range(slab.start, slab.stop, together)
        for frame, part in zip(frames, torch.split(values, together, dim=2), strict=True):
            self.buffer.write((frame * height + slab.top) * width * self.channels, to_channels_last(part))


def to_channels_last(values: Tensor) -> Tensor:
    """Flat, in the order of a buffer, of `[1, C, t, h, W]`."""
    return values[0].permute(1, 2, 3, 0).reshape(-1)


def to_channels_first(flat: Tensor, frames: int, rows: int, width: int) -> Tensor:
    """A view `[1, C, t, h, W]` of flat values in the order of a buffer."""
    return flat.view(frames, rows, width, -1).permute(3, 0, 1, 2)[None]
