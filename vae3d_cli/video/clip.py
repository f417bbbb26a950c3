"""A clip that is open to be read, whatever reads it."""

import contextlib
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Self

from vae3d_cli.files import STDIN_NAME, base_name_of
from vae3d_cli.video.color import ColorTags
from vae3d_cli.video.filters import Frame, ReadOptions, at_rate


@dataclass(frozen=True)
class VideoInfo:
    """Facts of a video, from its container and its first frame; the number of frames and the rate may be guesses.

    Sizes, rate and time base are those of the frames that the reader gives: upright, and after its filters. Counting
    the frames sets `rate` and `is_count_exact`.
    """

    width: int
    height: int
    rate: Fraction
    time_base: Fraction
    sample_aspect_ratio: Fraction
    pix_fmt: str
    bit_depth: int
    color: ColorTags
    container: str
    codec: str
    estimated_num_frames: int | None
    is_count_exact: bool = True


class Clip(ABC):
    """An iterator over the frames of a video or a picture, which `open_clip` opens.

    `path` is what the user named (`None` is standard input); `copy_of` names what a file copies. Every frame comes
    upright, in the order and number of the clip. Time stamps that are missing or do not increase are mended. `notes`
    are what is worth saying of what was read so far.
    """

    info: VideoInfo
    _rate: Fraction
    _time_base: Fraction

    def __init__(self, path: Path | None, options: ReadOptions, *, copy_of: str | None = None) -> None:
        self.name = name_of(path, copy_of)
        self.base_name = base_name_of(None if copy_of else path)
        self.path = path
        self._options = options
        self._stack = contextlib.ExitStack()
        self.num_read = 0

    @abstractmethod
    def __enter__(self) -> Self:
        """Open it, and decode its first frame."""

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close it."""
        self.close()

    def close(self) -> None:
        """Read no more; what is known of the clip stays."""
        self._stack.close()

    def __iter__(self) -> Iterator[Frame]:
        """Go through the frames, once."""
        frames = self._frames()
        if self._options.rate is not None:
            frames = at_rate(frames, self._time_base, self._rate, self._options.rate)
        with self._errors():
            for frame in frames:
                yield frame
                self.num_read += 1

    @abstractmethod
    def count_frames(self) -> int:
        """Count the frames without decoding them; nothing can be read after it."""

    @property
    @abstractmethod
    def notes(self) -> tuple[str, ...]:
        """What a user should know of this clip, each with its name."""

    @abstractmethod
    def _frames(self) -> Iterator[Frame]:
        """The frames as they are in the clip, upright and of the size asked for."""

    @abstractmethod
    def _errors(self) -> AbstractContextManager[None]:
        """Say what the errors of a library mean, in one line."""


def name_of(path: Path | None, copy_of: str | None = None) -> str:
    """What messages call a clip."""
    return copy_of or (STDIN_NAME if path is None else str(path))
