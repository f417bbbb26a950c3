"""Videos and images as a context-managed iterator of planar RGB frames."""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from types import TracebackType

import av

from vae3d_cli.errors import VideoError
from vae3d_cli.files import STDIN_NAME, base_name_of
from vae3d_cli.video.color import ColorTags
from vae3d_cli.video.conversion import Conversion
from vae3d_cli.video.damage import Decoding, ffmpeg_log
from vae3d_cli.video.filters import Frame, ReadOptions, at_rate, deinterlaced
from vae3d_cli.video.opening import READ_ERRORS, choose_stream, open_container, reason
from vae3d_cli.video.timing import Stamps


@dataclass(frozen=True)
class VideoInfo:
    """What a video is, read off its first frame; the number of frames is an estimate of the container's.

    Sizes, rate and time base are those of the frames that the reader gives: upright, and after its filters.
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


class VideoReader:
    """An iterator over the frames of a video or image; `None` reads standard input, `copy_of` names what a file copies.

    Every frame comes upright, in the order and number of the video. Time stamps that are missing or do not increase are
    mended. `notes` are what is worth saying of what was read so far.

    Raises:
        VideoError: The file cannot be read, has no video, or is damaged and `options` do not allow that.
    """

    def __init__(
        self,
        path: Path | None,
        options: ReadOptions = ReadOptions(),  # noqa: B008 - frozen
        *,
        copy_of: str | None = None,
    ) -> None:
        named = None if copy_of else path
        self.name = copy_of or (STDIN_NAME if path is None else str(path))
        self.base_name = base_name_of(named)
        self.path = path
        self._options = options
        self._stack = contextlib.ExitStack()
        self._interlaced = False
        self.num_read = 0

    def __enter__(self) -> "VideoReader":
        """Open the video and decode its first frame."""
        with contextlib.ExitStack() as stack:
            log = stack.enter_context(ffmpeg_log())
            with self._errors():
                self._container, num_bytes = open_container(self.path, self.name, stack)
                self._stream = stream = choose_stream(self._container, self.name)
                self._decoding = Decoding(
                    self._container, stream, log, num_bytes, allow_damaged=self._options.allow_damaged
                )
                self._rate = Fraction(stream.guessed_rate or stream.average_rate or stream.base_rate or 25)
                self._time_base = Fraction(stream.time_base or 1 / self._rate)
                self._decoded = self._decoding.frames()
                if self._options.deinterlace:
                    self._decoded = deinterlaced(self._decoded, self._time_base)
                first = next(self._decoded, None)
                if first is None:
                    raise VideoError(
                        "none of its frames can be decoded; it is damaged or cut short"
                        if self._decoding.num_packets
                        else "the video has no frames; give another"
                    )
                self._first = first
                in_decoding_order = self._container.format.name == "avi"
                start = (stream.start_time or 0) if in_decoding_order else None
                self._stamps = Stamps(self._rate, self._time_base, start)
                self._conversion = Conversion(first, self._options.size, self._options.cover)
                self.info = self._describe(first)
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the video."""
        self.close()

    def close(self) -> None:
        """Read no more; what is known of the video stays."""
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

    def count_frames(self) -> int:
        """How many frames the video's packets hold, without decoding them; the reading ends with it."""
        with self._errors():
            for _ in self._decoding.packets():
                pass
        return self._decoding.num_packets

    @property
    def notes(self) -> tuple[str, ...]:
        """What a user should know of this video, each with its name."""
        notes = self._conversion.notes + self._stamps.notes + self._decoding.notes()
        if self._interlaced:
            notes = [*notes, "it is interlaced; --deinterlace makes whole frames of its fields"]
        return tuple(f"{self.name}: {note}" for note in notes)

    def _frames(self) -> Iterator[Frame]:
        """The frames as they are in the video, upright and of the size asked for."""
        size = self._first.width, self._first.height
        frame: av.VideoFrame | None = self._first
        number = 0
        while frame is not None:
            if (frame.width, frame.height) != size:
                raise VideoError(
                    f"frame {number} is {frame.width}x{frame.height} and the ones before are {size[0]}x{size[1]}; "
                    "split the video where its size changes"
                )
            self._interlaced |= frame.interlaced_frame and not self._options.deinterlace
            pts = self._stamps.next(frame.pts, frame.dts)
            duration = 0 if frame.pts is None else frame.duration  # that of a raw stream is invented
            yield Frame(self._conversion.rgb(frame), pts, duration)
            number += 1
            frame = next(self._decoded, None)

    def _describe(self, frame: av.VideoFrame) -> VideoInfo:
        stream, conversion, rate = self._stream, self._conversion, self._options.rate
        duration = stream.duration * stream.time_base if stream.duration and stream.time_base else None
        if duration is None and self._container.duration:
            duration = Fraction(self._container.duration, av.time_base)
        estimate = stream.frames or (round(duration * self._rate) if duration else 0)
        return VideoInfo(
            width=conversion.width,
            height=conversion.height,
            rate=rate or self._rate,
            time_base=1 / rate if rate else self._time_base,
            sample_aspect_ratio=conversion.sample_aspect_ratio(Fraction(stream.sample_aspect_ratio or 1)),
            pix_fmt=frame.format.name,
            bit_depth=max(component.bits for component in frame.format.components),
            color=conversion.color,
            container=self._container.format.name,
            codec=stream.codec_context.name,
            estimated_num_frames=(round(estimate * rate / self._rate) if rate else estimate) or None,
        )

    @contextlib.contextmanager
    def _errors(self) -> Iterator[None]:
        """Say what PyAV's errors mean, in one line."""
        try:
            yield
        except VideoError as error:
            text = str(error)
            raise VideoError(text if text.startswith(f"{self.name}: ") else f"{self.name}: {text}") from error
        except READ_ERRORS as error:
            raise VideoError(f"{self.name}: {reason(error)}") from error
