"""Videos as a context-managed iterator of planar RGB frames."""

import contextlib
from collections.abc import Iterator
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import av

from vae3d_cli.errors import VideoError
from vae3d_cli.video.clip import Clip, VideoInfo
from vae3d_cli.video.conversion import DROPPED_TRANSPARENCY, Conversion
from vae3d_cli.video.counting import in_decoding_order
from vae3d_cli.video.crop import Crop
from vae3d_cli.video.damage import Decoding, ffmpeg_log
from vae3d_cli.video.deep import is_deep
from vae3d_cli.video.filters import Frame, ReadOptions, deinterlaced
from vae3d_cli.video.opening import READ_ERRORS, Track, choose_track, open_container, reason
from vae3d_cli.video.pipes import PipeReader
from vae3d_cli.video.timing import Stamps, Timing


class VideoReader(Clip):
    """Reads a video with FFmpeg, and pictures of the kinds that only FFmpeg has.

    Raises:
        VideoError: The file cannot be read, has no video, or is damaged and `options` do not allow that.
    """

    def __init__(
        self,
        path: Path | None,
        source: Path | PipeReader,
        options: ReadOptions,
        *,
        copy_of: str | None = None,
    ) -> None:
        super().__init__(path, options, copy_of=copy_of)
        self._source = source
        self._interlaced = self._deepens = False

    def __enter__(self) -> "VideoReader":
        """Open the video and decode its first frame."""
        with contextlib.ExitStack() as stack:
            log = stack.enter_context(ffmpeg_log())
            with self._errors():
                self._container, num_bytes = open_container(self._source, self.name, stack)
                track = choose_track(self._container, self.name, self._options.stream)
                self._stream = stream = track.stream
                self._notes = _notes_of(track, self._options.stream)
                self._decoding = Decoding(
                    self._container, stream, log, num_bytes, allow_damaged=self._options.allow_damaged
                )
                self._rate, self._is_rate_known = _rate_of(stream)
                self._time_base = Fraction(stream.time_base or 1 / self._rate)
                self._decoded = self._decoding.frames()
                if self._options.deinterlace:
                    self._decoded = deinterlaced(self._decoded, self._time_base)
                first = next(self._decoded, None)
                if first is None:
                    raise VideoError(
                        "none of its frames can be decoded; it is damaged or cut short"
                        if self._decoding.count.num_frames
                        else "the video has no frames; give another"
                    )
                self._first = first
                start = (stream.start_time or 0) if in_decoding_order(self._container) else None
                self._stamps = Stamps(self._rate, self._time_base, start)
                crop = Crop.of(self._container, stream)
                self._conversion = Conversion(first, self._options.size, self._options.cover, crop)
                self.info = self._describe(first)
            self._stack = stack.pop_all()
        return self

    def count_frames(self) -> int:
        """Count the frames without decoding them; nothing can be read after it.

        Sets the rate in `info`, to the one that `encode` finds, and whether the count is exact.
        """
        with self._errors():
            is_exact = self._decoding.count_the_rest()
        num_frames = self._decoding.count.num_frames
        if self._first.interlaced_frame and self.info.codec == "h264":  # a packet may hold only one field of a frame
            is_exact, num_frames = False, min(num_frames, self.info.estimated_num_frames or num_frames)
        stamps = self._decoding.count.stamps() if is_exact else None
        rate = self._rate if stamps is None else Timing.of(self._rate, self._time_base, stamps).rate
        self.info = replace(self.info, rate=self._options.rate or rate, is_count_exact=is_exact)
        return num_frames

    @property
    def notes(self) -> tuple[str, ...]:
        """What a user should know of this video, each with its name."""
        notes = self._notes + self._conversion.notes + self._stamps.notes + self._decoding.notes()
        if self._interlaced:
            notes = [*notes, "it is interlaced; --deinterlace makes whole frames of its fields"]
        if self._deepens:
            notes = [*notes, "some frames have more bits than the first, and were read as 8 bits"]
        return tuple(f"{self.name}: {note}" for note in notes)

    def _frames(self) -> Iterator[Frame]:
        """The frames as they are in the video, upright and of the size asked for."""
        size, turn = (self._first.width, self._first.height), self._first.rotation
        resizes = self._options.size is not None or self._options.cover is not None
        frame: av.VideoFrame | None = self._first
        number, previous = 0, None
        while frame is not None:
            if (frame.width, frame.height) != size and not resizes:
                raise VideoError(
                    f"frame {number} is {frame.width}x{frame.height} and the ones before are {size[0]}x{size[1]}; "
                    "split the video where its size changes, or give --size"
                )
            if frame.rotation not in (0, turn):  # frames between key frames say 0
                raise VideoError(f"frame {number} is turned another way than the first; split the video there")
            self._interlaced |= frame.interlaced_frame and not self._options.deinterlace
            self._deepens |= is_deep(frame.format.name) and not is_deep(self._first.format.name)
            pts = self._stamps.next(frame.pts, frame.dts)
            duration = frame.duration if self._is_duration_known(frame, previous) else 0
            yield Frame(self._conversion.rgb(frame), pts, duration)
            number += 1
            frame, previous = next(self._decoded, None), frame

    def _is_duration_known(self, frame: av.VideoFrame, previous: av.VideoFrame | None) -> bool:
        """Whether the video says how long a frame lasts.

        FFmpeg makes durations up for raw streams, and from its guess of a rate: then they do not fit the time stamps.
        """
        if frame.pts is None or previous is None or previous.pts is None:
            return frame.pts is not None and self._is_rate_known
        return abs(frame.pts - previous.pts - previous.duration) <= 1

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


def _notes_of(track: Track, wanted: int | None) -> list[str]:
    """Notes on the choice of the track, and on what its decoder leaves out."""
    notes = []
    if track.num_tracks > 1 and wanted is None:
        notes.append(
            f"it has {track.num_tracks} video tracks; track {track.number} ({track}) is read; --stream N reads another"
        )
    tags = {name.lower(): value for name, value in track.stream.metadata.items()}
    if tags.get("alpha_mode") == "1":  # VP8 and VP9 in Matroska, whose decoders leave it out
        notes.append(DROPPED_TRANSPARENCY)
    return notes


def _rate_of(stream: av.VideoStream) -> tuple[Fraction, bool]:
    """Frames per second as the container says, and whether it is known: FFmpeg's last resort is a frame a tick."""
    rate, tick = Fraction(stream.guessed_rate or stream.average_rate or stream.base_rate or 25), stream.time_base
    if tick and rate >= 1000 and rate * tick == 1:
        return Fraction(25), False
    return rate, True
