"""A video into a latents file."""

import contextlib
import time
from collections.abc import Iterator
from pathlib import Path
from threading import Event
from types import TracebackType

from vae3d_cli.codec.formats import check_format, place_of, write_latents
from vae3d_cli.codec.memory import device_errors
from vae3d_cli.codec.options import EncodeOptions, Progress, ignore_progress
from vae3d_cli.codec.outputs import display_name, latents_spool, spool_errors
from vae3d_cli.codec.reading import Reading
from vae3d_cli.codec.results import EncodeResult
from vae3d_cli.errors import VideoError
from vae3d_cli.files import AnyPath, as_path
from vae3d_cli.latents import kind_of_latents
from vae3d_cli.video import open_clip
from vae3d_cli.weights import Model


def encode_video(
    source: AnyPath | None,
    output: AnyPath | None,
    model: Model,
    options: EncodeOptions = EncodeOptions(),  # noqa: B008 - frozen
    progress: Progress = ignore_progress,
) -> EncodeResult:
    """Encode the video `source` into the latents file `output`; `None` is standard input or output.

    An output that exists is replaced. For musubi-tuner `output` is a folder, in which the file has a name of its own.
    `progress` is told of every frame.

    Raises:
        UsageError: The format does not hold the model's latents, or cannot be written to a pipe.
        VideoError: The video cannot be read.
        LatentsError: The latents are not finite in the type that they are stored in.
        OutputError: The output cannot be written.
    """
    with Encoding(as_path(source), as_path(output), model, options) as encoding:
        encoding.open()
        encoding.run(progress)
        return encoding.write()


class Encoding:
    """A clip on its way into a latents file, in three steps: `open`, `run` and `write`, one after the other.

    Each may be taken by another thread, so that of several clips one is read and one is written while one is in the
    model; but only when one `has_read` the next may be opened, see `Reading`. Leaving the context, or `close`, takes
    away what there is of it, at any point. Without `overwrite` an output that is there by then is an error. See
    `encode_video`.
    """

    def __init__(
        self,
        source: Path | None,
        output: Path | None,
        model: Model,
        options: EncodeOptions,
        *,
        overwrite: bool = True,
    ) -> None:
        self._source, self._output, self._model, self._options = source, output, model, options
        self._overwrite = overwrite
        self._stack = contextlib.ExitStack()
        self._seconds = 0.0
        self.has_read = Event()

    def __enter__(self) -> "Encoding":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close it."""
        self.close()

    def close(self) -> None:
        """Take away what there is of it; the output stays."""
        self._stack.close()
        self.has_read.set()

    def open(self) -> None:
        """Open the source, and begin to read it ahead."""
        with self._step(), contextlib.ExitStack() as stack:
            check_format(self._options.format, self._model)
            self._place = place_of(self._source, self._output, self._options.format)
            dtype = self._options.latents_dtype or self._model.dtype
            self._spool = stack.enter_context(latents_spool(self._place, dtype))
            refuse_latents(self._source)
            video = stack.enter_context(open_clip(self._source, self._options.reading))
            self._reading = stack.enter_context(Reading(video, self._options, self.has_read))
            self._stack = stack.pop_all()

    def run(self, progress: Progress = ignore_progress) -> None:
        """Run the model over it; `progress` is told of every frame."""
        with self._step():
            self._clip = self._reading.encode(self._spool, self._model, progress)

    def write(self) -> EncodeResult:
        """Write the latents file."""
        with self._step():
            clip = self._clip.hashed()
            written, losses = write_latents(self._spool, clip, self._place, self._options, overwrite=self._overwrite)
        loading = self._model.load_seconds
        return EncodeResult(
            input=display_name(self._source),
            output=display_name(written),
            format=self._options.format,
            model=self._model.facts,
            header=clip.header,
            num_frames=clip.header.num_frames,
            latents_shape=self._spool.shape,
            seconds={"load": loading, "encode": clip.seconds, "total": loading + self._seconds},
            notes=(*clip.notes, *losses),
        )

    @contextlib.contextmanager
    def _step(self) -> Iterator[None]:
        """Count the time of a step; its errors name the source, and a full disk the output."""
        start = time.perf_counter()
        with device_errors(display_name(self._source)), spool_errors(self._output):
            yield
        self._seconds += time.perf_counter() - start


def refuse_latents(source: Path | None) -> None:
    """See that a file is not one of latents, of which FFmpeg would only say that it is no video.

    Raises:
        VideoError: It is.
    """
    with contextlib.suppress(OSError):  # the reader says what the system has against the file
        if source is not None and source.is_file() and (kind := kind_of_latents(source)):
            raise VideoError(f"{source}: a {kind} file and no video; vae3d decode makes a video of latents")
