"""The measures of a clip, gathered frame by frame."""

from array import array
from dataclasses import dataclass

from torch import Tensor

from vae3d_cli.metrics.fidelity import psnr_of_mse, squared_error, ssim


@dataclass(frozen=True)
class MetricSummary:
    """A measure over a clip: its mean over frames, its worst frame (counted from 0), and every frame's value."""

    mean: float
    min: float
    worst_frame: int
    per_frame: "array[float]"

    @classmethod
    def of(cls, values: "array[float]") -> "MetricSummary":
        """Summarise one value a frame."""
        worst = min(range(len(values)), key=values.__getitem__)
        return cls(sum(values) / len(values), values[worst], worst, values)


@dataclass(frozen=True)
class Fidelity:
    """PSNR in dB, SSIM (`None` below 11x11 pixels), and the PSNR of the clip's pooled error."""

    psnr: MetricSummary
    psnr_pooled: float
    ssim: MetricSummary | None

    def by_name(self) -> dict[str, float]:
        """Every figure of the clip by the name that gates use."""
        values = {"psnr": self.psnr.mean, "psnr.min": self.psnr.min, "psnr.pooled": self.psnr_pooled}
        if self.ssim is not None:
            values |= {"ssim": self.ssim.mean, "ssim.min": self.ssim.min}
        return values


class FidelityMeter:
    """Compares frames as they come and keeps one number a frame."""

    def __init__(self) -> None:
        self._errors = array("d")
        self._ssim = array("d")

    def add(self, reference: Tensor, other: Tensor) -> None:
        """Compare two frames `[3, H, W]`, uint8."""
        self._errors.append(squared_error(reference, other))
        similarity = ssim(reference, other)
        if similarity is not None:
            self._ssim.append(similarity)

    def result(self) -> Fidelity:
        """The measures of all the frames so far, of which there is at least one."""
        return Fidelity(
            psnr=MetricSummary.of(array("d", map(psnr_of_mse, self._errors))),
            psnr_pooled=psnr_of_mse(sum(self._errors) / len(self._errors)),
            ssim=MetricSummary.of(self._ssim) if self._ssim else None,
        )
