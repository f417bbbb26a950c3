"""When the pictures of an animation are shown."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import accumulate, pairwise
from typing import Self

_STILL_RATE = Fraction(25)
# How long a picture is shown whose duration is 0: as FFmpeg has it in an APNG, and browsers in all others.
_DEFAULT_SECONDS = {"PNG": Fraction(1, 15)}
_OTHER_DEFAULT_SECONDS = Fraction(1, 10)
_LARGEST_DENOMINATOR = 65535  # of the durations in an APNG
_MILLISECOND = Fraction(1, 1000)
_FINEST_TIME_BASE = Fraction(1, 10**6)


@dataclass(frozen=True)
class PictureTimes:
    """Time stamps and durations in units of `time_base` seconds; `rate` is in frames per second."""

    rate: Fraction
    time_base: Fraction
    stamps: tuple[int, ...]
    durations: tuple[int, ...]

    @classmethod
    def still(cls) -> Self:
        """One frame, of a rate as FFmpeg gives it to pictures."""
        return cls(_STILL_RATE, 1 / _STILL_RATE, (0,), (1,))

    @classmethod
    def of(cls, milliseconds: Sequence[float], format_name: str) -> Self:
        """The times of pictures that are shown for so many milliseconds."""
        default = _DEFAULT_SECONDS.get(format_name, _OTHER_DEFAULT_SECONDS)
        seconds = [Fraction(value / 1000).limit_denominator(_LARGEST_DENOMINATOR) for value in milliseconds]
        seconds = [value if value > 0 else default for value in seconds]
        ticks_per_second = math.lcm(1000, *(value.denominator for value in seconds))
        base = max(Fraction(1, ticks_per_second), _FINEST_TIME_BASE)
        starts = [Fraction(0), *accumulate(seconds)]
        stamps = [round(start / base) for start in starts]
        durations = [end - start for start, end in pairwise(stamps)]
        return cls(_rate(seconds), base, tuple(stamps[:-1]), tuple(durations))


def _rate(seconds: Sequence[Fraction]) -> Fraction:
    """Frames per second from the first to the last one; a whole number where that fits times in milliseconds."""
    steps = seconds[:-1] or seconds
    mean = (len(steps) / sum(steps, Fraction(0))).limit_denominator(_LARGEST_DENOMINATOR)
    whole = Fraction(round(mean))
    fits = whole > 0 and all(abs(start - n / whole) <= _MILLISECOND for n, start in enumerate(accumulate(steps), 1))
    return whole if fits and len(set(steps)) > 1 else mean
