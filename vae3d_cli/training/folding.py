"""Whole clips through the embedded model at once: the latent frames of a clip lie in the batch.

The numbers are those of a stream, but for rounding. The linear codec stays fp32 under autocast, as it does elsewhere.
"""

import torch
from torch import Tensor

from vae3d_cli.model.cache import FoldedTime
from vae3d_cli.model.tiny import TinyVae


def encode_clips(network: TinyVae, pixels: Tensor) -> Tensor:
    """Moments `[B, 2C, 1 + k, H/8, W/8]` of clips `[B, 3, 1 + 4k, H, W]`."""
    encoder, batch = network.encoder, len(pixels)
    first, rest = pixels[:, :, :1], _groups(pixels[:, :, 1:], encoder.temporal_ratio)
    with torch.autocast(pixels.device.type, enabled=False):
        parts = [encoder.linear(first.flatten(1, 2))[:, None]]
        if rest.shape[1]:
            parts.append(torch.unflatten(encoder.linear(rest.flatten(0, 1).flatten(1, 2)), 0, (batch, -1)))
        linear = torch.cat(parts, dim=1)
    groups = torch.cat((first[:, None].expand(-1, -1, -1, encoder.temporal_ratio, -1, -1), rest), dim=1)
    correction = encoder.correct(groups.flatten(0, 1), FoldedTime(groups.shape[1]))
    return (linear + torch.unflatten(correction, 0, (batch, -1))).transpose(1, 2)


def decode_clips(network: TinyVae, latents: Tensor) -> Tensor:
    """Pixels `[B, 3, 1 + 4k, H, W]` of the latents `[B, C, 1 + k, H/8, W/8]` of clips."""
    decoder, (batch, _, num_latent_frames) = network.decoder, latents.shape[:3]
    groups = latents.transpose(1, 2)
    with torch.autocast(latents.device.type, enabled=False):
        first = torch.unflatten(decoder.linear(groups[:, 0], True), 1, (-1, 1))
        rest = torch.unflatten(decoder.linear(groups[:, 1:].flatten(0, 1), False), 1, (-1, decoder.temporal_ratio))
    correction = decoder.correct(groups.flatten(0, 1), FoldedTime(num_latent_frames))
    correction = torch.unflatten(correction, 0, (batch, -1))
    later = (torch.unflatten(rest, 0, (batch, num_latent_frames - 1)) + correction[:, 1:]).transpose(1, 2).flatten(2, 3)
    return torch.cat((first + correction[:, 0, :, -1:], later), dim=2)


def _groups(frames: Tensor, ratio: int) -> Tensor:
    """Frames `[B, 3, 4k, H, W]` as groups `[B, k, 3, 4, H, W]`."""
    return torch.unflatten(frames, 2, (-1, ratio)).transpose(1, 2)
