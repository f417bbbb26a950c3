"""Videos and images as a context-managed iterator of planar RGB frames."""

import contextlib
import logging
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Any

import av
import numpy as np
from av.video.reformatter import VideoReformatter
from numpy.typing import NDArray

from vae3d_cli.errors import VideoError
from vae3d_cli.files import STDIN_NAME
from vae3d_cli.video.color import ColorTags, to_rgb
from vae3d_cli.video.pipes import open_stdin

# Formats that are lists of other files: reading them would open what the user did not name.
_PLAYLISTS = {"concat", "concatf", "dash", "hls", "imf"}
_TRUNCATED = re.compile(r"ended prematurely|partial file|truncat|LZW decode failed|overread", re.IGNORECASE)
_ATTACHED_PICTURE = 0x400  # AV_DISPOSITION_ATTACHED_PIC: cover art
_NO_DECODER = "there is no decoder for its video codec, or it is encrypted; convert it to H.264 first"
_READ_ERRORS = (av.FFmpegError, OSError, ValueError, LookupError, EOFError, MemoryError)


@dataclass(frozen=True)
class Frame:
    """One frame: planar RGB `[3, H, W]`, uint8, and its time stamp in the video's time base."""

    rgb: NDArray[np.uint8]
    pts: int


@dataclass(frozen=True)
class VideoInfo:
    """What a video is, read off its first frame; the number of frames is an estimate of the container's."""

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


class VideoReader:
    """An iterator over the frames of a video or image; `None` reads standard input, `copy_of` names what a file copies.

    Every frame comes in the order and number of the video. Time stamps that are missing or do not increase are mended.

    Raises:
        VideoError: The file cannot be read, has no video, or is damaged as far as FFmpeg can tell.
    """

    def __init__(self, path: Path | None, *, copy_of: str | None = None) -> None:
        named = None if copy_of else path
        self.name = copy_of or (STDIN_NAME if path is None else str(path))
        # Metadata is UTF-8; a file name need not be.
        self.base_name = None if named is None else os.fsencode(named.name).decode(errors="replace")
        self._path = path
        self._stack = contextlib.ExitStack()
        self._reformatter = VideoReformatter()
        self.num_read = 0
        self._num_packets = 0

    def __enter__(self) -> "VideoReader":
        """Open the video and decode its first frame."""
        with contextlib.ExitStack() as stack:
            self._log = stack.enter_context(_truncation_log())
            with self._errors():
                self._container = stack.enter_context(self._open(stack))
                self._stream = self._choose_stream()
                self._packets = self._demux()
                self._decoded = self._decode()
                first = next(self._decoded, None)
            if first is None:
                raise VideoError(f"{self.name}: the video has no frames; give another")
            self._first = first
            self.info = self._describe(first)
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the video."""
        self._stack.close()

    def __iter__(self) -> Iterator[Frame]:
        """Go through the frames, once."""
        with self._errors():
            previous = None
            frame: av.VideoFrame | None = self._first
            while frame is not None:
                if (frame.width, frame.height) != (self.info.width, self.info.height):
                    raise VideoError(
                        f"{self.name}: frame {self.num_read} is {frame.width}x{frame.height} and the ones before are "
                        f"{self.info.width}x{self.info.height}; split the video where its size changes"
                    )
                pts = self._pts(frame, previous)
                yield Frame(to_rgb(frame, self._reformatter), pts)
                previous = pts
                self.num_read += 1
                frame = next(self._decoded, None)

    def count_frames(self) -> int:
        """How many frames the video's packets hold, without decoding them; the reading ends with it."""
        with self._errors():
            for _ in self._packets:
                pass
        return self._num_packets

    def _open(self, stack: contextlib.ExitStack) -> av.container.InputContainer:
        options = {"protocol_whitelist": "file", "pattern_type": "none"}
        if self._path is None:
            source: object = stack.enter_context(open_stdin())
        else:
            if re.match(r"[a-z][a-z0-9+.-]*:/", self.name) and not self._path.exists():
                raise VideoError(f"{self.name}: only local files are read; download it first")
            source = os.path.abspath(self._path)  # noqa: PTH100 - unlike resolve(), it keeps the name of a link
        container = av.open(source, "r", options=options, metadata_errors="surrogateescape")
        if container.format.name.split(",")[0] in _PLAYLISTS:
            container.close()
            raise VideoError(f"{self.name}: this is a playlist; give the video files themselves")
        return container

    def _choose_stream(self) -> av.VideoStream:
        streams = self._container.streams.video
        if not streams:
            raise VideoError(f"{self.name}: has no video stream; give a video or an image")
        pictures = [stream for stream in streams if int(stream.disposition) & _ATTACHED_PICTURE]
        videos = [stream for stream in streams if stream not in pictures]
        if not videos:
            raise VideoError(f"{self.name}: has no video stream, only cover art; give a video or an image")
        if videos[0].codec_context is None:
            raise VideoError(f"{self.name}: {_NO_DECODER}")
        return videos[0]

    def _demux(self) -> Iterator["av.Packet[Any]"]:
        for packet in self._container.demux(self._stream):
            self._num_packets += bool(packet.size) and not packet.is_discard
            yield packet

    def _decode(self) -> Iterator[av.VideoFrame]:
        """Decode packet by packet; damage raises instead of shortening the clip."""
        for packet in self._packets:
            frames = packet.decode()
            if packet.is_corrupt or any(frame.is_corrupt for frame in frames):
                raise VideoError(self._damage("a packet is corrupt"))
            yield from frames
        if self._log:
            raise VideoError(self._damage("the file is cut short"))

    def _damage(self, reason: str) -> str:
        return (
            f"{self.name}: the video is damaged: {reason} after {self.num_read} frames; "
            "repair it or take a whole copy of it"
        )

    def _describe(self, frame: av.VideoFrame) -> VideoInfo:
        stream = self._stream
        rate = stream.guessed_rate or stream.average_rate or stream.base_rate or Fraction(25)
        duration = stream.duration * stream.time_base if stream.duration and stream.time_base else None
        if duration is None and self._container.duration:
            duration = Fraction(self._container.duration, av.time_base)
        estimate = stream.frames or (round(duration * rate) if duration else 0)
        return VideoInfo(
            width=frame.width,
            height=frame.height,
            rate=Fraction(rate),
            time_base=Fraction(stream.time_base or 1 / rate),
            sample_aspect_ratio=Fraction(stream.sample_aspect_ratio or 1),
            pix_fmt=frame.format.name,
            bit_depth=max(component.bits for component in frame.format.components),
            color=ColorTags.of(frame),
            container=self._container.format.name,
            codec=stream.codec_context.name,
            estimated_num_frames=estimate or None,
        )

    def _pts(self, frame: av.VideoFrame, previous: int | None) -> int:
        """The frame's time stamp; the next one by the rate where it has none, one tick on where it goes back."""
        info = self.info
        if frame.pts is None:
            step = max(1, round(1 / (info.rate * info.time_base)))
            return 0 if previous is None else previous + step
        return frame.pts if previous is None or frame.pts > previous else previous + 1

    @contextlib.contextmanager
    def _errors(self) -> Iterator[None]:
        """Say what PyAV's errors mean, in one line."""
        try:
            yield
        except VideoError as error:
            raise VideoError(_named(self.name, str(error))) from error
        except _READ_ERRORS as error:
            if self.num_read and isinstance(error, av.error.InvalidDataError):
                raise VideoError(self._damage("a packet cannot be decoded")) from error
            raise VideoError(f"{self.name}: {_reason(error)}") from error


