"""SSIM and MS-SSIM of one frame."""

from functools import cache

import torch
import torch.nn.functional as F
from torch import Tensor

from vae3d_cli.metrics.fidelity import BAND_POSITIONS, PEAK

SSIM_WINDOW = 11
_SSIM_SIGMA = 1.5
_K1, _K2 = 0.01, 0.03
# Weights of the scales, from the whole frame to a sixteenth of its sides.
_SCALES = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)
MS_SSIM_SIDE = SSIM_WINDOW << (len(_SCALES) - 1)


def similarities(reference: Tensor, other: Tensor) -> tuple[float | None, float | None]:
    """SSIM and MS-SSIM of two uint8 frames `[3, H, W]`; `None` below 11x11 and below 176x176.

    Wang et al., "Image quality assessment: from error visibility to structural similarity", 2004, and "Multiscale
    structural similarity for image quality assessment", 2003: an 11x11 gaussian window of sigma 1.5, its valid region
    only, population covariance, means over R, G and B; scales are halved by means of 2x2.
    """
    if min(reference.shape[-2:]) < SSIM_WINDOW:
        return None, None
    frames = torch.cat((reference, other))
    similarity, structure = _similarity_and_structure(frames)
    ssim, product = similarity, 1.0
    if min(reference.shape[-2:]) < MS_SSIM_SIDE:
        return ssim, None
    for weight in _SCALES[:-1]:
        product *= max(structure, 0.0) ** weight
        frames = _halved(frames)
        similarity, structure = _similarity_and_structure(frames)
    return ssim, product * max(similarity, 0.0) ** _SCALES[-1]


def _similarity_and_structure(frames: Tensor) -> tuple[float, float]:
    """Mean SSIM, and its part of contrast and structure, of the two frames in `[6, H, W]`, of any dtype."""
    _, height, width = frames.shape
    rows = max(1, BAND_POSITIONS // width)
    sums = torch.zeros(2, dtype=torch.float64)
    for top in range(0, height - SSIM_WINDOW + 1, rows):
        sums += _sums(frames[:, top : top + rows + SSIM_WINDOW - 1])
    similarity, structure = sums / (3 * (height - SSIM_WINDOW + 1) * (width - SSIM_WINDOW + 1))
    return float(similarity), float(structure)


def _sums(frames: Tensor) -> Tensor:
    """What the means are of, added up over a band of rows and R, G and B."""
    maps = torch.empty(12, *frames.shape[1:], device=frames.device)
    maps[:6] = frames
    x, y, squares, product = maps.chunk(4)
    torch.mul(x, x, out=squares).addcmul_(y, y)  # of the two only the sum is needed
    torch.mul(x, y, out=product)
    mean_x, mean_y, mean_squares, mean_product = _blur(maps).chunk(4)
    square_of_means, product_of_means = (mean_x * mean_x).addcmul_(mean_y, mean_y), mean_x * mean_y
    c1, c2 = (_K1 * PEAK) ** 2, (_K2 * PEAK) ** 2
    variances, covariance = mean_squares - square_of_means, mean_product - product_of_means
    structure = covariance.mul_(2).add_(c2).div_(variances.add_(c2))
    luminance = product_of_means.mul_(2).add_(c1).div_(square_of_means.add_(c1))
    return torch.stack([(luminance * structure).sum(dtype=torch.float64), structure.sum(dtype=torch.float64)]).cpu()


def _halved(frames: Tensor) -> Tensor:
    """Means of 2x2 positions of `[N, H, W]` as fp32; `avg_pool2d` takes five times as long."""
    _, height, width = frames.shape
    rows = frames[:, 0 : height - 1 : 2].float() + frames[:, 1::2]
    return (rows[..., 0 : width - 1 : 2] + rows[..., 1::2]).mul_(0.25)


def _blur(maps: Tensor) -> Tensor:
    """Each channel of `[N, H, W]` under the gaussian window, valid region only."""
    channels = maps.shape[0]
    kernel = _window().to(maps).expand(channels, 1, 1, SSIM_WINDOW)
    # A depthwise filter is fast with the channels last, and what comes behind it with the channels first.
    last = maps[None].contiguous(memory_format=torch.channels_last)
    return F.conv2d(F.conv2d(last, kernel, groups=channels), kernel.transpose(2, 3), groups=channels)[0].contiguous()


@cache
def _window() -> Tensor:
    """The gaussian window along one axis, whose sum is 1."""
    offsets = torch.arange(SSIM_WINDOW, dtype=torch.float64) - SSIM_WINDOW // 2
    window = torch.exp(-(offsets**2) / (2 * _SSIM_SIGMA**2))
    return window / window.sum()
