"""The measures of a clip, gathered frame by frame."""

import math
from array import array
from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import islice

from torch import Tensor

from vae3d_cli.metrics.fidelity import ErrorMeter, psnr_of_mse
from vae3d_cli.metrics.similarity import MS_SSIM_SIDE, SSIM_WINDOW, similarities

PSNR, SSIM, MS_SSIM = "psnr", "ssim", "ms_ssim"
PSNR_LUMA, PSNR_TEMPORAL, PSNR_STATIC = "psnr_luma", "psnr_temporal", "psnr_static"
TITLES = {
    PSNR: "PSNR",
    PSNR_LUMA: "PSNR of luma",
    SSIM: "SSIM",
    MS_SSIM: "MS-SSIM",
    PSNR_TEMPORAL: "PSNR of changes",
    PSNR_STATIC: "PSNR where still",
}
"""How the measures are called for people."""
METRICS = tuple(TITLES)
"""The names of the measures. Of each, higher is better."""
# A latent frame stands for one frame, the first, or for four.
_GROUP = 4


@dataclass(frozen=True)
class MetricSummary:
    """A measure over a clip: its mean over frames, its worst frame (counted from 0), and every frame's value.

    A frame that it says nothing of has NaN. `figures` are others of the clip.
    """

    mean: float
    min: float
    worst_frame: int
    per_frame: "array[float]"
    figures: dict[str, float] = field(default_factory=dict)

    @classmethod
    def of(cls, values: "array[float]", figures: dict[str, float] | None = None) -> "MetricSummary | None":
        """Summarise one value a frame; `None` where no frame has one."""
        measured = [index for index, value in enumerate(values) if not math.isnan(value)]
        if not measured:
            return None
        worst = min(measured, key=values.__getitem__)
        return cls(_mean(values[index] for index in measured), values[worst], worst, values, figures or {})


@dataclass(frozen=True)
class Fidelity:
    """The measures of a clip by name, in the order of `METRICS`, and why others could not be had.

    `psnr` (dB, of RGB), `psnr_luma`, `ssim`, `ms_ssim`; `psnr_temporal`, of the change from one frame to the next, and
    `psnr_static`, of that where the original stands still: what is seen as flicker. `psnr` has the figures `pooled` (of
    the clip's mean error), `first` and `position_1` to `position_4` (means over the first frame, and over the frames at
    each place of the groups of four behind it), and, of a run with tiles, `seams` and `elsewhere` (of the pooled error
    on the borders of tiles and off them).
    """

    metrics: dict[str, MetricSummary]
    absent: dict[str, str]

    def by_name(self) -> dict[str, float]:
        """Every figure of the clip by the name that gates use: `psnr`, `psnr.min`, `psnr.pooled`."""
        values: dict[str, float] = {}
        for name, summary in self.metrics.items():
            values |= {name: summary.mean, f"{name}.min": summary.min}
            values |= {f"{name}.{figure}": value for figure, value in summary.figures.items()}
        return values


class FidelityMeter:
    """Compares frames as they come and keeps a few numbers a frame.

    `seams` `[H, W]` is where tiles meet, if they do.
    """

    def __init__(self, seams: Tensor | None = None) -> None:
        self._has_seams = seams is not None
        self._errors = ErrorMeter(seams)
        self._mse = {name: array("d") for name in (PSNR, PSNR_LUMA, PSNR_TEMPORAL, PSNR_STATIC, "seams", "elsewhere")}
        self._similarity = {name: array("d") for name in (SSIM, MS_SSIM)}

    def add(self, reference: Tensor, other: Tensor) -> float:
        """Compare two frames `[3, H, W]`, uint8, the next of the clip; return its PSNR in dB."""
        errors = self._errors.errors(reference, other)
        for values, error in zip(
            self._mse.values(),
            (errors.rgb, errors.luma, errors.temporal, errors.static, errors.seams, errors.elsewhere),
            strict=True,
        ):
            values.append(error)
        for values, value in zip(self._similarity.values(), similarities(reference, other), strict=True):
            values.append(math.nan if value is None else value)
        return psnr_of_mse(errors.rgb)

    def result(self) -> Fidelity:
        """The measures of all the frames so far, of which there is at least one."""
        per_frame = {name: array("d", map(psnr_of_mse, self._mse[name])) for name in METRICS if name in self._mse}
        per_frame |= self._similarity
        metrics = {}
        for name in METRICS:
            figures = self._figures(per_frame[PSNR]) if name == PSNR else None
            if summary := MetricSummary.of(per_frame[name], figures):
                metrics[name] = summary
        absent = {name: reason for name, reason in self._reasons().items() if name not in metrics}
        return Fidelity(metrics, absent)

    def _figures(self, psnr: "array[float]") -> dict[str, float]:
        figures = {"pooled": psnr_of_mse(_mean(self._mse[PSNR])), "first": psnr[0]}
        for position in range(_GROUP):
            if len(psnr) > 1 + position:
                figures[f"position_{position + 1}"] = _mean(islice(psnr, 1 + position, None, _GROUP))
        if self._has_seams:
            figures |= {name: psnr_of_mse(_mean(self._mse[name])) for name in ("seams", "elsewhere")}
        return figures

    def _reasons(self) -> dict[str, str]:
        """Why a measure is absent, if it is."""
        return {
            SSIM: f"needs frames of at least {SSIM_WINDOW}x{SSIM_WINDOW}",
            MS_SSIM: f"needs frames of at least {MS_SSIM_SIDE}x{MS_SSIM_SIDE}",
            PSNR_TEMPORAL: "needs two frames",
            PSNR_STATIC: "needs two frames" if len(self._mse[PSNR]) == 1 else "nothing stands still in this clip",
        }


def _mean(values: Iterable[float]) -> float:
    kept = list(values)
    return math.fsum(kept) / len(kept)