def _named(name: str, text: str) -> str:
    return text if text.startswith(f"{name}: ") else f"{name}: {text}"


def _reason(error: Exception) -> str:
    """What is wrong, without the names of C functions that PyAV's errors carry."""
    if isinstance(error, av.error.InvalidDataError):
        return "not a readable video (damaged, cut short, or of an unknown format); give a whole video or an image"
    if isinstance(error, av.error.DecoderNotFoundError):
        return _NO_DECODER
    if isinstance(error, FileNotFoundError):
        return "No such file or directory; check the name"
    if isinstance(error, IsADirectoryError):
        return "Is a directory; give the videos in it"
    reason = error.strerror if isinstance(error, OSError | av.FFmpegError) else None
    return f"{reason or str(error) or type(error).__name__}; the video cannot be read"


@contextlib.contextmanager
def _truncation_log() -> Iterator[list[str]]:
    """What FFmpeg logs of files that end early; some demuxers say it nowhere else.

    PyAV must not decode with frame threads while this is on: closing a damaged file could then deadlock.
    """
    lines: list[str] = []

    class Handler(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            if _TRUNCATED.search(record.getMessage()) and not lines:
                lines.append(record.getMessage())

    logger, handler = logging.getLogger("libav"), Handler()
    logger.addHandler(handler)
    propagate, logger.propagate = logger.propagate, False
    skipped = av.logging.get_skip_repeated()
    av.logging.set_skip_repeated(False)  # two files may end with the same words
    av.logging.set_level(av.logging.ERROR)
    try:
        yield lines
    finally:
        av.logging.set_level(None)
        av.logging.set_skip_repeated(skipped)
        logger.removeHandler(handler)
        logger.propagate = propagate
