"""Crops that a container asks for: `clap` of mp4 and mov, PixelCrop of Matroska."""

import re
from dataclasses import dataclass
from typing import Any

import av
from numpy.typing import NDArray


@dataclass(frozen=True)
class Crop:
    """Columns and rows to cut off at each edge of the stored frames."""

    left: int = 0
    right: int = 0
    top: int = 0
    bottom: int = 0

    @classmethod
    def of(cls, container: av.container.InputContainer, stream: av.VideoStream) -> "Crop":
        """Find the crop that an open container asks for.

        PyAV gives no access to it, so it is read from the description of the container that FFmpeg logs.
        """
        level = av.logging.get_level()
        av.logging.set_level(av.logging.INFO)
        try:
            text: str = container.dumps_format()  # type: ignore[attr-defined] # it is missing in PyAV's types
        finally:
            av.logging.set_level(level)
        described = re.split(r"^  Stream #0:(?=[0-9])", text, flags=re.MULTILINE)[1:]
        own = next((part for part in described if re.match(rf"{stream.index}\b", part)), "")
        found = re.search(r"^ +Frame Cropping: ([0-9]+)/([0-9]+)/([0-9]+)/([0-9]+)$", own, re.MULTILINE)
        return cls(*map(int, found.groups())) if found else cls()

    def cut(self, frame: NDArray[Any]) -> NDArray[Any]:
        """Crop a frame `[..., H, W]`; a crop that would leave nothing is ignored."""
        height, width = frame.shape[-2:]
        kept = frame[..., self.top : max(height - self.bottom, 0), self.left : max(width - self.right, 0)]
        return kept if kept.size else frame

    def size_px(self, width: int, height: int) -> tuple[int, int]:
        """Width and height of a cropped frame."""
        kept = width - self.left - self.right, height - self.top - self.bottom
        return kept if min(kept) > 0 else (width, height)
