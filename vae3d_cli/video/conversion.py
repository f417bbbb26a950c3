"""From what a decoder gives to upright planar RGB of one size and type."""

from fractions import Fraction
from typing import Any

import av
import numpy as np
from av.video.reformatter import Interpolation, VideoReformatter
from numpy.typing import NDArray

from vae3d_cli.video.color import ColorTags, to_rgb
from vae3d_cli.video.crop import Crop
from vae3d_cli.video.deep import is_deep, to_8_bit, to_16_bit, to_rgb16
from vae3d_cli.video.orientation import Orientation

_RESIZE = Interpolation.LANCZOS | Interpolation.ACCURATE_RND
# As the evaluation scripts of WF-VAE and VidTok do (torchvision's default): bilinear, as wide as the scale asks for.
_COVER = Interpolation.BILINEAR | Interpolation.ACCURATE_RND
_HDR = {16: "PQ", 18: "HLG"}
DROPPED_TRANSPARENCY = "its transparency was dropped; the colours are kept as they are"
_MATRIX_NAMES = {2: "BT.601", 9: "BT.2020"}


class Conversion:
    """Turns decoded frames into RGB `[3, H, W]` as they are shown.

    The first frame decides the type: uint16 (full scale 65535) where it has more than 8 bits, else uint8. `size` is
    width and height to resize to, `cover` those of the centre to keep of frames that are resized to just cover them;
    without either, all frames must have the size of the first. `crop` is cut off the stored frames. `notes` are what is
    worth saying of the frames so far.

    Raises:
        VideoError: The colour matrix is not supported.
    """

    def __init__(
        self,
        first: av.VideoFrame,
        size: tuple[int, int] | None,
        cover: tuple[int, int] | None = None,
        crop: Crop = Crop(),  # noqa: B008 - frozen
    ) -> None:
        self._reformatter = VideoReformatter()
        self._scaler = VideoReformatter()
        self._deep = is_deep(first.format.name)
        self._orientation = Orientation.of(first)
        tags = ColorTags.of(first)
        self.color = tags.convertible()
        self._crop, self._size, self._cover = crop, size, cover
        width, height = crop.size_px(first.width, first.height)
        self._upright = (height, width) if self._orientation.transposed else (width, height)
        self._filter = _COVER if cover else _RESIZE
        self.width, self.height = cover or size or self._upright
        self.notes = self._notes_of(first, tags)
        self._checks_alpha = True

    def sample_aspect_ratio(self, decoded: Fraction) -> Fraction:
        """The shape of a pixel, so that the picture keeps its own when it is turned or resized."""
        upright = 1 / decoded if self._orientation.transposed else decoded
        stretch = Fraction(self._upright[0] * self.height, self._upright[1] * self.width)
        shape = upright if self._cover else upright * stretch
        shape = shape.limit_denominator(1 << 16)
        return shape if 0 < shape.numerator < 1 << 31 else Fraction(1)  # FFmpeg's rationals have 31 bits

    def rgb(self, frame: av.VideoFrame) -> NDArray[Any]:
        """The frame, upright and of the size asked for."""
        if self._checks_alpha and _is_transparent(frame):
            self.notes.append(DROPPED_TRANSPARENCY)
            self._checks_alpha = False
        rgb: NDArray[Any]
        if is_deep(frame.format.name):
            rgb = to_rgb16(frame, ColorTags.of(frame).convertible())
            rgb = rgb if self._deep else to_8_bit(rgb)
        else:
            rgb = to_rgb(frame, self._reformatter)
            rgb = to_16_bit(rgb) if self._deep else rgb
        rgb = self._crop.cut(rgb)
        if self._orientation != Orientation():
            rgb = self._orientation.upright(rgb)
        scaled = self._scaled(rgb.shape[2], rgb.shape[1])
        return self._centre(rgb if rgb.shape[:0:-1] == scaled else self._resized(rgb, *scaled))

    def _scaled(self, width: int, height: int) -> tuple[int, int]:
        """Width and height that an upright frame of this size is resized to."""
        return _covering((width, height), self._cover) if self._cover else self._size or (width, height)

    def _centre(self, rgb: NDArray[Any]) -> NDArray[Any]:
        """What is kept of a frame; where its edge falls between two pixels, it is at the even one, as torchvision's."""
        left, top = (
            round((whole - kept) / 2) for whole, kept in zip(rgb.shape[:0:-1], (self.width, self.height), strict=True)
        )
        return np.ascontiguousarray(rgb[:, top : top + self.height, left : left + self.width])

    def _resized(self, rgb: NDArray[Any], width: int, height: int) -> NDArray[Any]:
        """Each channel through FFmpeg's scaler by itself, as grey: so there is no colour conversion to lose by."""
        pix_fmt = "gray16le" if self._deep else "gray"
        channels = []
        for channel in rgb:
            source = av.VideoFrame.from_ndarray(np.ascontiguousarray(channel), format=pix_fmt)
            scaled = self._scaler.reformat(source, width, height, format=pix_fmt, interpolation=self._filter, threads=1)
            channels.append(scaled.to_ndarray())
        return np.stack(channels)

    def _notes_of(self, first: av.VideoFrame, tags: ColorTags) -> list[str]:
        notes = []
        scaled_size = self._scaled(*self._upright)
        if self._cover and max(scaled_size) > max(self._upright):
            whole, scaled = ("x".join(map(str, size)) for size in (self._upright, scaled_size))
            notes.append(f"its frames were enlarged, from {whole} to {scaled}")
        bits = max(component.bits for component in first.format.components)
        if bits > 8 and not self._deep:
            notes.append(f"its {bits}-bit values were read as 8 bits")
        if (tags.matrix, tags.range) != (self.color.matrix, self.color.range):
            name = _MATRIX_NAMES.get(self.color.matrix, "its matrix")
            notes.append(f"its colour tags are reserved (matrix {tags.matrix}, range {tags.range}); taken as {name}")
        if tags.transfer in _HDR:
            notes.append(f"its HDR values ({_HDR[tags.transfer]}) were taken as they are; the tags are kept")
        if not self._orientation.known:
            notes.append("its display matrix is no quarter turn or flip; the frames were left as they are stored")
        return notes


def _covering(size: tuple[int, int], cover: tuple[int, int]) -> tuple[int, int]:
    """Width and height of a frame that is resized to the least that covers those; the side that is over is floored."""
    (width, height), (least_width, least_height) = size, cover
    if width * least_height >= least_width * height:
        return least_height * width // height, least_height
    return least_width, least_width * height // width


def _is_transparent(frame: av.VideoFrame) -> bool:
    """Whether any pixel of an 8-bit frame lets something through; of a deeper one whether it could."""
    if not any(component.is_alpha for component in frame.format.components):
        return False
    if is_deep(frame.format.name):
        return True
    return bool((frame.to_ndarray(format="rgba")[..., 3] < 255).any())
