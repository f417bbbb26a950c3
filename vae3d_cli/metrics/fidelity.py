"""PSNR and SSIM of one frame."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

PEAK = 255.0
EXACT_PSNR = 100.0
SSIM_WINDOW = 11
_SSIM_SIGMA = 1.5
_K1, _K2 = 0.01, 0.03


def squared_error(reference: Tensor, other: Tensor) -> float:
    """Mean squared error of two uint8 frames `[3, H, W]`, over all their values."""
    # int32 and not uint8, which would wrap; and not fp32, whose sum over a frame would round.
    difference = reference.to(torch.int32) - other.to(torch.int32)
    return float((difference * difference).sum(dtype=torch.int64)) / difference.numel()


def psnr_of_mse(mse: float) -> float:
    """10 log10(255² / MSE) in dB; 100 where nothing was lost."""
    return 10 * math.log10(PEAK * PEAK / mse) if mse > 0 else EXACT_PSNR


def ssim(reference: Tensor, other: Tensor) -> float | None:
    """Structural similarity of two uint8 frames `[3, H, W]`; `None` for frames below 11x11.

    Wang et al., "Image quality assessment: from error visibility to structural similarity", 2004: an 11x11 gaussian
    window of sigma 1.5, its valid region only, population covariance, mean over R, G and B.
    """
    if min(reference.shape[-2:]) < SSIM_WINDOW:
        return None
    x, y = reference.float(), other.float()
    # Of x² and y² only the sum is needed. As channels of one image in channels-last order the depthwise filter is fast.
    maps = torch.cat((x, y, x * x + y * y, x * y))[None].contiguous(memory_format=torch.channels_last)
    mean_x, mean_y, mean_squares, mean_product = _blur(maps)[0].chunk(4)
    square_of_means, product_of_means = mean_x * mean_x + mean_y * mean_y, mean_x * mean_y
    c1, c2 = (_K1 * PEAK) ** 2, (_K2 * PEAK) ** 2
    luminance = (2 * product_of_means + c1) / (square_of_means + c1)
    structure = (2 * (mean_product - product_of_means) + c2) / (mean_squares - square_of_means + c2)
    return float((luminance * structure).mean(dtype=torch.float64))


def _blur(maps: Tensor) -> Tensor:
    """Each channel of `[1, N, H, W]` under the gaussian window, valid region only."""
    channels = maps.shape[1]
    offsets = torch.arange(SSIM_WINDOW, dtype=torch.float64, device=maps.device) - SSIM_WINDOW // 2
    window = torch.exp(-(offsets**2) / (2 * _SSIM_SIGMA**2))
    kernel = (window / window.sum()).to(maps.dtype).expand(channels, 1, 1, SSIM_WINDOW)
    return F.conv2d(F.conv2d(maps, kernel, groups=channels), kernel.transpose(2, 3), groups=channels)
