"""Quality gates: figures of a clip against the bounds that a user gave."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass

from vae3d_cli.metrics.extras import LOWER_IS_BETTER
from vae3d_cli.metrics.summary import Fidelity, digits_of

UNDER, OVER = "under", "over"


@dataclass(frozen=True)
class GateResult:
    """One figure against its threshold.

    `side` is where the gate is missed: `under` the threshold, or `over` it where lower is better. A figure that the
    clip does not have is `None`, and `absent` says why; it misses the gate, since nothing shows that it is good enough.
    """

    metric: str
    value: float | None
    threshold: float
    side: str
    passed: bool
    absent: str | None = None

    def __str__(self) -> str:
        """`psnr 27.50 < 30`, with as many digits as show on which side the value is."""
        if self.value is None:
            return f"{self.metric} is absent: {self.absent}"
        digits, value = digits_of(self.metric), self.value
        while _passes(round(value, digits), self.threshold, self.side) is not self.passed:
            digits += 1
        kept, missed = ("<=", ">") if self.side == OVER else (">=", "<")
        sign = kept if self.passed else missed
        return f"{self.metric} {value:.{digits}f} {sign} {self.threshold:.15g}"

    def to_json(self) -> dict[str, object]:
        """One JSON object."""
        return asdict(self)


def check_gates(fidelity: Fidelity, thresholds: Mapping[str, float]) -> list[GateResult]:
    """The figures that have a threshold, in the order of the thresholds."""
    values, results = fidelity.by_name(), []
    for name, threshold in thresholds.items():
        side = OVER if name.partition(".")[0] in LOWER_IS_BETTER else UNDER
        value = values.get(name)
        passed = value is not None and _passes(value, threshold, side)
        absent = fidelity.why_absent(name) if value is None else None
        results.append(GateResult(name, value, threshold, side, passed, absent))
    return results


def _passes(value: float, threshold: float, side: str) -> bool:
    return value <= threshold if side == OVER else value >= threshold
