"""SSIM and MS-SSIM of frames."""

import math

import torch
from torch import Tensor

from vae3d_cli.metrics.fidelity import BAND_POSITIONS, PEAK

SSIM_WINDOW = 11
_SSIM_SIGMA = 1.5
_K1, _K2 = 0.01, 0.03
# Weights of the scales, from the whole frame to a sixteenth of its sides.
_SCALES = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)
MS_SSIM_SIDE = SSIM_WINDOW << (len(_SCALES) - 1)
_HALO = SSIM_WINDOW - 1
# Rows, or columns, that one product of matrices blurs: with more of them more is multiplied by zero.
_BLOCK = 16


class SimilarityMeter:
    """Compares frames of one size, in memory that it keeps: new pages cost more than what is computed in them."""

    def __init__(self) -> None:
        self._scales: list[_Scale] = []

    def similarities(self, reference: Tensor, other: Tensor) -> tuple[float | None, float | None]:
        """SSIM and MS-SSIM of two uint8 frames `[3, H, W]`; `None` below 11x11 and below 176x176.

        Wang et al., "Image quality assessment: from error visibility to structural similarity", 2004, and "Multiscale
        structural similarity for image quality assessment", 2003: an 11x11 gaussian window of sigma 1.5, its valid
        region only, population covariance, means over R, G and B; scales are halved by means of 2x2.
        """
        _, height, width = reference.shape
        if min(height, width) < SSIM_WINDOW:
            return None, None
        if not self._scales:
            num_scales = len(_SCALES) if min(height, width) >= MS_SSIM_SIDE else 1
            self._scales = [_Scale(height >> n, width >> n, reference.device) for n in range(num_scales)]
        frames, values = torch.stack((reference, other)).permute(2, 0, 1, 3), []
        for scale in self._scales:
            values.append(scale.similarity_and_structure(frames))
            frames = scale.halved
        ssim, _ = values[0]
        if len(values) < len(_SCALES):
            return ssim, None
        product = max(values[-1][0], 0.0) ** _SCALES[-1]
        for weight, (_, structure) in zip(_SCALES, values[:-1], strict=False):
            product *= max(structure, 0.0) ** weight
        return ssim, product


class _Scale:
    """The working memory for frames of one size: rows come first, then maps, then columns.

    A band of rows is worked on at a time, with the maps x + y and x - y of R, G and B, and their squares. Of what is
    blurred, rows and columns fill whole blocks; what is behind the borders of the frame is not counted.
    """

    def __init__(self, height: int, width: int, device: torch.device) -> None:
        self._valid = height - _HALO, width - _HALO
        row_blocks, column_blocks = (math.ceil(length / _BLOCK) for length in self._valid)
        rows = min(max(BAND_POSITIONS // width // _BLOCK, 1), row_blocks) * _BLOCK
        columns = column_blocks * _BLOCK
        self._maps = torch.zeros(rows + _HALO, 2, 2, 3, columns + _HALO, device=device)
        self._blurred_down = torch.empty(rows, 12, columns + _HALO, device=device)
        self._blurred = torch.empty(rows, 2, 2, 3, columns, device=device)
        self._pairs = torch.empty((rows + _HALO) // 2, 2, 3, width, device=device)
        self.halved = torch.empty(height // 2, 2, 3, width // 2, device=device)
        self._window = _window().to(self._maps)
        self._constants = 2 * torch.tensor([(_K1 * PEAK) ** 2, (_K2 * PEAK) ** 2], device=device).view(2, 1, 1)

    def similarity_and_structure(self, frames: Tensor) -> tuple[float, float]:
        """Mean SSIM, and its part of contrast and structure, of `[H, 2, 3, W]`; leaves the frames `halved`."""
        height, width = self._valid
        assert (len(frames), frames.shape[-1]) == (height + _HALO, width + _HALO)
        rows = len(self._blurred)
        sums = torch.zeros(3, dtype=torch.float64, device=frames.device)
        for top in range(0, height, rows):
            band = frames[top : top + rows + _HALO]
            x, y = self._maps[: len(band), 0, :, :, : band.shape[-1]].copy_(band).unbind(1)
            self._halve(top, len(band))
            torch.sub(x.add_(y), y, alpha=2, out=y)
            torch.mul(self._maps[:, 0], self._maps[:, 0], out=self._maps[:, 1])
            losses = self._losses()[: height - top, ..., :width]
            luminance, structure = losses.unbind(1)
            sums[:2] += losses.sum(dim=(0, 2, 3))
            sums[2] += luminance.mul_(structure).sum()
        luminance, structure, both = (sums / (3 * height * width)).tolist()
        return 1 - 2 * (luminance + structure) + 4 * both, 1 - 2 * structure

    def _halve(self, top: int, rows: int) -> None:
        """Means of 2x2 positions of the band's rows, which may be again those of the band before."""
        width = self._pairs.shape[-1]
        frames, halved = self._maps[:, 0], self.halved[top // 2 : (top + rows) // 2]
        pairs = self._pairs[: len(halved)]
        torch.add(frames[0 : 2 * len(halved) : 2, ..., :width], frames[1 : 2 * len(halved) : 2, ..., :width], out=pairs)
        torch.add(pairs[..., 0 : width - 1 : 2], pairs[..., 1::2], out=halved).mul_(0.25)

    def _losses(self) -> Tensor:
        """What luminance, and contrast and structure, lose.

        SSIM is (1 - 2 l) (1 - 2 s): with u = x + y and v = x - y, l is V² / (U² + V² + 2 C1), of means, and s is the
        same of variances.
        """
        self._blur()
        means, variances = self._blurred.unbind(1)
        variances.sub_(means.square_())
        sums, differences = self._blurred.unbind(2)
        return differences.div_(sums.add_(differences).add_(self._constants))

    def _blur(self) -> None:
        """Each map under the gaussian window, down and then across, as products with a matrix of shifted windows."""
        reach = _BLOCK + _HALO
        down = self._maps.flatten(1).unfold(0, reach, _BLOCK).transpose(1, 2)
        torch.bmm(self._window.expand(len(down), -1, -1), down, out=self._blurred_down.view(len(down), _BLOCK, -1))
        across = self._blurred_down.flatten(0, 1).unfold(1, reach, _BLOCK).transpose(0, 1)
        blurred = self._blurred.view(across.shape[1], -1, _BLOCK).transpose(0, 1)
        torch.bmm(across, self._window.T.expand(len(across), -1, -1), out=blurred)


def _window() -> Tensor:
    """The gaussian window along one axis, whose sum is 1, one step further in each row: `[B, B + 10]`."""
    offsets = torch.arange(_BLOCK + _HALO) - torch.arange(_BLOCK)[:, None] - _HALO // 2
    window = torch.exp(-(offsets.double() ** 2) / (2 * _SSIM_SIGMA**2)).where(offsets.abs() <= _HALO // 2, 0)
    return window / window.sum(dim=1, keepdim=True)
