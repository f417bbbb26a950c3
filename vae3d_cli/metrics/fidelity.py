"""Errors of 8-bit RGB frames in dB: of a frame, of its luma, and of its change from the frame before."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

PEAK = 255.0
# Positions that are worked on together, in bands of rows: new pages of memory cost more than what is computed in them.
BAND_POSITIONS = 1 << 16
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
        self._num_seams = 0 if seams is None else int(seams.count_nonzero())
        self._before: tuple[Tensor, Tensor] | None = None

    def errors(self, reference: Tensor, other: Tensor) -> FrameErrors:
        """Compare two frames `[3, H, W]`, uint8, the next of the clip."""
        _, height, width = reference.shape
        weights = torch.tensor(_LUMA, device=reference.device)
        sums = dict.fromkeys(("rgb", "luma", "temporal", "static", "seams"), 0.0)
        num_static, num_seams = 0, self._num_seams
        rows = max(1, BAND_POSITIONS // width)
        for band in (slice(top, top + rows) for top in range(0, height, rows)):
            error = _difference(reference[:, band], other[:, band])
            squares, luma = _squares(error), weights @ error.flatten(1)
            sums["rgb"] += _sum(squares)
            sums["luma"] += 3 * _sum(luma * luma)
            if self._seams is not None:
                sums["seams"] += _sum(squares * self._seams[band])
            if self._before is not None:
                reference_before, other_before = (frame[:, band] for frame in self._before)
                change = _squares(error.sub_(_difference(reference_before, other_before)))
                static = _is_static(reference[:, band], reference_before)
                sums["temporal"] += _sum(change)
                sums["static"] += _sum(change * static)
                num_static += int(static.count_nonzero())
        num_positions = height * width
        is_first, self._before = self._before is None, (reference, other)
        return FrameErrors(
            rgb=_mean(sums["rgb"], num_positions),
            luma=_mean(sums["luma"], num_positions),
            temporal=_mean(sums["temporal"], 0 if is_first else num_positions),
            static=_mean(sums["static"], num_static if num_static >= _STATIC_SHARE * num_positions else 0),
            seams=_mean(sums["seams"], num_seams),
            elsewhere=_mean(sums["rgb"] - sums["seams"], num_positions - num_seams if num_seams else 0),
        )


def _difference(reference: Tensor, other: Tensor) -> Tensor:
    """Not in uint8, which would wrap: levels in fp32, which holds also their squares exactly."""
    return reference.float().sub_(other)


def _squares(error: Tensor) -> Tensor:
    """Squared errors `[H, W]`, added up over R, G and B."""
    return (error * error).sum(dim=0)


def _is_static(frame: Tensor, before: Tensor) -> Tensor:
    """Where no value changes, but for noise: `[H, W]`."""
    return (torch.maximum(frame, before) - torch.minimum(frame, before)).amax(dim=0) <= _STATIC_LEVELS


def _sum(values: Tensor) -> float:
    return float(values.sum(dtype=torch.float64))


def _mean(total: float, num_positions: int) -> float:
    """The mean over positions and R, G and B; NaN over none."""
    return total / (3 * num_positions) if num_positions else math.nan


def psnr_of_mse(mse: float) -> float:
    """10 log10(255² / MSE) in dB; 100 where nothing was lost, NaN of NaN."""
    if math.isnan(mse):
        return mse
    return 10 * math.log10(PEAK * PEAK / mse) if mse > 0 else EXACT_PSNR
