"""How the values of latents are distributed, channel by channel."""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from vae3d_cli.latents import LatentsSpool

NUM_BINS = 48


@dataclass(frozen=True)
class ChannelHistogram:
    """Of one channel: its least and greatest value, mean and standard deviation, and the counts of `NUM_BINS` bins.

    The bins are of equal width, from the least value to the greatest.
    """

    least: float
    greatest: float
    mean: float
    std: float
    counts: list[int]


def channel_histograms(latents: LatentsSpool, posterior: str) -> list[ChannelHistogram]:
    """One for each channel of a clip's latents as they are stored; of `moments` those of the means.

    The frames are read twice, so that memory does not grow with the clip.
    """
    channels, num_frames, height, width = latents.shape
    if posterior == "moments":
        channels //= 2

    def frames() -> Iterator[Tensor]:
        for frame in range(num_frames):
            yield latents.read(frame, frame + 1)[:channels].flatten(1).double()

    least, greatest = torch.full((channels,), torch.inf).double(), torch.full((channels,), -torch.inf).double()
    total, squares = torch.zeros(channels).double(), torch.zeros(channels).double()
    counts = torch.zeros(channels, NUM_BINS).double()
    for values in frames():
        least, greatest = torch.minimum(least, values.amin(1)), torch.maximum(greatest, values.amax(1))
        total += values.sum(1)
    mean = total / (num_frames * height * width)
    for values in frames():
        squares += (values - mean[:, None]).square().sum(1)
        for channel in range(channels):
            low, high = float(least[channel]), float(greatest[channel])
            counts[channel] += torch.histc(values[channel], NUM_BINS, low, high)
    std = (squares / (num_frames * height * width)).sqrt()
    figures = zip(least.tolist(), greatest.tolist(), mean.tolist(), std.tolist(), counts.int().tolist(), strict=True)
    return [ChannelHistogram(*channel_figures) for channel_figures in figures]
