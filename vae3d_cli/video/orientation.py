"""Which way up a video is shown: quarter turns and flips, as a display matrix has them."""

from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import av
import numpy as np
from av.filter import Graph
from numpy.typing import NDArray

# PyAV wraps all side data of a frame to give one kind. It frees the name of an ICC profile twice, which kills the
# process, and raises where it has no name for a kind: LCEVC, the views of stereo video and EXIF, by FFmpeg's numbers.
_UNREADABLE = ("ICC_PROFILE", "28", "29", "30", "31")
# Signs of a display matrix's (a, b, c, d), where a pixel (x, y) is shown at (ax + cy, bx + dy): whether x and y change
# places first, and which of the two are then mirrored.
_ORIENTATIONS = {
    (1, 0, 0, 1): (False, False, False),
    (-1, 0, 0, 1): (False, True, False),
    (1, 0, 0, -1): (False, False, True),
    (-1, 0, 0, -1): (False, True, True),
    (0, 1, 1, 0): (True, False, False),
    (0, 1, -1, 0): (True, True, False),
    (0, -1, 1, 0): (True, False, True),
    (0, -1, -1, 0): (True, True, True),
}
# The same of the values of EXIF's tag.
_OF_EXIF = {
    2: (False, True, False),
    3: (False, True, True),
    4: (False, False, True),
    5: (True, False, False),
    6: (True, True, False),
    7: (True, True, True),
    8: (True, False, True),
}


@dataclass(frozen=True)
class Orientation:
    """How a decoded frame becomes upright: transposed, then mirrored; `known` is whether it can be by these means."""

    transposed: bool = False
    mirrored_x: bool = False
    mirrored_y: bool = False
    known: bool = True

    @classmethod
    def of_exif(cls, value: object) -> "Orientation":
        """That of the EXIF tag, 1 to 8; any other value says nothing."""
        return cls(*_OF_EXIF.get(value, ())) if isinstance(value, int) else cls()

    @classmethod
    def of(cls, frame: av.VideoFrame) -> "Orientation":
        """That of a decoded frame; any angle but a multiple of 90 degrees is not known, and left as it is."""
        matrix = _display_matrix(frame)
        if matrix is None:
            return cls()
        a, b, _, c, d = matrix[:5]
        signs = (_sign(a), _sign(b), _sign(c), _sign(d))
        exact = (b == c == 0 and abs(a) == abs(d)) or (a == d == 0 and abs(b) == abs(c))
        if signs not in _ORIENTATIONS or not exact:
            return cls(known=False)
        return cls(*_ORIENTATIONS[signs])

    def upright(self, frames: NDArray[Any]) -> NDArray[Any]:
        """The frame `[3, H, W]` as it is shown."""
        if self.transposed:
            frames = frames.transpose(0, 2, 1)
        if self.mirrored_x:
            frames = frames[:, :, ::-1]
        if self.mirrored_y:
            frames = frames[:, ::-1]
        return np.ascontiguousarray(frames)


def _sign(value: int) -> int:
    return (value > 0) - (value < 0)


def _display_matrix(frame: av.VideoFrame) -> tuple[int, ...] | None:
    """The nine integers of a frame's display matrix."""
    data = _without(frame, _UNREADABLE).side_data.get("DISPLAYMATRIX")
    if data is None:
        return None
    buffer: Any = data  # it has the buffer protocol; its types do not say so
    return tuple(int(value) for value in np.frombuffer(bytes(buffer)[:36], "<i4"))  # what follows is padding


def _without(frame: av.VideoFrame, kinds: tuple[str, ...]) -> av.VideoFrame:
    """The same frame without these kinds of side data."""
    graph = Graph()
    last = graph.add_buffer(
        width=frame.width, height=frame.height, format=frame.format, time_base=frame.time_base or Fraction(1, 25)
    )
    for kind in kinds:
        deletion = graph.add("sidedata", f"mode=delete:type={kind}")
        last.link_to(deletion)
        last = deletion
    last.link_to(graph.add("buffersink"))
    graph.configure()
    graph.push(frame)
    kept = graph.pull()
    assert isinstance(kept, av.VideoFrame)
    return kept
