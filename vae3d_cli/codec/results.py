"""What a command reports: types here, JSON as the interface has it."""

import math
import resource
import sys
from array import array
from dataclasses import dataclass, field
from fractions import Fraction

import torch

from vae3d_cli.metrics import Fidelity, MetricSummary
from vae3d_cli.weights import Model


@dataclass(frozen=True, kw_only=True)
class Run:
    """What every run over a clip reports. `encode` and `decode` are seconds in the model alone."""

    input: str
    model: Model
    strategy: dict[str, object]
    num_frames: int
    width: int
    height: int
    rate: Fraction
    latents_shape: tuple[int, ...]
    posterior: str
    seconds: dict[str, float]
    notes: tuple[str, ...] = ()
    peak_memory_bytes: int = field(default_factory=lambda: peak_memory_bytes())

    @property
    def frames_per_second(self) -> float:
        """Frames per second of the whole run."""
        return self.num_frames / self.seconds["total"]

    def to_json(self) -> dict[str, object]:
        """The part of the JSON that all commands share."""
        device = self.model.device
        return {
            "input": self.input,
            "model": self.model.name,
            "encoder_sha256": self.model.encoder_sha256,
            "device": str(device),
            "dtype": self.model.dtype_name,
            "strategy": self.strategy,
            "num_frames": self.num_frames,
            "width": self.width,
            "height": self.height,
            "rate": f"{self.rate.numerator}/{self.rate.denominator}",
            "latents_shape": list(self.latents_shape),
            "posterior": self.posterior,
            "seconds": {name: round(seconds, 4) for name, seconds in self.seconds.items()},
            "frames_per_second": round(self.frames_per_second, 4),
            "peak_memory_bytes": self.peak_memory_bytes,
            "peak_device_bytes": torch.cuda.max_memory_allocated(device) if device.type == "cuda" else None,
        }


@dataclass(frozen=True, kw_only=True)
class EncodeResult(Run):
    """A clip was encoded into `output` (`-` for standard output)."""

    output: str
    seed: int | None

    def to_json(self) -> dict[str, object]:
        """One JSON object."""
        return {**super().to_json(), "seed": self.seed, "output": self.output}


@dataclass(frozen=True, kw_only=True)
class DecodeResult(Run):
    """Latents were decoded into `output` (`-` for standard output)."""

    output: str

    def to_json(self) -> dict[str, object]:
        """One JSON object."""
        return {**super().to_json(), "output": self.output}


@dataclass(frozen=True, kw_only=True)
class RoundtripResult(Run):
    """A clip was encoded and decoded, and compared frame by frame."""

    seed: int | None
    fidelity: Fidelity
    outputs: dict[str, str]

    def missed_gates(self, minima: dict[str, float]) -> list[str]:
        """The names of the metrics below their minimum; one that this clip has none of misses it too."""
        values = self.fidelity.by_name()
        return [name for name, minimum in minima.items() if not values.get(name, -math.inf) >= minimum]

    def to_json(self, *, per_frame: bool = False) -> dict[str, object]:
        """One JSON object; with `per_frame` the metrics hold a list each."""
        psnr, ssim = self.fidelity.psnr, self.fidelity.ssim
        metrics = {
            "psnr": _summary(psnr, per_frame) | {"pooled": self.fidelity.psnr_pooled},
            "ssim": _summary(ssim, per_frame) if ssim else None,
        }
        outputs = dict.fromkeys(("recon", "compare", "latents", "report")) | self.outputs
        return {**super().to_json(), "seed": self.seed, "metrics": metrics, "outputs": outputs}


def _summary(summary: MetricSummary, per_frame: bool) -> dict[str, object]:
    values: array[float] = summary.per_frame
    lists = {"per_frame": list(values)} if per_frame else {}
    return {"mean": summary.mean, "min": summary.min, "worst_frame": summary.worst_frame, **lists}


def peak_memory_bytes() -> int:
    """The most memory that this process has held so far."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024  # kilobytes everywhere else
