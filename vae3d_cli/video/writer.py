"""Planar RGB frames to a video file, a pipe, or a still image."""

import contextlib
from collections.abc import Iterator
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Any

import av
import numpy as np
from av.codec.context import Flags
from av.video.frame import PictureType
from av.video.reformatter import VideoReformatter
from numpy.typing import NDArray

from vae3d_cli.errors import UsageError, VideoError
from vae3d_cli.video.audio import AudioCopy
from vae3d_cli.video.color import BT709, MATRIX_RGB, ColorTags, from_rgb
from vae3d_cli.video.deep import deep_pix_fmt, from_rgb16, is_deep, to_8_bit, to_16_bit
from vae3d_cli.video.encoding import CONTAINERS, EncoderOptions, choose_encoding
from vae3d_cli.video.pipes import PipeWriter
from vae3d_cli.video.timing import Schedule, Timing
from vae3d_cli.video.trial import settle

_MAX_GAP = 1 << 31  # mp4 counts a frame's duration in 32 bits, and wraps around in silence


class VideoWriter:
    """Writes the `num_frames` frames of one clip to `path`, a pipe, or standard output (`None`).

    `suffix` names the kind of container, `encoder` what else was asked for; H.264 of a source whose `source_pix_fmt`
    has more than 8 bits has 10, in the same subsampling. `audio` is copied beside the frames, if it is not `None`. RGB
    sources, and clips that say nothing of their colours, are written as BT.709. `notes` holds what could not be written
    as it is, once the writer is open.

    Raises:
        VideoError: The encoder or the container refuses the clip; the text begins with `name`.
        OSError: The disk is full, or the reader of the pipe has gone.
    """

    def __init__(
        self,
        path: Path | PipeWriter | None,
        suffix: str,
        *,
        name: str = "<stdout>",
        width: int,
        height: int,
        num_frames: int,
        timing: Timing,
        color: ColorTags | None,
        sample_aspect_ratio: Fraction = Fraction(1),
        source_pix_fmt: str | None = None,
        encoder: EncoderOptions = EncoderOptions(),  # noqa: B008 - frozen
        audio: AudioCopy | None = None,
    ) -> None:
        self._target = PipeWriter() if path is None else path
        self._name = name
        self._asked = choose_encoding(suffix.lower(), encoder)
        self._container_of = CONTAINERS[suffix.lower()]
        self._size = (width, height)
        odd = any(side % 2 for side in self._size)
        if self._asked.codec == "libx264" and encoder.pix_fmt is None and is_deep(source_pix_fmt):
            self._asked = replace(self._asked, pix_fmt=deep_pix_fmt(source_pix_fmt or "", odd=odd))
        self._num_frames = num_frames
        self._timing = timing
        self._color = BT709 if color is None else color
        self._aspect = sample_aspect_ratio
        self._audio = audio
        self._reformatter = VideoReformatter()
        self._num_written = 0
        self.notes: list[str] = []

    def __enter__(self) -> "VideoWriter":
        """Open the output."""
        with self._errors():
            try:
                self._encoding, self._color, self.notes = settle(self._asked, self._color, *self._size)
                self._schedule = self._plan()
            except VideoError as error:
                raise VideoError(f"{self._name}: {error}") from error
            self._open()
        return self

    def _plan(self) -> Schedule:
        """When each frame is written."""
        constant_rate = self._container_of.constant_rate
        if constant_rate and not self._timing.is_constant:
            self.notes.append(f"{self._container_of.name} holds no time stamps: frames are written at a constant rate")
        lead = Fraction(0) if self._audio is None else self._audio.lead
        schedule = Schedule.of(self._timing, self._num_frames, lead, constant_rate=constant_rate)
        if schedule.durations.max() >= _MAX_GAP:
            raise VideoError("a frame lasts longer than a video can say; give --frames on either side of it")
        return schedule

    def _open(self) -> None:
        """Open the container, the encoder and the audio streams."""
        seekable = not isinstance(self._target, PipeWriter)
        target = str(self._target) if isinstance(self._target, Path) else self._target
        options = dict(self._container_of.options(seekable=seekable))
        if self._container_of.is_iso_media:  # else times of edit lists are rounded to milliseconds
            ticks = self._schedule.time_base.denominator
            options["movie_timescale"] = str(ticks * -(-1000 // ticks))
        self._container = av.open(target, "w", format=self._container_of.name, container_options=options)
        try:
            self._stream = self._encoding.add_to(self._container, self._timing.rate, *self._size)
            context = self._stream.codec_context
            context.time_base = self._schedule.time_base
            context.sample_aspect_ratio = self._aspect
            context.flags |= Flags.frame_duration
            if self._encoding.codec == "libx265" and self._num_frames < 3:
                # With a frame or two its time stamps are those of frames that it never saw.
                context.options = {**context.options, "bf": "0"}
            self._color.put_on(context)
            if self._audio is not None:
                self._audio.add_to(self._container)
        except BaseException:
            self._abandon()
            raise

    def write(self, rgb: NDArray[Any]) -> None:
        """Write the next frame: planar RGB `[3, H, W]`, uint8 or uint16."""
        with self._errors():
            schedule, number = self._schedule, self._num_written
            frame = self._frame(rgb)
            frame.pts, frame.duration = int(schedule.stamps[number]), int(schedule.durations[number])
            frame.time_base = schedule.time_base
            if self._ends_on_its_own(number):
                frame.pict_type = PictureType.I
            self._container.mux(self._stream.encode(frame))
            self._mux_audio(int(schedule.stamps[number]) * schedule.time_base)
            self._num_written += 1

    def _ends_on_its_own(self, number: int) -> bool:
        """Whether this is the last frame of an mp4, and lasts longer or shorter than the one before.

        FFmpeg ends the track with the frame that is decoded last, which may be a B-frame shown earlier. After a key
        frame no earlier one is decoded.
        """
        durations = self._schedule.durations
        is_last = number == self._num_frames - 1 > 0
        return self._container_of.is_iso_media and is_last and bool(durations[number] != durations[number - 1])

    def _frame(self, rgb: NDArray[Any]) -> av.VideoFrame:
        """The frame in the encoder's format."""
        pix_fmt = self._encoding.pix_fmt
        if is_deep(pix_fmt) and not self._encoding.is_rgb:
            return from_rgb16(rgb if rgb.dtype == np.uint16 else to_16_bit(rgb), pix_fmt, self._color)
        return from_rgb(to_8_bit(rgb) if rgb.dtype == np.uint16 else rgb, pix_fmt, self._color, self._reformatter)

    def _mux_audio(self, time: Fraction | None) -> None:
        """Write the audio up to a time, or all that is left."""
        if self._audio is not None:
            for packet in self._audio.packets(time):
                self._container.mux(packet)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Write what the encoder still holds, and close; after an error only close."""
        if error is not None:
            self._abandon()
            return
        try:
            with self._errors():
                self._container.mux(self._stream.encode(None))
                self._mux_audio(None)
                self._container.close()
        except BaseException:
            self._abandon()
            raise

    def _abandon(self) -> None:
        """Close: a container that is not closed keeps its file open, and the disk space with it."""
        with contextlib.suppress(Exception):
            self._container.close()

    @contextlib.contextmanager
    def _errors(self) -> Iterator[None]:
        """Say what PyAV's errors mean; those of the disk, and of the source of the audio, go on as they are."""
        try:
            yield
        except (OSError, VideoError, UsageError):
            raise
        except (av.FFmpegError, ValueError, LookupError) as error:
            reason = getattr(error, "strerror", None) or str(error)
            raise VideoError(f"{self._name}: the video could not be written: {reason}") from error


class PngWriter:
    """Writes one frame as a still image."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.notes: list[str] = []

    def write(self, rgb: NDArray[Any]) -> None:
        """Write the frame: planar RGB `[3, H, W]`, uint8 or uint16, in as many bits."""
        self._path.write_bytes(_png(rgb))


def _png(rgb: NDArray[Any]) -> bytes:
    if rgb.dtype == np.uint16:
        frame = from_rgb16(rgb, "rgb48be", ColorTags(MATRIX_RGB))
    else:
        frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(rgb.transpose(1, 2, 0)), format="rgb24")
    encoder = av.CodecContext.create("png", "w")
    assert isinstance(encoder, av.VideoCodecContext)
    encoder.width, encoder.height, encoder.pix_fmt = frame.width, frame.height, frame.format.name
    encoder.time_base = Fraction(1, 25)
    return b"".join(bytes(packet) for packet in [*encoder.encode(frame), *encoder.encode(None)])
