"""Opens any clip: Pillow reads pictures and animations of pictures, FFmpeg videos, by what a file begins with."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

from vae3d_cli.errors import VideoError
from vae3d_cli.files import is_read_once
from vae3d_cli.video.clip import Clip, name_of
from vae3d_cli.video.filters import ReadOptions
from vae3d_cli.video.opening import reason
from vae3d_cli.video.picture_files import format_of_file, is_picture
from vae3d_cli.video.picture_streams import is_picture_stream
from vae3d_cli.video.pictures import PictureReader
from vae3d_cli.video.pipes import open_pipe
from vae3d_cli.video.reader import VideoReader


@contextlib.contextmanager
def open_clip(
    path: Path | None,
    options: ReadOptions = ReadOptions(),  # noqa: B008 - frozen
    *,
    copy_of: str | None = None,
) -> Iterator[Clip]:
    """A video or a picture to read frames from; `None` reads standard input, `copy_of` names what a file copies.

    Raises:
        VideoError: The file cannot be read, has no video, or is damaged and `options` do not allow that.
    """
    with contextlib.ExitStack() as stack:
        name = name_of(path, copy_of)
        try:
            source = stack.enter_context(open_pipe(path, is_picture)) if path is None or is_read_once(path) else path
            kind = _picture_format(source) if isinstance(source, Path) and source.is_file() else None
        except OSError as error:
            raise VideoError(f"{name}: {reason(error)}") from error
        except VideoError as error:
            raise VideoError(f"{name}: {error}") from error
        if kind is not None and isinstance(source, Path):
            clip: Clip = PictureReader(path, source, options, kind, copy_of=copy_of)
        else:
            clip = VideoReader(path, source, options, copy_of=copy_of)
        yield stack.enter_context(clip)


def _picture_format(path: Path) -> str | None:
    """The format of a picture that Pillow reads; pictures that make a stream are a video."""
    kind = format_of_file(path)
    return None if kind is None or is_picture_stream(path, kind) else kind
