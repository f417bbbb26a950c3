"""When the frames of a clip are shown."""

import math
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

# Beyond this is no time; the latents file has the same limit.
_MAX_STAMP = 1 << 53
_RATES_WITH_NTSC_TWINS = (24, 30, 48, 60, 120, 240)
_STANDARD_RATES = (
    *map(Fraction, (5, 10, 12, 15, 20, 25, 50, 90, 100, 144, *_RATES_WITH_NTSC_TWINS)),
    *(Fraction(rate * 1000, 1001) for rate in _RATES_WITH_NTSC_TWINS),
    Fraction(25, 2),
)
# A mean rate beyond these comes from broken time stamps.
_SLOWEST, _FASTEST = Fraction(1, 1000), Fraction(1000)


@dataclass(frozen=True)
class Timing:
    """A rate in frames per second and, where frames do not come at `n / rate`, their time stamps.

    `pts` is I64 `[num_frames]` in units of `time_base` seconds, strictly increasing. `start_time` is when the first
    frame is shown in the source, in seconds; `last_duration` is how many seconds the last frame lasts, if known.
    """

    rate: Fraction
    time_base: Fraction | None = None
    pts: NDArray[np.int64] | None = None
    start_time: Fraction = Fraction(0)
    last_duration: Fraction | None = None

    @classmethod
    def of(cls, rate: Fraction, time_base: Fraction, pts: NDArray[np.int64]) -> "Timing":
        """The timing of frames with these time stamps; `rate` is the container's.

        Time stamps that a constant rate explains are dropped. Otherwise the rate is the mean from the first frame to
        the last, or a standard rate that is as close as the time stamps can tell.
        """
        start_time = int(pts[0]) * time_base
        own = _rate_of(time_base, pts) or rate
        standard = min(_STANDARD_RATES, key=lambda known: abs(known - own))
        for constant in (rate, standard, own):
            if _is_constant(constant, time_base, pts):
                return cls(constant, start_time=start_time)
        return cls(standard if _is_close(standard, time_base, pts) else own, time_base, pts, start_time)

    @property
    def is_constant(self) -> bool:
        """Whether frames come at `n / rate`."""
        return self.pts is None or self.time_base is None

    def stamps(self, num_frames: int) -> tuple[Fraction, NDArray[np.int64]]:
        """Time base and the time stamps from 0 on of the clip's frames, for an encoder."""
        if self.pts is None or self.time_base is None:
            return 1 / self.rate, np.arange(num_frames, dtype=np.int64)
        return self.time_base, self.pts - self.pts[0]


def _is_constant(rate: Fraction, time_base: Fraction, pts: NDArray[np.int64]) -> bool:
    """Whether frames come at this rate; a container that rounds to its ticks may be off by less than one."""
    ticks, frames = (1 / (rate * time_base)).as_integer_ratio()
    start = int(pts[0])
    # |pts - n * ticks / frames| < 1, in Python's integers, which do not overflow.
    return all(abs((int(stamp) - start) * frames - n * ticks) < frames for n, stamp in enumerate(pts))


def _rate_of(time_base: Fraction, pts: NDArray[np.int64]) -> Fraction | None:
    """The mean rate from the first frame to the last; `None` if it is not a rate that a video can have."""
    ticks = int(pts[-1]) - int(pts[0])
    rate = Fraction(len(pts) - 1, ticks) / time_base if ticks else Fraction(0)
    if not _SLOWEST <= rate <= _FASTEST:
        return None
    return rate.limit_denominator(1001) if rate > 1 else 1 / (1 / rate).limit_denominator(1001)


def _is_close(rate: Fraction, time_base: Fraction, pts: NDArray[np.int64]) -> bool:
    """Whether the mean rate differs from this one by no more than the frames' jitter.

    A difference of 1/2002 is always too much: it lies halfway between 30 and 30000/1001.
    """
    num_steps, ticks = len(pts) - 1, int(pts[-1]) - int(pts[0])
    if not num_steps:
        return False
    jitter = float(np.median(np.abs(np.diff(pts) - ticks / num_steps)))
    return abs(num_steps / (rate * time_base) - ticks) <= min(max(jitter, 2), ticks / 2002)


class Stamps:
    """Mends the time stamps of frames as they come: those that are missing, impossible, or do not increase.

    `start` is given for a container that knows only when packets are decoded (AVI): the frames, which come in the order
    they are shown, then take those times, counted from `start`.
    """

    def __init__(self, rate: Fraction, time_base: Fraction, start: int | None = None) -> None:
        self._step = max(1, round(1 / (rate * time_base)))
        self._start = start
        self._delay: int | None = None
        self._previous: int | None = None
        self._num_disordered = 0

    def next(self, pts: int | None, dts: int | None = None) -> int:
        """The frame's stamp; the next one by the rate where it has none, one tick on where it goes back."""
        if self._start is not None:
            if self._delay is None:
                self._delay = (dts or 0) - self._start
            pts = None if dts is None else dts - self._delay
        if pts is None or abs(pts) > _MAX_STAMP:
            pts = self._start or 0 if self._previous is None else self._previous + self._step
        elif self._previous is not None and pts <= self._previous:
            pts = self._previous + 1
            self._num_disordered += 1
        self._previous = pts
        return pts

    @property
    def notes(self) -> list[str]:
        """What is worth saying of the stamps so far."""
        return [f"{self._num_disordered} time stamps did not increase and were mended"] if self._num_disordered else []


@dataclass(frozen=True)
class Schedule:
    """When each frame is written: time stamps and durations, I64 `[num_frames]` in units of `time_base`.

    The time base is fine enough for the lead and the duration of the last frame, too.
    """

    time_base: Fraction
    stamps: NDArray[np.int64]
    durations: NDArray[np.int64]

    @classmethod
    def of(cls, timing: Timing, num_frames: int, lead: Fraction, *, constant_rate: bool) -> "Schedule":
        """The schedule of `num_frames` frames; `constant_rate` takes them at `n / rate`, for what can say no other."""
        if constant_rate:
            timing = Timing(timing.rate)
            lead = Fraction(round(lead * timing.rate)) / timing.rate
        base, stamps = timing.stamps(num_frames)
        last = timing.last_duration or max(round(1 / timing.rate / base), 1) * base
        time_base = _common(base, lead, last)
        stamps = stamps * (base / time_base).numerator + round(lead / time_base)
        durations = np.append(np.diff(stamps), max(round(last / time_base), 1))
        return cls(time_base, stamps, durations)


def _common(base: Fraction, *others: Fraction) -> Fraction:
    """The coarsest time base that `base` and the others are multiples of; those are rounded if it is too fine."""
    result = base
    for other in others:
        numerator = math.gcd(result.numerator * other.denominator, other.numerator * result.denominator)
        finer = Fraction(numerator, result.denominator * other.denominator)
        if finer.denominator < 10_000_000:
            result = finer
    return result
