"""Opening a container safely, choosing its video stream, and saying what is wrong with either."""

import contextlib
import errno
import os
from collections.abc import Callable
from pathlib import Path

import av

from vae3d_cli.errors import VideoError
from vae3d_cli.files import why_not_there
from vae3d_cli.video.pipes import PipeReader, open_stdin

# Formats that are lists of other files: reading them would open what the user did not name.
_PLAYLISTS = {"concat", "concatf", "dash", "hls", "imf"}
_ATTACHED_PICTURE = 0x400  # AV_DISPOSITION_ATTACHED_PIC: cover art
_NO_DECODER = "there is no decoder for its video codec, or it is encrypted; convert it to H.264 first"
# A frame beyond this is a damaged or hostile file, not a video: the limit comes before any allocation.
MAX_PIXELS = 1 << 27
READ_ERRORS = (av.FFmpegError, OSError, ValueError, LookupError, EOFError, MemoryError)


def open_container(
    path: Path | None, name: str, stack: contextlib.ExitStack
) -> tuple[av.container.InputContainer, Callable[[], int | None]]:
    """Open a file, or standard input where `path` is `None`, until `stack` closes.

    With it comes a function that says how many bytes it has, once all was read; `None` where nobody knows.

    Raises:
        VideoError: It is none of a local file's formats.
    """
    options = {"protocol_whitelist": "file", "pattern_type": "none"}
    if path is None:
        source: object = stack.enter_context(open_stdin())
    else:
        try:
            path.stat()
        except FileNotFoundError as error:
            raise VideoError(f"{name}: {why_not_there(path, error)}") from error
        source = os.path.abspath(path)  # noqa: PTH100 - unlike resolve(), it keeps the name of a link
    container = stack.enter_context(av.open(source, "r", options=options, metadata_errors="surrogateescape"))
    if container.format.name.split(",")[0] in _PLAYLISTS:
        raise VideoError(f"{name}: this is a playlist; give the video files themselves")

    def num_bytes() -> int | None:
        if isinstance(source, PipeReader):
            return source.num_bytes
        return path.stat().st_size if path is not None and path.is_file() else None

    return container, num_bytes


def choose_stream(container: av.container.InputContainer, name: str) -> av.VideoStream:
    """The video stream, ready to decode.

    Raises:
        VideoError: There is none that can be decoded, or its frames are too large.
    """
    streams = container.streams.video
    if not streams:
        raise VideoError(f"{name}: has no video stream; give a video or an image")
    pictures = [stream for stream in streams if int(stream.disposition) & _ATTACHED_PICTURE]
    videos = [stream for stream in streams if stream not in pictures]
    if not videos:
        raise VideoError(f"{name}: has no video stream, only cover art; give a video or an image")
    context = videos[0].codec_context
    if context is None:
        raise VideoError(f"{name}: {_NO_DECODER}")
    if context.width * context.height > MAX_PIXELS:
        raise VideoError(f"{name}: its frames of {context.width}x{context.height} are too large; make them smaller")
    # For what the container does not say, and the decoder finds out.
    context.options = {"max_pixels": str(MAX_PIXELS)}
    return videos[0]


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
