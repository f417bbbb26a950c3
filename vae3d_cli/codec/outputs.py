"""Where results go: a file that appears whole or not at all, or standard output."""

import contextlib
import tempfile
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Protocol

import torch
from numpy.typing import NDArray

from vae3d_cli.errors import OutputError, VideoError
from vae3d_cli.files import STDOUT_NAME, OutputGroup, atomic_output, is_special, spool_folder
from vae3d_cli.latents import LatentsHeader, LatentsSpool
from vae3d_cli.video import PNG, AudioCopy, ColorTags, EncoderOptions, PngWriter, Timing, VideoWriter, suffix_of
from vae3d_cli.video.pipes import PipeWriter


class FrameWriter(Protocol):
    """Takes the frames of a clip; `notes` holds what could not be written as it is."""

    notes: list[str]

    def write(self, rgb: NDArray[Any]) -> None:
        """Write the next frame: planar RGB `[3, H, W]`, uint8 or uint16."""


def display_name(path: Path | None) -> str:
    """The name of an input or output in a result: `-` is standard input or output."""
    if path is None:
        return "-"
    return f"./{path}" if str(path).startswith("-") else str(path)  # the next program would take it for an option


@contextlib.contextmanager
def binary_output(
    path: Path | None, group: OutputGroup | None = None, *, overwrite: bool = True
) -> Iterator[PipeWriter]:
    """What takes bytes, from the first to the last, and has passed on all of them when it returns.

    `group` and `overwrite` are as in `atomic_output`.

    Raises:
        OutputError: It cannot be written.
    """
    if path is None:
        with errors_of(None):
            yield PipeWriter()
    else:
        with (
            atomic_output(path, group, overwrite=overwrite) as temporary,
            temporary.open("wb", buffering=0) as file,
        ):
            yield PipeWriter(file.fileno())


@contextlib.contextmanager
def latents_spool(output: Path | None, dtype: torch.dtype) -> Iterator[LatentsSpool]:
    """A spool for the latents of a clip, beside the file that they will be.

    Raises:
        OutputError: There is no room for it.
    """
    with spool_errors(output), LatentsSpool(spool_folder(output), dtype) as spool:
        yield spool


@contextlib.contextmanager
def video_output(
    path: Path | None,
    header: LatentsHeader,
    timing: Timing,
    num_frames: int,
    encoder: EncoderOptions = EncoderOptions(),  # noqa: B008 - frozen
    audio: AudioCopy | None = None,
    group: OutputGroup | None = None,
    *,
    overwrite: bool = True,
) -> Iterator[FrameWriter]:
    """A writer for `num_frames` frames of the clip that `header` describes: a video, or a still image.

    A device or a FIFO is written as a pipe is. `group` and `overwrite` are as in `atomic_output`.

    Raises:
        OutputError: The file cannot be written.
        VideoError: The encoder or the container refuses the clip, or an image would have to hold several frames.
    """
    name = STDOUT_NAME if path is None else str(path)
    with contextlib.ExitStack() as stack:
        target: Path | PipeWriter | None = None
        if path is None:
            stack.enter_context(errors_of(path))
        elif is_special(path):
            stack.enter_context(errors_of(path))
            target = PipeWriter(stack.enter_context(path.open("wb", buffering=0)).fileno())
        else:
            if path.suffix.lower() == PNG and num_frames != 1:
                raise VideoError(f"{name}: an image holds one frame and the clip has {num_frames}; name a video")
            target = file = stack.enter_context(atomic_output(path, group, overwrite=overwrite))
            if path.suffix.lower() == PNG:
                yield PngWriter(file)
                return
        with VideoWriter(
            target,
            suffix_of(path, encoder),
            name=name,
            width=header.width,
            height=header.height,
            num_frames=num_frames,
            timing=timing,
            color=ColorTags(**header.color) if header.color else None,
            sample_aspect_ratio=header.sample_aspect_ratio,
            source_pix_fmt=header.pix_fmt,
            encoder=encoder,
            audio=audio,
        ) as writer:
            yield writer


@contextlib.contextmanager
def errors_of(output: Path | None) -> Iterator[None]:
    """Name the output, or standard output, that the disk has no room for; a reader that went away ends the run."""
    try:
        yield
    except BrokenPipeError:
        raise
    except OSError as error:
        name, rest = (STDOUT_NAME, "") if output is None else (output, "; nothing was written")
        raise OutputError(f"{name}: {error.strerror or error}{rest}") from error


def spool_errors(output: Path | None) -> AbstractContextManager[None]:
    """Name the output whose spool the disk has no room for, or the folder for temporary files if it lies there."""
    return errors_of(output if spool_folder(output) else Path(tempfile.gettempdir()))
