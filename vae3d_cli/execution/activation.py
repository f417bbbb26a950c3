"""What a clip is between two layers, resting wherever there is room."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

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
        """Put `[1, C, t, h, W]` where the slab is: slabs of several frames have all rows."""
        _, height, width = self.size
        start = (slab.start * height + slab.top) * width * self.channels
        self.buffer.write(start, to_channels_last(values))


def to_channels_last(values: Tensor) -> Tensor:
    """Flat, in the order of a buffer, of `[1, C, t, h, W]`."""
    return values[0].permute(1, 2, 3, 0).reshape(-1)


def to_channels_first(flat: Tensor, frames: int, rows: int, width: int) -> Tensor:
    """A view `[1, C, t, h, W]` of flat values in the order of a buffer."""
    return flat.view(frames, rows, width, -1).permute(3, 0, 1, 2)[None]


class Statistics:
    """Mean and variance of a clip by channel, gathered slab by slab.

    Each frame's are taken in two passes, in fp32; they are merged in fp64 by the formula of Chan, Golub and LeVeque
    (1979), which stays exact where the mean is far from 0.
    """

    def __init__(self) -> None:
        self._count = 0
        self._mean = torch.zeros(())
        self._squares = torch.zeros(())

    def add(self, values: Tensor) -> None:
        """Take in `[1, C, t, h, W]`."""
        parts = [_mean_and_variance(frame.permute(1, 2, 0)) for frame in values[0].unbind(1)]
        moments = torch.stack([torch.stack(part) for part in parts]).to("cpu", torch.float64)
        count = values.shape[3] * values.shape[4]
        for mean, variance in moments:
            total = self._count + count
            delta = mean - self._mean
            self._mean = self._mean + delta * (count / total)
            self._squares = self._squares + variance * count + delta**2 * (self._count * count / total)
            self._count = total

    def by_group(self, norm: nn.GroupNorm) -> tuple[Tensor, Tensor]:
        """Mean and variance `[C]`, fp32 on the CPU, of the group that each channel is in."""
        means = self._mean.view(norm.num_groups, -1)
        variances = (self._squares / self._count).view(norm.num_groups, -1)
        mean = means.mean(dim=1, keepdim=True)
        variance = (variances + (means - mean) ** 2).mean(dim=1, keepdim=True)
        return mean.expand_as(means).flatten().float(), variance.expand_as(means).flatten().float()


def _mean_and_variance(frame: Tensor) -> tuple[Tensor, Tensor]:
    """By channel, of `[h, W, C]`; row by row, since sums of sums round less than one long sum."""
    values = frame.float()
    count = values.shape[0] * values.shape[1]
    mean = values.sum(dim=1).sum(dim=0) / count
    return mean, (values - mean).square_().sum(dim=1).sum(dim=0) / count
