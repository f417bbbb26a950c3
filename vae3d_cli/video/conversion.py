"""From what a decoder gives to upright planar RGB of one size and type."""

from fractions import Fraction
from typing import Any

import av
from av.video.reformatter import VideoReformatter
from numpy.typing import NDArray

from vae3d_cli.video.color import ColorTags, to_rgb
from vae3d_cli.video.crop import Crop
from vae3d_cli.video.deep import is_deep, to_8_bit, to_16_bit, to_rgb16
from vae3d_cli.video.framing import Framing
from vae3d_cli.video.orientation import Orientation

DROPPED_TRANSPARENCY = "its transparency was dropped; the colours are kept as they are"
_HDR = {16: "PQ", 18: "HLG"}
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
        self._deep = is_deep(first.format.name)
        orientation = Orientation.of(first)
        tags = ColorTags.of(first)
        self.color = tags.convertible()
        self._crop = crop
        self._framing = Framing(crop.size_px(first.width, first.height), orientation, size, cover)
        self.width, self.height = self._framing.width, self._framing.height
        self.notes = self._notes_of(first, tags, orientation)
        self._checks_alpha = True

    def sample_aspect_ratio(self, decoded: Fraction) -> Fraction:
        """The shape of a pixel, so that the picture keeps its own when it is turned or resized."""
        return self._framing.sample_aspect_ratio(decoded)

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
        return self._framing.fit(self._crop.cut(rgb))

    def _notes_of(self, first: av.VideoFrame, tags: ColorTags, orientation: Orientation) -> list[str]:
        notes = [*self._framing.notes]
        bits = max(component.bits for component in first.format.components)
        if bits > 8 and not self._deep:
            notes.append(f"its {bits}-bit values were read as 8 bits")
        if (tags.matrix, tags.range) != (self.color.matrix, self.color.range):
            name = _MATRIX_NAMES.get(self.color.matrix, "its matrix")
            notes.append(f"its colour tags are reserved (matrix {tags.matrix}, range {tags.range}); taken as {name}")
        notes += notes_of_hdr(tags)
        if not orientation.known:
            notes.append("its display matrix is no quarter turn or flip; the frames were left as they are stored")
        return notes


def notes_of_hdr(tags: ColorTags) -> list[str]:
    """What is worth saying of HDR values."""
    name = _HDR.get(tags.transfer)
    return [f"its HDR values ({name}) were taken as they are; the tags are kept"] if name else []


def _is_transparent(frame: av.VideoFrame) -> bool:
    """Whether any pixel of an 8-bit frame lets something through; of a deeper one whether it could."""
    if not any(component.is_alpha for component in frame.format.components):
        return False
    if is_deep(frame.format.name):
        return True
    return bool((frame.to_ndarray(format="rgba")[..., 3] < 255).any())
