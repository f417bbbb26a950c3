"""From a frame as it is stored to the one that was asked for: upright, and of another size."""

from fractions import Fraction
from typing import Any

import av
import numpy as np
from av.video.reformatter import Interpolation, VideoReformatter
from numpy.typing import NDArray

from vae3d_cli.video.orientation import Orientation

_RESIZE = Interpolation.LANCZOS | Interpolation.ACCURATE_RND
# As the evaluation scripts of WF-VAE and VidTok do (torchvision's default): bilinear, as wide as the scale asks for.
_COVER = Interpolation.BILINEAR | Interpolation.ACCURATE_RND


class Framing:
    """Turns frames of a video or a picture upright, and resizes them.

    `stored` is the width and height of the frames as they are stored; `size` those to resize to, `cover` those of the
    centre to keep of frames that are resized to just cover them. Without either, all frames must have the size of the
    first. `notes` are what is worth saying of that.
    """

    def __init__(
        self,
        stored: tuple[int, int],
        orientation: Orientation,
        size: tuple[int, int] | None = None,
        cover: tuple[int, int] | None = None,
    ) -> None:
        self._orientation, self._size, self._cover = orientation, size, cover
        self._upright = stored[::-1] if orientation.transposed else stored
        self._filter = _COVER if cover else _RESIZE
        self._scaler = VideoReformatter()
        self.width, self.height = cover or size or self._upright
        self.notes: list[str] = []
        scaled_size = self._scaled(*self._upright)
        if cover and max(scaled_size) > max(self._upright):
            whole, scaled = ("x".join(map(str, sides)) for sides in (self._upright, scaled_size))
            self.notes.append(f"its frames were enlarged, from {whole} to {scaled}")

    def sample_aspect_ratio(self, stored: Fraction) -> Fraction:
        """The shape of a pixel, so that the picture keeps its own when it is turned or resized."""
        upright = 1 / stored if self._orientation.transposed else stored
        stretch = Fraction(self._upright[0] * self.height, self._upright[1] * self.width)
        shape = upright if self._cover else upright * stretch
        shape = shape.limit_denominator(1 << 16)
        return shape if 0 < shape.numerator < 1 << 31 else Fraction(1)  # FFmpeg's rationals have 31 bits

    def fit(self, rgb: NDArray[Any]) -> NDArray[Any]:
        """The frame `[3, H, W]`, upright and of the size asked for."""
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
        pix_fmt = "gray16le" if rgb.dtype == np.uint16 else "gray"
        channels = []
        for channel in rgb:
            source = av.VideoFrame.from_ndarray(np.ascontiguousarray(channel), format=pix_fmt)
            scaled = self._scaler.reformat(source, width, height, format=pix_fmt, interpolation=self._filter, threads=1)
            channels.append(scaled.to_ndarray())
        return np.stack(channels)


def _covering(size: tuple[int, int], cover: tuple[int, int]) -> tuple[int, int]:
    """Width and height of a frame that is resized to the least that covers those; the side that is over is floored."""
    (width, height), (least_width, least_height) = size, cover
    if width * least_height >= least_width * height:
        return least_height * width // height, least_height
    return least_width, least_width * height // width
