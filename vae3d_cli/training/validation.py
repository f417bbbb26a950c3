"""The quality of a network on clips that it is not trained on."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from vae3d_cli.metrics import psnr_of_mse
from vae3d_cli.model.hunyuanvideo import HunyuanVideoVae
from vae3d_cli.model.tiny import TinyVae
from vae3d_cli.training.data import to_pixels
from vae3d_cli.training.objective import reconstruct

NUM_FRAMES, MAX_SIDE_PX = 17, 256


@dataclass(frozen=True)
class Quality:
    """Mean PSNR in dB over the frames of all clips, of the posterior's mode and of a sample."""

    psnr: float
    sample_psnr: float


def validation_pixels(frames: np.ndarray, ratio: int) -> Tensor:
    """The middle of the first `1 + 4k` frames of a clip, at most 17 of 256x256, as pixels."""
    count = min(NUM_FRAMES, 1 + (len(frames) - 1) // ratio * ratio)
    top, left = (max(0, (length - MAX_SIDE_PX) // 2) for length in frames.shape[2:])
    return to_pixels(frames[:count, :, top : top + MAX_SIDE_PX, left : left + MAX_SIDE_PX])


@torch.no_grad()
def validate(network: TinyVae | HunyuanVideoVae, clips: Sequence[Tensor], seed: int) -> Quality:
    """Run every clip `[1, 3, T, H, W]` through the network, as autocast has it."""
    totals = np.zeros(2)
    device = next(network.parameters()).device
    for clip in clips:
        pixels = clip.to(device)
        for index, generator in enumerate((None, torch.Generator().manual_seed(seed))):
            decoded, _ = reconstruct(network, pixels, generator)
            errors = (255 * (decoded.clamp(-1, 1) - pixels) / 2).square().mean((0, 1, 3, 4))
            totals[index] += np.mean([psnr_of_mse(error) for error in errors.tolist()])
    mode, sample = totals / len(clips)
    return Quality(psnr=float(mode), sample_psnr=float(sample))
