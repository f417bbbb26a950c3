"""The embedded model: a linear codec learned by KLT, and two small causal networks that correct it.

A latent frame stands for a group: group 0 is the first frame alone, group g >= 1 the frames 4g-3 to 4g. A group is one
image whose channels hold its frames, so every convolution is 2-D, and nothing runs at the full resolution. Only the
memory blocks look back, one group each; the normalisation is per position. Therefore a clip cut into any chunks gives
the same numbers as the whole clip: each group goes through by itself, whatever chunk it came in.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vae3d_cli.config import TinyConfig
from vae3d_cli.model.blocks import MemoryBlock, ResBlock
from vae3d_cli.model.cache import TemporalCache

RGB = 3


class LinearAnalysis(nn.Module):
    """The linear part of the encoder: blocks of pixels to mean and logvar (a constant, by its bias)."""

    def __init__(self, config: TinyConfig) -> None:
        super().__init__()
        self.block_px = config.spatial_compression_ratio
        first = RGB * self.block_px**2
        self.first = nn.Conv2d(first, 2 * config.latent_channels, 1)
        self.rest = nn.Conv2d(first * config.temporal_compression_ratio, 2 * config.latent_channels, 1)

    def forward(self, group: Tensor) -> Tensor:
        """Moments `[B, 2C, H/8, W/8]` of a group `[B, 3 or 12, H, W]`."""
        linear = self.first if group.shape[1] == RGB else self.rest
        moments: Tensor = linear(F.pixel_unshuffle(group, self.block_px))
        return moments


class LinearSynthesis(nn.Module):
    """The linear part of the decoder: latents to blocks of pixels."""

    def __init__(self, config: TinyConfig) -> None:
        super().__init__()
        self.block_px = config.spatial_compression_ratio
        first = RGB * self.block_px**2
        self.first = nn.Conv2d(config.latent_channels, first, 1)
        self.rest = nn.Conv2d(config.latent_channels, first * config.temporal_compression_ratio, 1)

    def forward(self, latents: Tensor, is_first: bool) -> Tensor:
        """Pixels `[B, 3, H, W]` of the first frame or `[B, 12, H, W]` of a later group."""
        linear = self.first if is_first else self.rest
        return F.pixel_shuffle(linear(latents), self.block_px)


def _start_at_zero(conv: nn.Conv2d) -> None:
    """Have a network add nothing to the linear codec until it is trained."""
    for parameter in conv.parameters():
        nn.init.zeros_(parameter)


class TinyEncoder(nn.Module):
    """A group of frames to its moments."""

    def __init__(self, config: TinyConfig) -> None:
        super().__init__()
        half, quarter, eighth = config.block_out_channels
        layers = config.encoder_layers
        self.temporal_ratio = config.temporal_compression_ratio
        self.linear = LinearAnalysis(config)
        self.conv_in = nn.Conv2d(RGB * self.temporal_ratio * 4, half, 3, padding=1)
        self.half_blocks = nn.ModuleList(ResBlock(half) for _ in range(layers[0]))
        self.to_quarter = nn.Conv2d(4 * half, quarter, 1)
        self.quarter_blocks = nn.ModuleList(ResBlock(quarter) for _ in range(layers[1]))
        self.to_eighth = nn.Conv2d(4 * quarter, eighth, 1)
        self.eighth_blocks = nn.ModuleList(MemoryBlock(eighth) for _ in range(layers[2]))
        self.conv_out = nn.Conv2d(eighth, 2 * config.latent_channels, 1)
        _start_at_zero(self.conv_out)

    def forward(self, frames: Tensor, cache: TemporalCache) -> Tensor:
        """Moments `[B, 2C, H/8, W/8]` of a group of frames `[B, 3, 1 or 4, H, W]` in [-1, 1]."""
        moments: Tensor = self.linear(frames.flatten(1, 2))
        return moments + self.correct(frames.expand(-1, -1, self.temporal_ratio, -1, -1), cache)

    def correct(self, frames: Tensor, cache: TemporalCache) -> Tensor:
        """What the network adds to the linear moments of frames `[B, 3, 4, H, W]`, a single one four times."""
        x = frames.flatten(1, 2).to(self.conv_in.weight.dtype, memory_format=torch.channels_last)
        x = F.pixel_unshuffle(x, 2)  # by itself: what it was made of is as large, and goes before the next is there
        x = self.conv_in(x)
        for block in self.half_blocks:
            x = block(x)
        x = self.to_quarter(F.pixel_unshuffle(x, 2))
        for block in self.quarter_blocks:
            x = block(x)
        x = self.to_eighth(F.pixel_unshuffle(x, 2))
        for block in self.eighth_blocks:
            x = block(x, cache)
        correction: Tensor = self.conv_out(x)
        return correction.float()


class TinyDecoder(nn.Module):
    """The latents of a group to its frames."""

    def __init__(self, config: TinyConfig) -> None:
        super().__init__()
        half, quarter, eighth = config.block_out_channels
        layers = config.decoder_layers
        self.temporal_ratio = config.temporal_compression_ratio
        self.linear = LinearSynthesis(config)
        self.conv_in = nn.Conv2d(config.latent_channels, eighth, 3, padding=1)
        self.eighth_blocks = nn.ModuleList(MemoryBlock(eighth) for _ in range(layers[2]))
        self.to_quarter = nn.Conv2d(eighth, 4 * quarter, 1)
        self.quarter_blocks = nn.ModuleList(ResBlock(quarter) for _ in range(layers[1]))
        self.to_half = nn.Conv2d(quarter, 4 * half, 1)
        self.half_blocks = nn.ModuleList(ResBlock(half) for _ in range(layers[0]))
        self.conv_out = nn.Conv2d(half, RGB * self.temporal_ratio * 4, 3, padding=1)
        _start_at_zero(self.conv_out)

    def forward(self, latents: Tensor, cache: TemporalCache, is_first: bool) -> Tensor:
        """Frames `[B, 3, 1 or 4, H, W]`, about [-1, 1], of latents `[B, C, H/8, W/8]`."""
        linear = torch.unflatten(self.linear(latents, is_first), 1, (RGB, -1))
        correction = self.correct(latents, cache)
        # The network works on groups of four; a group of one is the last of them.
        return linear + (correction[:, :, -1:] if is_first else correction)

    def correct(self, latents: Tensor, cache: TemporalCache) -> Tensor:
        """What the network adds to the linear frames of latents: `[B, 3, 4, H, W]`."""
        x = self.conv_in(latents.to(self.conv_in.weight.dtype, memory_format=torch.channels_last))
        for block in self.eighth_blocks:
            x = block(x, cache)
        x = F.pixel_shuffle(self.to_quarter(x), 2)
        for block in self.quarter_blocks:
            x = block(x)
        x = F.pixel_shuffle(self.to_half(x), 2)
        for block in self.half_blocks:
            x = block(x)
        return torch.unflatten(F.pixel_shuffle(self.conv_out(x), 2).float(), 1, (RGB, self.temporal_ratio))


class TinyVae(nn.Module):
    """Encoder and decoder of the embedded model. Pixels and latents are fp32; the networks may run in less."""

    def __init__(self, config: TinyConfig) -> None:
        super().__init__()
        self.config = config
        self.encoder = TinyEncoder(config)
        self.decoder = TinyDecoder(config)

    @property
    def decoder_context_latents(self) -> int:
        """How many earlier latent frames a decoded frame can depend on: one for each memory block."""
        return self.config.decoder_layers[2]

    def set_compute_dtype(self, dtype: torch.dtype) -> None:
        """Run the networks in `dtype`; the linear codec stays fp32, for 8 bits of mantissa would cap its PSNR."""
        for coder in (self.encoder, self.decoder):
            for name, part in coder.named_children():
                part.to(torch.float32 if name == "linear" else dtype)

    def encode(self, pixels: Tensor, cache: TemporalCache) -> Tensor:
        """Moments `[B, 2C, T', H/8, W/8]` of the next pixels `[B, 3, T, H, W]` of a clip, in [-1, 1].

        A clip starts with 1 + 4k frames and goes on with 4k; H and W are multiples of 8.

        Raises:
            ValueError: The number of frames is another.
        """
        ratio = self.config.temporal_compression_ratio
        num_frames = pixels.shape[2]
        first = 1 if cache.num_latent_frames == 0 else 0
        if num_frames == 0 or (num_frames - first) % ratio:
            raise ValueError(f"{num_frames} frames are not {first} + {ratio}k")
        sizes = [1] * first + [ratio] * ((num_frames - first) // ratio)
        moments = []
        for group in torch.split(pixels, sizes, dim=2):
            moments.append(self.encoder(group, cache))
            cache.num_latent_frames += 1
        return torch.stack(moments, dim=2)

    def decode(self, latents: Tensor, cache: TemporalCache) -> Tensor:
        """Pixels `[B, 3, T, H, W]`, about [-1, 1], of the next latents `[B, C, T', H/8, W/8]` of a clip."""
        frames = []
        for group in latents.unbind(dim=2):
            frames.append(self.decoder(group, cache, is_first=cache.num_latent_frames == 0))
            cache.num_latent_frames += 1
        return torch.cat(frames, dim=2)
