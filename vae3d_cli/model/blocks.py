"""Building blocks of the embedded model: plain 2-D convolutions, with time folded into channels."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vae3d_cli.model.cache import TemporalCache

# Keeps a deep stack of blocks near the identity at the start of training.
RESIDUAL_SCALE = 0.1


class ResBlock(nn.Module):
    """Two 3x3 convolutions with a residual: `[B, C, H, W]` in and out, no normalisation."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """Add what two convolutions make of `x`."""
        hidden: Tensor = self.conv1(F.leaky_relu(x, 0.2))
        correction: Tensor = self.conv2(F.leaky_relu_(hidden, 0.2))  # in place: of a photo each is gigabytes
        return correction.add_(x)


class ChannelNorm(nn.LayerNorm):
    """LayerNorm over the channels of each position by itself, so that a clip can be streamed exactly."""

    def forward(self, x: Tensor) -> Tensor:
        """Normalise `[B, C, H, W]`."""
        return super().forward(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


class MemoryBlock(nn.Module):
    """A gated block that also sees the map which the previous latent frame had at this place."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm1 = ChannelNorm(channels)
        self.mix_in = nn.Conv2d(2 * channels, 2 * channels, 1)
        self.depthwise = nn.Conv2d(2 * channels, 2 * channels, 3, padding=1, groups=2 * channels)
        self.mix_out = nn.Conv2d(channels, channels, 1)
        self.norm2 = ChannelNorm(channels)
        self.expand = nn.Conv2d(channels, 2 * channels, 1)
        self.project = nn.Conv2d(channels, channels, 1)

    def forward(self, x: Tensor, cache: TemporalCache) -> Tensor:
        """`[B, C, H, W]` of one latent frame in and out."""
        current = self.norm1(x)
        mixed = self.mix_in(torch.cat((current, cache.swap(self, current)), dim=1))
        value, gate = self.depthwise(mixed).chunk(2, dim=1)
        x = x + RESIDUAL_SCALE * self.mix_out(value * gate)
        value, gate = self.expand(self.norm2(x)).chunk(2, dim=1)
        correction: Tensor = self.project(value * gate)
        return x + RESIDUAL_SCALE * correction
