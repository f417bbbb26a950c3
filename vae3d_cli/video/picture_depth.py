"""The bits beyond 8 of a picture: Pillow cuts colours to 8 bits, so that others must read the rest."""

import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from vae3d_cli.errors import VideoError
from vae3d_cli.video.color import SRGB, ColorTags
from vae3d_cli.video.deep import full_scale, is_deep, to_rgb16
from vae3d_cli.video.opening import READ_ERRORS, open_input

_BITS_PER_SAMPLE = 258  # TIFF's tag
_HEAD_BYTES = 1 << 16
_DEEP_PPM = re.compile(rb"P[36]((\s|#.*\n)+\d+){2}(\s|#.*\n)+\d{4,}\s")  # colours up to more than 255
_PNG_DEPTH = 24  # where a PNG has it
_SIZ_DEPTH = 40  # where the segment SIZ of JPEG 2000 has it
# By how many codes of 8 bits two readings of one picture may differ, on average over its blocks.
_LARGEST_DIFFERENCE, _BLOCK_PX = 2, 8


@dataclass(frozen=True)
class DeepPicture:
    """A picture of more than 8 bits: planar RGB `[3, H, W]`, uint16, and what FFmpeg calls its format and colours."""

    rgb: NDArray[np.uint16]
    pix_fmt: str
    color: ColorTags


def stored_bits(image: Image.Image, path: Path) -> int:
    """How many bits each value of a picture has in its file."""
    if image.format == "TIFF":
        return int(max(getattr(image, "tag_v2", {}).get(_BITS_PER_SAMPLE, (8,))))
    if image.format == "HEIF":
        return int(image.info.get("bit_depth", 8))
    with path.open("rb") as file:
        head = file.read(_HEAD_BYTES)
    if image.format == "PNG":
        return head[_PNG_DEPTH]
    if image.format == "PPM":
        return 16 if _DEEP_PPM.match(head) else 8
    if image.format == "AVIF" and (box := head.find(b"av1C")) >= 0:
        return 10 if head[box + 6] & 0x40 else 8
    if image.format == "JPEG2000" and (size := head.find(b"\xff\x51")) >= 0:
        return (head[size + _SIZ_DEPTH] & 0x7F) + 1
    return 8


def deep_picture(image: Image.Image, path: Path, shown: NDArray[np.uint8]) -> DeepPicture | None:
    """A picture in all its bits, as it is stored; `None` where no reader gives the one that Pillow shows.

    FFmpeg takes a part of some files for the whole, and decodes others to black.
    """
    try:
        deep = _by_libheif(image, path) if image.format == "HEIF" else _by_ffmpeg(path)
    except (*READ_ERRORS, VideoError, RuntimeError):  # the last is libheif's
        return None
    if deep is None or deep.rgb.shape != shown.shape:
        return None
    pairs = zip(deep.rgb, shown, strict=True)
    differences = [np.abs(_blocks(plane) / 257 - _blocks(other)).mean() for plane, other in pairs]
    return deep if np.mean(differences) <= _LARGEST_DIFFERENCE else None


def _blocks(plane: NDArray[Any]) -> NDArray[np.float64]:
    """The means of small blocks of a plane: the ways to enlarge chroma differ in single pixels only."""
    side = min(_BLOCK_PX, *plane.shape)
    rows, columns = (length // side for length in plane.shape)
    means: NDArray[np.float64] = (
        plane[: rows * side, : columns * side].reshape(rows, side, columns, side).mean(axis=(1, 3))
    )
    return means


def _by_ffmpeg(path: Path) -> DeepPicture | None:
    name = os.path.abspath(path)  # noqa: PTH100 - unlike resolve(), it keeps the name of a link
    with open_input(name, str(path)) as container:
        frame = next(container.decode(video=0), None)
        if frame is None or not is_deep(frame.format.name):
            return None
        tags = ColorTags.of(frame).convertible()
        return DeepPicture(to_rgb16(frame, tags), frame.format.name, tags)


def _by_libheif(image: Image.Image, path: Path) -> DeepPicture | None:
    from pillow_heif import open_heif

    values = np.asarray(open_heif(path, convert_hdr_to_8bit=False)[image.tell()])[..., :3]
    if values.dtype != np.uint16:
        return None
    bits = stored_bits(image, path)
    codes = values.transpose(2, 0, 1) >> np.uint16(16 - bits)  # they are the upper ones
    return DeepPicture(full_scale(codes, bits), "rgb48le", SRGB)
