"""Where results go: a file that appears whole or not at all, or standard output."""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from vae3d_cli.errors import OutputError, VideoError
from vae3d_cli.files import atomic_output
from vae3d_cli.latents import LatentsHeader
from vae3d_cli.video import ColorTags, Timing, VideoWriter
from vae3d_cli.video.pipes import STDOUT, PipeWriter

STDOUT_SUFFIX = ".mkv"


def display_name(path: Path | None) -> str:
    """The name of an input or output in a result: `-` is standard input or output."""
    return "-" if path is None else str(path)


@contextlib.contextmanager
def binary_output(path: Path | None) -> Iterator["BinaryIO | PipeWriter"]:
    """A file to write bytes to, from the first to the last.

    Raises:
        OutputError: It cannot be written.
    """
    if path is None:
        with _stdout_errors():
            yield PipeWriter(STDOUT)
    else:
        with atomic_output(path) as temporary, temporary.open("wb") as file:
            yield file


@contextlib.contextmanager
def video_output(path: Path | None, header: LatentsHeader, timing: Timing, num_frames: int) -> Iterator[VideoWriter]:
    """A writer for `num_frames` frames of the clip that `header` describes.

    Raises:
        OutputError: The file cannot be written.
        VideoError: The encoder or the container refuses the clip.
    """
    with contextlib.ExitStack() as stack:
        target = None
        if path is None:
            stack.enter_context(_stdout_errors())
        else:
            target = stack.enter_context(atomic_output(path))
        try:
            with VideoWriter(
                target,
                STDOUT_SUFFIX if path is None else path.suffix,
                width=header.width,
                height=header.height,
                num_frames=num_frames,
                timing=timing,
                color=ColorTags(**header.color) if header.color else None,
                sample_aspect_ratio=header.sample_aspect_ratio,
            ) as writer:
                yield writer
        except VideoError as error:
            raise VideoError(f"{path or '<stdout>'}: {error}") from error


@contextlib.contextmanager
def _stdout_errors() -> Iterator[None]:
    """A full disk behind standard output is said as of any file; a reader that went away ends the run."""
    try:
        yield
    except BrokenPipeError:
        raise
    except OSError as error:
        raise OutputError(f"<stdout>: {error.strerror or error}") from error
