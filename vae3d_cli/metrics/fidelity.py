"""Errors of 8-bit RGB frames in dB: of a frame, of its luma, and of its change from the frame before."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

PEAK = 255.0
EXACT_PSNR = 100.0
# R, G and B in luma by BT.709, of full range.
_LUMA = (0.2126, 0.7152, 0.0722)
# What stands still: no value changes by more levels than coding noise does, over a share of the frame worth measuring.
_STATIC_LEVELS, _STATIC_SHARE = 2, 0.01


@dataclass(frozen=True)
class FrameErrors:
    """Mean squared errors of one frame in levels squared; NaN where there is nothing to measure.

    `temporal` is that of the change from the frame before, and `static` the same where the reference stands still: what
    is seen as flicker. `seams` and `elsewhere` are on and off the borders of tiles.
    """

    rgb: float
    luma: float
    temporal: float
    static: float
    seams: float
    elsewhere: float


class ErrorMeter:
    """Compares frames in order and remembers the one before; `seams` `[H, W]` is where tiles meet, if they do."""

    def __init__(self, seams: Tensor | None = None) -> None:
        self._seams = seams
        self._before: tuple[Tensor, Tensor] | None = None

    def errors(self, reference: Tensor, other: Tensor) -> FrameErrors:
        """Compare two frames `[3, H, W]`, uint8, the next of the clip."""
        # Not in uint8, which would wrap. Squares of levels are whole numbers that fp32 holds exactly.
        error = reference.float() - other.float()
        luma = torch.tensor(_LUMA, device=error.device) @ error.flatten(1)
        temporal = static = math.nan
        if self._before is not None:
            reference_before, error_before = self._before
            change = _squares(error - error_before)
            temporal = _mean(change)
            moved = torch.maximum(reference, reference_before) - torch.minimum(reference, reference_before)
            still = moved.amax(dim=0) <= _STATIC_LEVELS
            if still.count_nonzero() >= _STATIC_SHARE * still.numel():
                static = _mean(change, still)
        self._before = reference, error
        squares = _squares(error)
        seams, elsewhere = (
            (math.nan, math.nan) if self._seams is None else (_mean(squares, self._seams), _mean(squares, ~self._seams))
        )
        return FrameErrors(
            _mean(squares), float((luma * luma).mean(dtype=torch.float64)), temporal, static, seams, elsewhere
        )


def _squares(error: Tensor) -> Tensor:
    """Squared errors `[H, W]`, added up over R, G and B."""
    return (error * error).sum(dim=0)


def _mean(squares: Tensor, where: Tensor | None = None) -> float:
    """The mean over positions, or those of a mask, and R, G and B."""
    if where is None:
        return float(squares.sum(dtype=torch.float64)) / (3 * squares.numel())
    return float((squares * where).sum(dtype=torch.float64)) / (3 * int(where.count_nonzero()))


def psnr_of_mse(mse: float) -> float:
    """10 log10(255² / MSE) in dB; 100 where nothing was lost, NaN of NaN."""
    if math.isnan(mse):
        return mse
    return 10 * math.log10(PEAK * PEAK / mse) if mse > 0 else EXACT_PSNR
