"""Planar RGB frames to a video file, a pipe, or a still image."""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Any

import av
import numpy as np
from av.video.reformatter import VideoReformatter
from av.video.stream import VideoStream
from numpy.typing import NDArray

from vae3d_cli.errors import UsageError, VideoError
from vae3d_cli.video.color import BT709, MATRIX_RGB, ColorTags, from_rgb
from vae3d_cli.video.deep import deep_pix_fmt, from_rgb16, is_deep, to_8_bit, to_16_bit
from vae3d_cli.video.pipes import PipeWriter
from vae3d_cli.video.timing import Timing

PNG = ".png"


@dataclass(frozen=True)
class _Output:
    """How a container is written: FFmpeg's name for it, the codec, and their options."""

    container: str
    codec: str = "libx264"
    codec_options: dict[str, str] = field(default_factory=lambda: {"crf": "16", "preset": "medium"})
    container_options: dict[str, str] = field(default_factory=dict)


_FASTSTART = {"movflags": "+faststart"}
_OUTPUTS = {
    ".mp4": _Output("mp4", container_options=_FASTSTART),
    ".m4v": _Output("mp4", container_options=_FASTSTART),
    ".mov": _Output("mov", container_options=_FASTSTART),
    ".mkv": _Output("matroska"),
    ".webm": _Output("webm", "libvpx-vp9", {"crf": "20", "b": "0", "row-mt": "1", "cpu-used": "2"}),
}


def check_suffix(path: Path) -> None:
    """See that a video can be written under this name.

    Raises:
        UsageError: Its suffix is none that we write.
    """
    if path.suffix.lower() not in (*_OUTPUTS, PNG):
        raise UsageError(f"{path}: unknown kind of video; use one of {', '.join([*_OUTPUTS, PNG])}")


class VideoWriter:
    """Writes the `num_frames` frames of one clip to `path` (`None` for standard output).

    `suffix` names the kind of container; only Matroska goes to a pipe. H.264 is 4:2:0, or 4:4:4 where a side is odd;
    where `source_pix_fmt` has more than 8 bits it has 10, in the same subsampling.
    RGB sources, and clips that say nothing of their colours, are written as BT.709.

    Raises:
        VideoError: The encoder or the container refuses the clip; the text names no file.
        OSError: The disk is full, or the reader of the pipe has gone.
    """

    def __init__(
        self,
        path: Path | None,
        suffix: str,
        *,
        width: int,
        height: int,
        num_frames: int,
        timing: Timing,
        color: ColorTags | None,
        sample_aspect_ratio: Fraction = Fraction(1),
        source_pix_fmt: str | None = None,
    ) -> None:
        self._target = PipeWriter() if path is None else path
        self._output = _OUTPUTS[suffix.lower()]
        self._size = (width, height)
        odd = any(side % 2 for side in self._size)
        self._pix_fmt = "yuv444p" if odd and self._output.codec == "libx264" else "yuv420p"
        if self._output.codec == "libx264" and source_pix_fmt is not None and is_deep(source_pix_fmt):
            self._pix_fmt = deep_pix_fmt(source_pix_fmt, odd=odd)
        self._rate = timing.rate
        self._time_base, self._stamps = timing.stamps(num_frames)
        self._color = BT709 if color is None or color.matrix == MATRIX_RGB else color
        self._aspect = sample_aspect_ratio
        self._reformatter = VideoReformatter()
        self._num_written = 0

    def __enter__(self) -> "VideoWriter":
        """Open the output."""
        output = self._output
        with self._errors():
            target = self._target if isinstance(self._target, PipeWriter) else str(self._target)
            self._container = av.open(target, "w", format=output.container, container_options=output.container_options)
            stream = self._container.add_stream(output.codec, rate=self._rate, options=output.codec_options)
            assert isinstance(stream, VideoStream)
            self._stream, context = stream, stream.codec_context
            context.width, context.height = self._size
            context.pix_fmt = self._pix_fmt
            context.time_base = self._time_base
            context.sample_aspect_ratio = self._aspect
            self._color.put_on(context)
        return self

    def write(self, rgb: NDArray[Any]) -> None:
        """Write the next frame: planar RGB `[3, H, W]`, uint8 or uint16."""
        with self._errors():
            frame = self._frame(rgb)
            frame.pts = int(self._stamps[self._num_written])
            frame.time_base = self._time_base
            self._container.mux(self._stream.encode(frame))
            self._num_written += 1

    def _frame(self, rgb: NDArray[Any]) -> av.VideoFrame:
        """The frame in the encoder's format."""
        if is_deep(self._pix_fmt):
            return from_rgb16(rgb if rgb.dtype == np.uint16 else to_16_bit(rgb), self._pix_fmt, self._color)
        rgb8 = to_8_bit(rgb) if rgb.dtype == np.uint16 else rgb
        return from_rgb(rgb8, self._pix_fmt, self._color, self._reformatter)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Write what the encoder still holds, and close; after an error only close."""
        if error is None:
            with self._errors():
                self._container.mux(self._stream.encode(None))
                self._container.close()
        else:
            # A container that is not closed keeps its file open, and the disk space with it.
            with contextlib.suppress(Exception):
                self._container.close()

    @contextlib.contextmanager
    def _errors(self) -> Iterator[None]:
        """Say what PyAV's errors mean; those of the disk go on as they are."""
        try:
            yield
        except OSError:
            raise
        except (av.FFmpegError, ValueError, LookupError) as error:
            reason = getattr(error, "strerror", None) or str(error)
            raise VideoError(f"the video could not be written: {reason}") from error


class PngWriter:
    """Writes one frame as a still image."""

    def __init__(self, path: Path) -> None:
        self._path = path

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
