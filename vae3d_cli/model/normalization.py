"""`GroupNorm` over whole clips, whose statistics can be gathered part by part."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

FEW_POSITIONS = 1 << 15


class Statistics:
    """Mean and variance of a clip by channel, gathered part by part.

    Each frame's are taken in two passes, in fp32; they are merged in fp64 by the formula of Chan, Golub and LeVeque
    (1979), which stays exact where the mean is far from 0.
    """

    def __init__(self) -> None:
        self._count = 0
        self._mean = torch.zeros(())
        self._squares = torch.zeros(())

    def add(self, values: Tensor) -> None:
        """Take in `[1, C, T, H, W]`."""
        parts = [_mean_and_variance(frame.permute(1, 2, 0)) for frame in values[0].unbind(1)]
        moments = torch.stack([torch.stack(part) for part in parts]).cpu().double()  # not every device has fp64
        count = values.shape[3] * values.shape[4]
        for mean, variance in moments:
            total = self._count + count
            delta = mean - self._mean
            self._mean = self._mean + delta * (count / total)
            self._squares = self._squares + variance * count + delta**2 * (self._count * count / total)
            self._count = total

    def by_group(self, num_groups: int) -> tuple[Tensor, Tensor]:
        """Mean and variance `[C]`, fp32 on the CPU, of the group that each channel is in."""
        means = self._mean.view(num_groups, -1)
        variances = (self._squares / self._count).view(num_groups, -1)
        mean = means.mean(dim=1, keepdim=True)
        variance = (variances + (means - mean) ** 2).mean(dim=1, keepdim=True)
        return mean.expand_as(means).flatten().float(), variance.expand_as(means).flatten().float()


def _mean_and_variance(frame: Tensor) -> tuple[Tensor, Tensor]:
    """By channel, of `[H, W, C]`; row by row, since sums of sums round less than one long sum."""
    values = frame.float()
    count = values.shape[0] * values.shape[1]
    mean = values.sum(dim=1).sum(dim=0) / count
    return mean, (values - mean).square_().sum(dim=1).sum(dim=0) / count


class GroupNorm(nn.GroupNorm):
    """`nn.GroupNorm`, but exact also for a clip of many positions whose channels come last.

    For that layout torch's own kernel takes the variance as a difference of fp32 sums, and loses digits as clips grow:
    2e-7 at 2e5 positions, where this keeps to 5e-8. In bf16 it rounds the statistics to bf16. Up to `FEW_POSITIONS` in
    fp32, for several clips, and where gradients are wanted, it is torch's own.
    """

    def forward(self, x: Tensor) -> Tensor:
        """`[B, C, T, H, W]` in and out."""
        is_small = x[0, 0].numel() <= FEW_POSITIONS and x.dtype == torch.float32
        if is_small or x.shape[0] != 1 or x.requires_grad:
            return super().forward(x)
        statistics = Statistics()
        statistics.add(x)
        return self.given(statistics, x.device)(x)

    def given(self, statistics: Statistics, device: torch.device) -> Callable[[Tensor], Tensor]:
        """The normalisation by these statistics: given them, it is the same at every position of a channel."""
        mean, variance = (values.to(device) for values in statistics.by_group(self.num_groups))
        weight, bias = self.weight.float(), self.bias.float()
        return lambda x: F.batch_norm(x, mean, variance, weight, bias, training=False, eps=self.eps)
