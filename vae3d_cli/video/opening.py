"""Opening a container safely, choosing its video track, and saying what is wrong with either."""

import contextlib
import errno
import functools
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import av

from vae3d_cli.errors import VideoError
from vae3d_cli.files import why_not_there
from vae3d_cli.video.pipes import PipeReader

# Formats that name other files or streams: reading them would open what the user did not name.
_PLAYLISTS = {"concat", "dash", "hls", "imf", "rtsp", "sap", "sdp", "webm_dash_manifest"}
# Formats by which FFmpeg renders text and pictures made of characters as a video.
_TEXT = {"adf", "bin", "idf", "tty", "xbin"}
_NO_DECODER = "there is no decoder for its video codec, or it is encrypted; convert it to H.264 first"
# A frame beyond this is a damaged or hostile file, not a video: the limit comes before any allocation.
MAX_PIXELS = 1 << 27
READ_ERRORS = (av.FFmpegError, OSError, ValueError, LookupError, EOFError, MemoryError)


@dataclass(frozen=True)
class Track:
    """A video track: its `number`, counted from 0 without cover art, of `num_tracks`."""

    stream: av.VideoStream
    number: int
    num_tracks: int

    def __str__(self) -> str:
        """Codec and size, for people."""
        context = self.stream.codec_context
        return f"{context.name} {context.width}x{context.height}" if context else "without a decoder"


def open_container(
    source: Path | PipeReader, name: str, stack: contextlib.ExitStack
) -> tuple[av.container.InputContainer, Callable[[], int | None]]:
    """Open a file or a pipe until `stack` closes.

    With it comes a function that says how many bytes it has, once all was read; `None` where nobody knows.

    Raises:
        VideoError: It is none of a local file's formats.
    """
    if isinstance(source, Path):
        try:
            source.stat()
        except FileNotFoundError as error:
            raise VideoError(f"{name}: {why_not_there(source, error)}") from error
        file: object = os.path.abspath(source)  # noqa: PTH100 - unlike resolve(), it keeps the name of a link
    else:
        file = source
    container = stack.enter_context(open_input(file, name))
    if container.format.name in _TEXT:
        raise VideoError(f"{name}: this is text, not a video; give a video or an image")

    def num_bytes() -> int | None:
        if isinstance(source, PipeReader):
            return source.num_bytes
        return source.stat().st_size if source.is_file() else None

    return container, num_bytes


def open_input(source: object, name: str) -> av.container.InputContainer:
    """Open a path or a pipe. Call it within `ffmpeg_log`: a playlist is known by what FFmpeg logs.

    Raises:
        VideoError: The input is a playlist. Nothing that it names was opened.
    """
    options = {"protocol_whitelist": "file", "pattern_type": "none", "format_whitelist": _formats()}
    try:
        return av.open(source, "r", options=options, metadata_errors="surrogateescape")
    except av.error.ArgumentError as error:
        if "Format not on whitelist" in str(error.log):
            raise VideoError(f"{name}: this is a playlist; give the files that it names") from error
        raise


@functools.cache
def _formats() -> str:
    """Names of all formats but playlists, as FFmpeg's `format_whitelist` takes them."""
    names = set()
    for name in av.formats_available:
        with contextlib.suppress(ValueError):  # a format that can only be written
            names.add(av.ContainerFormat(name, "r").name)
    return ",".join(sorted(names - _PLAYLISTS))


def video_tracks(container: av.container.InputContainer) -> list[Track]:
    """List the video tracks in their order, without cover art."""
    cover_art = av.stream.Disposition.attached_pic
    streams = [stream for stream in container.streams.video if not stream.disposition & cover_art]
    return [Track(stream, number, len(streams)) for number, stream in enumerate(streams)]


def best_track(container: av.container.InputContainer, tracks: list[Track]) -> Track:
    """The track that players show: the default track, or else the one that FFmpeg takes for the best."""
    best = container.streams.best("video")
    decodable = [track for track in tracks if track.stream.codec_context is not None] or tracks
    default = av.stream.Disposition.default
    return max(decodable, key=lambda track: (track.stream is best, bool(track.stream.disposition & default)))


def choose_track(container: av.container.InputContainer, name: str, number: int | None) -> Track:
    """The video track with this number, by default the best one, ready to decode.

    Raises:
        VideoError: The file has no such track, or none that can be decoded, or its frames are too large.
    """
    tracks = video_tracks(container)
    if not tracks:
        cover_art = ", only cover art" if container.streams.video else ""
        raise VideoError(f"{name}: has no video stream{cover_art}; give a video or an image")
    if number is not None and number not in range(len(tracks)):
        there = ", ".join(f"{track.number} ({track})" for track in tracks)
        raise VideoError(f"{name}: has no video track {number}; give --stream one of {there}")
    track = best_track(container, tracks) if number is None else tracks[number]
    context = track.stream.codec_context
    if context is None:
        raise VideoError(f"{name}: {_NO_DECODER}")
    if context.width * context.height > MAX_PIXELS:
        raise VideoError(f"{name}: its frames of {context.width}x{context.height} are too large; make them smaller")
    # For what the container does not say, and the decoder finds out.
    context.options = {"max_pixels": str(MAX_PIXELS)}
    return track


def reason(error: Exception) -> str:
    """What is wrong, without the names of C functions that PyAV's errors carry."""
    # FFmpeg says "busy" of raw frames beyond what it reads.
    is_busy = isinstance(error, OSError) and error.errno == errno.EBUSY
    if is_busy or isinstance(error, av.error.InvalidDataError):
        return "not a readable video (damaged, cut short, or of an unknown format); give a whole video or an image"
    if isinstance(error, av.error.DecoderNotFoundError):
        return _NO_DECODER
    if isinstance(error, IsADirectoryError):
        return "Is a directory; give the files in it"
    text = error.strerror if isinstance(error, OSError | av.FFmpegError) else None
    return f"{text or str(error) or type(error).__name__}; the video cannot be read"
