"""YUV to planar RGB and back, exactly.

The default conversions of FFmpeg's scaler lose up to two codes and shift chroma by half a pixel a generation. Accurate
rounding, nearest chroma upwards and box-averaged chroma downwards are exact inverses of each other, once the chroma
siting is out of the way: 8-bit YUV in limited range comes back bit for bit.
"""

from dataclasses import dataclass
from typing import Any

import av
import numpy as np
from av.video.plane import VideoPlane
from av.video.reformatter import Interpolation, VideoReformatter
from numpy.typing import NDArray

from vae3d_cli.errors import VideoError

_ACCURATE = Interpolation.ACCURATE_RND | Interpolation.FULL_CHR_H_INT | Interpolation.FULL_CHR_H_INP
_TO_RGB = Interpolation.POINT | _ACCURATE
_FROM_RGB = Interpolation.AREA | _ACCURATE

# Codes of ITU-T H.273, which FFmpeg's enumerations follow; range has FFmpeg's own.
UNSPECIFIED = 2
MATRIX_RGB, MATRIX_YCGCO = 0, 8
LIMITED = 1
_CONVERTIBLE_MATRICES = (0, 1, 2, 4, 5, 6, 7, 9)
_BT2020_MATRICES = (10, 14)

# The scaler takes every grey format for full range; this is what it leaves out.
_FULL_OF_LIMITED = ((np.arange(256) - 16) * (255 / 219)).round().clip(0, 255).astype(np.uint8)


@dataclass(frozen=True)
class ColorTags:
    """Colour tags of a video: H.273 codes, and FFmpeg's codes for the range (0 unknown, 1 limited, 2 full)."""

    matrix: int = UNSPECIFIED
    range: int = 0
    primaries: int = UNSPECIFIED
    transfer: int = UNSPECIFIED

    @classmethod
    def of(cls, frame: av.VideoFrame) -> "ColorTags":
        """The tags that a decoded frame carries; the matrix of an RGB format is RGB, whether it says so or not."""
        is_rgb = frame.format.is_rgb or frame.format.name == "pal8"
        matrix = MATRIX_RGB if is_rgb else frame.colorspace
        return cls(matrix, frame.color_range, frame.color_primaries, frame.color_trc)

    def put_on(self, target: "av.VideoFrame | av.VideoCodecContext") -> None:
        """Set these tags on a frame or an encoder."""
        target.colorspace = self.matrix
        target.color_range = self.range
        target.color_primaries = self.primaries
        target.color_trc = self.transfer

    def convertible(self) -> "ColorTags":
        """The nearest tags that the scaler can convert with: its default (BT.601) for a reserved matrix.

        Raises:
            VideoError: The matrix is YCgCo, for which any other would give wrong colours.
        """
        if self.matrix == MATRIX_YCGCO:
            raise VideoError("the colour matrix YCgCo is not supported; convert the video to BT.709 first")
        matrix = self.matrix
        if matrix not in _CONVERTIBLE_MATRICES:
            matrix = 9 if matrix in _BT2020_MATRICES else UNSPECIFIED
        return ColorTags(matrix, self.range if self.range in (0, 1, 2) else 0, self.primaries, self.transfer)


BT709 = ColorTags(matrix=1, range=1, primaries=1, transfer=1)
SRGB = ColorTags(matrix=MATRIX_RGB, range=2, primaries=1, transfer=13)


def to_rgb(frame: av.VideoFrame, reformatter: VideoReformatter) -> NDArray[np.uint8]:
    """Planar RGB `[3, H, W]` of a decoded frame.

    Raises:
        VideoError: The colour matrix is not supported.
    """
    tags = ColorTags.of(frame).convertible()
    source = _without_siting(frame)
    tags.put_on(source)
    converted = reformatter.reformat(source, format="gbrp", interpolation=_TO_RGB, threads=1)
    green, blue, red = (_plane(converted, index)[: frame.height, : frame.width] for index in range(3))
    rgb = np.stack((red, green, blue))
    is_grey = frame.format.name.startswith(("gray", "ya"))
    return _FULL_OF_LIMITED[rgb] if is_grey and tags.range == LIMITED else rgb


def from_rgb(rgb: NDArray[np.uint8], pix_fmt: str, tags: ColorTags, reformatter: VideoReformatter) -> av.VideoFrame:
    """A frame in `pix_fmt` of planar RGB `[3, H, W]`, converted with the matrix and the range of `tags`."""
    height, width = rgb.shape[1:]
    down, right = _missing(av.VideoFormat(pix_fmt), width, height)
    if down or right:
        rgb = np.pad(rgb, ((0, 0), (0, down), (0, right)), mode="edge")
    frame = av.VideoFrame.from_dlpack([rgb[1], rgb[2], rgb[0]], format="gbrp")
    tags.convertible().put_on(frame)
    converted = reformatter.reformat(frame, format=pix_fmt, interpolation=_FROM_RGB, threads=1)
    if not (down or right):
        return converted
    cropped = av.VideoFrame(width, height, pix_fmt)
    tags.convertible().put_on(cropped)
    _copy_planes(converted, cropped)
    return cropped


def _without_siting(frame: av.VideoFrame) -> av.VideoFrame:
    """The same picture in a frame that says nothing of its chroma's position; PyAV cannot unset it."""
    if frame.format.chroma_width(64) == 64 and frame.format.chroma_height(64) == 64:
        return frame  # not subsampled: there is no siting
    width, height = frame.width, frame.height
    down, right = _missing(frame.format, width, height)
    copy = av.VideoFrame(width + right, height + down, frame.format.name)
    _copy_planes(frame, copy)
    luma = _plane(copy, 0)
    luma[:height, width:] = luma[:height, width - 1 : width]
    luma[height:] = luma[height - 1 : height]
    return copy


def _missing(pix_fmt: av.VideoFormat, width: int, height: int) -> tuple[int, int]:
    """Rows and columns to add for whole chroma samples: the scaler would shift those of an odd size.

    Formats that are not planar come in even sizes only.
    """
    if pix_fmt.chroma_width(64) == 64 and pix_fmt.chroma_height(64) == 64:
        return 0, 0
    return -height % (64 // pix_fmt.chroma_height(64)), -width % (64 // pix_fmt.chroma_width(64))


def _copy_planes(source: av.VideoFrame, target: av.VideoFrame) -> None:
    """What two frames of one format have in common."""
    for to_plane, from_plane in zip(target.planes, source.planes, strict=True):
        to_rows, from_rows = _rows(to_plane), _rows(from_plane)
        lines, size = np.minimum(to_rows.shape, from_rows.shape)
        to_rows[:lines, :size] = from_rows[:lines, :size]


def _rows(plane: VideoPlane) -> NDArray[np.uint8]:
    """A view of a plane with its line padding: `[lines, line_size]`."""
    buffer: Any = plane  # it has the buffer protocol; its types do not say so
    return np.frombuffer(buffer, np.uint8).reshape(-1, plane.line_size)


def _plane(frame: av.VideoFrame, index: int) -> NDArray[np.uint8]:
    """A view of one 8-bit plane without its line padding: `[H, W]`."""
    return _rows(frame.planes[index])[: frame.height, : frame.width]
