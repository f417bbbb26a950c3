"""What options say, from their texts."""

import re
from collections.abc import Mapping
from fractions import Fraction

from vae3d_cli.errors import UsageError
from vae3d_cli.geometry import PROTOCOLS, FrameRange, Protocol

_METRICS = ("psnr", "psnr_luma", "ssim", "ms_ssim", "psnr_temporal", "psnr_static")
_PSNR_FIGURES = ("pooled", "first", "position_1", "position_2", "position_3", "position_4", "seams", "elsewhere")
GATES = (
    *(gate for name in (*_METRICS, "vmaf") for gate in (name, f"{name}.min")),
    *(f"psnr.{figure}" for figure in _PSNR_FIGURES),
)
CEILINGS = ("lpips", "lpips.max")
"""The gates of which lower is better."""
MAX_SIDE_PX = 16384
_MEMORY_UNITS = {"": 1, "K": 10**3, "M": 10**6, "G": 10**9, "T": 10**12} | {
    "KI": 1 << 10,
    "MI": 1 << 20,
    "GI": 1 << 30,
    "TI": 1 << 40,
}


def parse_frames(text: str | None) -> FrameRange:
    """`A:B` is frames A to B-1, `N` is `0:N`.

    Raises:
        UsageError: It is neither, or holds no frame.
    """
    if text is None:
        return FrameRange()
    first, colon, last = text.partition(":")
    bounds = (first, last) if colon else ("0", first)
    if not all(re.fullmatch("[0-9]{1,15}", bound) for bound in bounds) or int(bounds[0]) >= int(bounds[1]):
        raise UsageError(f"--frames {text}: give A:B with A below B, or N above 0")
    return FrameRange(int(bounds[0]), int(bounds[1]))


def parse_protocol(text: str | None) -> Protocol | None:
    """The protocol of this name.

    Raises:
        UsageError: There is none.
    """
    if text is not None and text not in PROTOCOLS:
        raise UsageError(f"--protocol {text}: there is no such protocol; use {', '.join(PROTOCOLS)}")
    return None if text is None else PROTOCOLS[text]


def parse_rate(text: str | None) -> Fraction | None:
    """`24`, `29.97` or `30000/1001` frames per second.

    Raises:
        UsageError: It is none of these, or beyond any video's.
    """
    if text is None:
        return None
    rate = Fraction(text) if re.fullmatch(r"[0-9]{1,7}(\.[0-9]{1,6}|/0*[1-9][0-9]{0,6})?", text) else Fraction(0)
    if not Fraction(1, 1000) <= rate <= 1000:
        raise UsageError(f"--fps {text}: give a rate from 1/1000 to 1000, such as 24, 29.97 or 30000/1001")
    return rate


def parse_size(text: str | None) -> tuple[int, int] | None:
    """`WxH` in pixels.

    Raises:
        UsageError: It is not, or is beyond what a frame can have.
    """
    if text is None:
        return None
    match = re.fullmatch(r"([0-9]{1,5})[xX]([0-9]{1,5})", text)
    width, height = (int(match[1]), int(match[2])) if match else (0, 0)
    if not 0 < width <= MAX_SIDE_PX or not 0 < height <= MAX_SIDE_PX:
        raise UsageError(f"--size {text}: give WxH with both from 1 to {MAX_SIDE_PX}, such as 640x360")
    return width, height


def parse_gates(minima: list[str], maxima: list[str], extras: Mapping[str, bool]) -> dict[str, float]:
    """`NAME=VALUE` of `--fail-under` and `--fail-over` as a bound by name.

    `extras` are the metrics that are taken only where they are asked for, and whether they are.

    Raises:
        UsageError: There is no such metric, or it was not asked for, or the value is no number.
    """
    under, over = ("--fail-under", GATES, "psnr=30"), ("--fail-over", CEILINGS, "lpips=0.2")
    bounds = {}
    for texts, (option, names, example), others in ((minima, under, over), (maxima, over, under)):
        for text in texts:
            name, _, value = text.partition("=")
            metric = name.partition(".")[0]
            if not re.fullmatch(r"-?[0-9]+(\.[0-9]*)?|-?\.[0-9]+", value):
                raise UsageError(f"{option} {text}: give NAME=VALUE, such as {example}")
            if metric in [other.partition(".")[0] for other in others[1]]:
                better = "lower" if metric in CEILINGS else "higher"
                raise UsageError(f"{option} {text}: of {metric} {better} is better; use {others[0]}")
            if name not in names:
                raise UsageError(f"{option} {text}: there is no metric {name}; use {', '.join(names)}")
            if not extras.get(metric, True):
                raise UsageError(f"{option} {text}: {metric} is taken only where it is asked for; give --{metric} too")
            bounds[name] = float(value)
    return bounds


def parse_memory(text: str | None) -> int | None:
    """`6GiB`, `800MB` or a number of bytes, in bytes.

    Raises:
        UsageError: It is none of these.
    """
    if text is None:
        return None
    match = re.fullmatch(r"([0-9]{1,15}(?:\.[0-9]{1,9})?) ?([KMGT]?I?)B?", text.strip().upper())
    num_bytes = int(float(match[1]) * _MEMORY_UNITS.get(match[2], 0)) if match else 0
    if num_bytes == 0:
        raise UsageError(f"--memory {text}: give a size such as 6GiB or 800MB")
    return num_bytes
