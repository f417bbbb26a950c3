"""What a command reports: types here, JSON as the interface has it."""

import math
from dataclasses import dataclass, field

from vae3d_cli.codec.memory import peak_device_bytes, peak_memory_bytes
from vae3d_cli.latents import LatentsHeader
from vae3d_cli.metrics import EXTRAS, METRICS, Fidelity, MetricSummary
from vae3d_cli.video import Timing
from vae3d_cli.weights import ModelFacts


@dataclass(frozen=True, kw_only=True)
class Run:
    """What every run over a clip reports.

    `num_frames` is how many were run, which may be fewer than the latents hold. Of `seconds`, `encode` and `decode` are
    in the model alone, and `total` is the whole run with the loading of the model.
    """

    input: str
    model: ModelFacts
    header: LatentsHeader
    num_frames: int
    latents_shape: tuple[int, ...]
    seconds: dict[str, float]
    notes: tuple[str, ...] = ()
    peak_memory_bytes: int = field(default_factory=peak_memory_bytes)
    peak_device_bytes: int | None = field(init=False)

    def __post_init__(self) -> None:
        # Here, for a result may go to another process.
        object.__setattr__(self, "peak_device_bytes", peak_device_bytes(self.model.device))

    @property
    def frames_per_second(self) -> float:
        """Frames per second of the whole run."""
        return self.num_frames / self.seconds["total"]

    @property
    def strategy(self) -> dict[str, object]:
        """The strategy that the clip was encoded with."""
        return self.header.strategy

    def to_json(self) -> dict[str, object]:
        """The part of the JSON that all commands share."""
        rate = self.header.rate
        return {
            "input": self.input,
            "model": self.model.name,
            "encoder_sha256": self.model.encoder_sha256,
            "device": str(self.model.device),
            "dtype": self.model.dtype_name,
            "strategy": self.strategy,
            "num_frames": self.num_frames,
            "width": self.header.width,
            "height": self.header.height,
            "rate": f"{rate.numerator}/{rate.denominator}",
            "latents_shape": list(self.latents_shape),
            "posterior": self.header.posterior,
            "seed": self.header.seed,
            "seconds": {name: round(seconds, 4) for name, seconds in self.seconds.items()},
            "frames_per_second": round(self.frames_per_second, 4),
            "peak_memory_bytes": self.peak_memory_bytes,
            "peak_device_bytes": self.peak_device_bytes,
        }


@dataclass(frozen=True, kw_only=True)
class EncodeResult(Run):
    """A clip was encoded into `output` (`-` for standard output) in `format`."""

    output: str
    format: str

    def to_json(self) -> dict[str, object]:
        """One JSON object."""
        return {**super().to_json(), "output": self.output, "format": self.format}


@dataclass(frozen=True, kw_only=True)
class DecodeResult(Run):
    """Latents were decoded into `output` (`-` for standard output) with the strategy `decoded_with`."""

    output: str
    decoded_with: dict[str, object]

    @property
    def strategy(self) -> dict[str, object]:
        """The strategy that the latents were decoded with."""
        return self.decoded_with

    def to_json(self) -> dict[str, object]:
        """One JSON object."""
        return {**super().to_json(), "output": self.output}


@dataclass(frozen=True, kw_only=True)
class RoundtripResult(Run):
    """A clip was encoded and decoded, and compared frame by frame; `outputs` are those that were asked for.

    `timing` is that of the source, `latents_bits` the size of a value, `protocol` the name of the one followed.
    """

    fidelity: Fidelity
    protocol: str | None = None
    timing: Timing
    latents_bits: int
    outputs: dict[str, str]

    @property
    def bits_per_pixel(self) -> float:
        """Bits of the latents, as they are stored, per pixel of the clip."""
        pixels = self.num_frames * self.header.height * self.header.width
        return math.prod(self.latents_shape) * self.latents_bits / pixels

    def to_json(self, *, per_frame: bool = False) -> dict[str, object]:
        """One JSON object; with `per_frame` the metrics hold a list each."""
        summaries = self.fidelity.metrics
        names = (*METRICS, *EXTRAS)
        metrics = {name: _summary(summaries[name], per_frame) if name in summaries else None for name in names}
        not_asked_for = {name: f"not asked for: --{name}" for name in names if name not in self.fidelity.names}
        outputs = dict.fromkeys(("recon", "compare", "latents", "report", "csv")) | self.outputs
        return {
            **super().to_json(),
            "protocol": self.protocol,
            "metrics": metrics,
            "absent": self.fidelity.absent | not_asked_for,
            "bits_per_pixel": self.bits_per_pixel,
            "outputs": outputs,
        }


def _summary(summary: MetricSummary, per_frame: bool) -> dict[str, object]:
    lists = {"per_frame": [None if math.isnan(value) else value for value in summary.per_frame]} if per_frame else {}
    values = {"mean": summary.mean, summary.worst_name: summary.worst, "worst_frame": summary.worst_frame}
    return {**values, **summary.figures, **summary.facts, **lists}
