"""The measures of a clip, gathered frame by frame."""

import math
from array import array
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from types import MappingProxyType

from torch import Tensor

from vae3d_cli.metrics.extras import EXTRAS, LOWER_IS_BETTER, ExtraMeter
from vae3d_cli.metrics.fidelity import ErrorMeter, psnr_of_mse
from vae3d_cli.metrics.lpips import LPIPS
from vae3d_cli.metrics.similarity import MS_SSIM_SIDE, SSIM_WINDOW, SimilarityMeter
from vae3d_cli.metrics.vmaf import VMAF

PSNR, SSIM, MS_SSIM = "psnr", "ssim", "ms_ssim"
PSNR_LUMA, PSNR_TEMPORAL, PSNR_STATIC = "psnr_luma", "psnr_temporal", "psnr_static"
METRICS = (PSNR, PSNR_LUMA, SSIM, MS_SSIM, PSNR_TEMPORAL, PSNR_STATIC)
"""The names of the measures that are always taken. Of each, higher is better."""
TITLES = {
    PSNR: "PSNR",
    PSNR_LUMA: "PSNR of luma",
    SSIM: "SSIM",
    MS_SSIM: "MS-SSIM",
    PSNR_TEMPORAL: "PSNR of changes",
    PSNR_STATIC: "PSNR at rest",
    VMAF: "VMAF",
    LPIPS: "LPIPS",
}
"""How all measures are called for people."""
TILE_FIGURES = ("seams", "elsewhere")
"""The figures of `psnr` that only a run with tiles has."""
# A latent frame stands for one frame, the first, or for four.
_GROUP = 4


def digits_of(name: str) -> int:
    """How many decimal places of a figure are worth showing: measures up to 1 have more."""
    return 4 if "ssim" in name or name.startswith(LPIPS) else 2


@dataclass(frozen=True)
class MetricSummary:
    """A measure over a clip: its mean over frames, its worst frame (counted from 0), and every frame's value.

    A frame that it says nothing of has NaN. `figures` are others of the clip; `facts` are what the measure depends on.
    """

    mean: float
    worst: float
    worst_frame: int
    per_frame: "array[float]"
    figures: dict[str, float] = field(default_factory=dict)
    lower_is_better: bool = False
    facts: Mapping[str, str] = field(default_factory=dict)

    @property
    def worst_name(self) -> str:
        """What the value of the worst frame is called: `min`, or `max` where lower is better."""
        return "max" if self.lower_is_better else "min"

    @classmethod
    def of(
        cls,
        values: "array[float]",
        figures: dict[str, float] | None = None,
        *,
        lower_is_better: bool = False,
        facts: Mapping[str, str] = MappingProxyType({}),
    ) -> "MetricSummary | None":
        """Summarise one value a frame; `None` where no frame has one."""
        measured = [index for index, value in enumerate(values) if not math.isnan(value)]
        if not measured:
            return None
        worst = (max if lower_is_better else min)(measured, key=values.__getitem__)
        mean = _mean(values[index] for index in measured)
        return cls(mean, values[worst], worst, values, figures or {}, lower_is_better, facts)


@dataclass(frozen=True)
class Fidelity:
    """The measures of a clip by name, in the order of `METRICS` and `EXTRAS`, and why others could not be had.

    `psnr` (dB, of RGB), `psnr_luma`, `ssim`, `ms_ssim`; `psnr_temporal`, of the change from one frame to the next, and
    `psnr_static`, of that where the original stands still: what is seen as flicker. `psnr` has the figures `pooled` (of
    the clip's mean error), `first` and `position_1` to `position_4` (means over the first frame, and over the frames at
    each place of the groups of four behind it), and, of a run with tiles, `seams` and `elsewhere` (of the pooled error
    on the borders of tiles and off them). Those of `EXTRAS` are here only if they were asked for.
    """

    metrics: dict[str, MetricSummary]
    absent: dict[str, str]

    @property
    def names(self) -> tuple[str, ...]:
        """What was to be measured."""
        return (*METRICS, *(name for name in EXTRAS if name in self.metrics or name in self.absent))

    def by_name(self) -> dict[str, float]:
        """Every figure of the clip by the name that gates use: `psnr`, `psnr.min`, `psnr.pooled`."""
        values: dict[str, float] = {}
        for name, summary in self.metrics.items():
            values |= {name: summary.mean, f"{name}.{summary.worst_name}": summary.worst}
            values |= {f"{name}.{figure}": value for figure, value in summary.figures.items()}
        return values

    def why_absent(self, name: str) -> str:
        """Why the clip does not have this figure, which `by_name` lacks."""
        metric, _, figure = name.partition(".")
        if metric in self.absent:
            return self.absent[metric]
        if figure in TILE_FIGURES:
            return "only a clip that is cut into tiles has it (--strategy tiled)"
        position = figure.removeprefix("position_")
        return f"needs a clip of {1 + int(position)} frames" if position.isdigit() else "not measured"


class FidelityMeter:
    """Compares frames as they come and keeps a few numbers a frame.

    `seams` `[H, W]` is where tiles meet, if they do, and `extras` are further measures to take.
    """

    def __init__(self, seams: Tensor | None = None, extras: Sequence[ExtraMeter] = ()) -> None:
        self._extras = extras
        self._has_seams = seams is not None
        self._errors = ErrorMeter(seams)
        self._mse = {name: array("d") for name in (PSNR, PSNR_LUMA, PSNR_TEMPORAL, PSNR_STATIC, *TILE_FIGURES)}
        self._similarities = SimilarityMeter()
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
        similarities = self._similarities.similarities(reference, other)
        for values, value in zip(self._similarity.values(), similarities, strict=True):
            values.append(math.nan if value is None else value)
        for extra in self._extras:
            extra.add(reference, other)
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
        for extra in self._extras:
            lower_is_better = extra.name in LOWER_IS_BETTER
            summary = MetricSummary.of(extra.values(), lower_is_better=lower_is_better, facts=extra.facts)
            if summary:
                metrics[extra.name] = summary
        reasons = self._reasons() | {extra.name: extra.reason for extra in self._extras}
        absent = {name: reason for name, reason in reasons.items() if name not in metrics}
        return Fidelity(metrics, absent)

    def _figures(self, psnr: "array[float]") -> dict[str, float]:
        figures = {"pooled": psnr_of_mse(_mean(self._mse[PSNR])), "first": psnr[0]}
        for position in range(_GROUP):
            if len(psnr) > 1 + position:
                figures[f"position_{position + 1}"] = _mean(islice(psnr, 1 + position, None, _GROUP))
        if self._has_seams:
            figures |= {name: psnr_of_mse(_mean(self._mse[name])) for name in TILE_FIGURES}
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
