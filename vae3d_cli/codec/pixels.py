"""Between frames (uint8 or uint16, as decoded) and pixels (float, as networks take them)."""

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from vae3d_cli.config import VaeConfig
from vae3d_cli.geometry import padded_num_frames, padded_size_px, plan_chunks


def pixel_chunks(
    frames: Iterable[NDArray[Any]], config: VaeConfig, chunk_latents: int, device: torch.device
) -> Iterator[Tensor]:
    """Pixels `[1, 3, T, H, W]` of frames `[3, H, W]`, a chunk of latent frames at a time.

    The last chunk is padded to 1 + 4k frames in all by repeating the last frame.
    """
    plan = plan_chunks(chunk_latents)
    chunk, waiting, num_read = next(plan), [], 0
    for frame in frames:
        waiting.append(frame)
        num_read += 1
        if len(waiting) == chunk.num_frames(config):
            yield to_pixels(waiting, config, device)
            chunk, waiting = next(plan), []
    if waiting:
        waiting += [waiting[-1]] * (padded_num_frames(num_read, config) - num_read)
        yield to_pixels(waiting, config, device)


def to_pixels(frames: list[NDArray[Any]], config: VaeConfig, device: torch.device) -> Tensor:
    """Pixels `[1, 3, T, H, W]` in [-1, 1] of frames `[3, H, W]`, padded right and below to whole latents."""
    white = float(np.iinfo(frames[0].dtype).max)
    stack = np.stack(frames, axis=1)
    # Few devices have uint16 and all have int32.
    stacked = torch.from_numpy(stack.astype(np.int32) if stack.dtype == np.uint16 else stack).to(device)
    height, width = stacked.shape[-2:]
    pixels = stacked[None].float().div_(white / 2).sub_(1)
    right, bottom = padded_size_px(width, config) - width, padded_size_px(height, config) - height
    return F.pad(pixels, (0, right, 0, bottom, 0, 0), mode="replicate")


def to_frames(pixels: Tensor, height: int, width: int, *, deep: bool = False) -> Tensor:
    """Frames `[T, 3, H, W]` on the CPU, of pixels `[1, 3, T, H, W]` without the padding: uint8, or uint16 if `deep`."""
    cropped = pixels[0, :, :, :height, :width].transpose(0, 1)
    half, dtype = (32767.5, torch.uint16) if deep else (127.5, torch.uint8)
    # Few devices have uint16 and all have int32.
    codes = ((cropped.clamp(-1, 1) + 1) * half).round().to(torch.int32 if deep else dtype)
    return codes.cpu().to(dtype).contiguous()


def to_8_bit(frames: Tensor) -> Tensor:
    """Frames as uint8, which metrics are made for: those of 16 bits rounded."""
    if frames.dtype != torch.uint16:
        return frames
    return torch.div(frames.to(torch.int32) + 128, 257, rounding_mode="floor").to(torch.uint8)
