"""A file of latents into that of another tool, or of another tool into ours."""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from types import TracebackType

import torch
from torch import Tensor

from vae3d_cli.codec.decode import check_shape
from vae3d_cli.codec.memory import device_errors
from vae3d_cli.codec.options import Progress, ignore_progress
from vae3d_cli.codec.outputs import binary_output, display_name, latents_spool
from vae3d_cli.errors import LatentsError
from vae3d_cli.files import base_name_of, is_read_once
from vae3d_cli.geometry import num_decoded_frames
from vae3d_cli.latents import (
    HUNYUANVIDEO,
    MOMENTS,
    MUSUBI,
    SUFFIXES,
    VAE3D,
    ForeignHeader,
    LatentsHeader,
    LatentsReader,
    Told,
    check_space,
    is_musubi_name,
    layout_of,
    losses,
    musubi_name,
)


@dataclass(frozen=True, kw_only=True)
class ConvertResult:
    """Latents were written into `output` (`-` for standard output) in `format`, unscaled."""

    input: str
    output: str
    source_format: str
    format: str
    num_frames: int
    height: int
    width: int
    rate: Fraction | None
    latents_shape: tuple[int, ...]
    latents_dtype: str
    notes: tuple[str, ...]

    def to_json(self) -> dict[str, object]:
        """One JSON object."""
        return {
            "input": self.input,
            "output": self.output,
            "source_format": self.source_format,
            "format": self.format,
            "num_frames": self.num_frames,
            "height": self.height,
            "width": self.width,
            "rate": None if self.rate is None else f"{self.rate.numerator}/{self.rate.denominator}",
            "latents_shape": list(self.latents_shape),
            "latents_dtype": self.latents_dtype,
        }


class Conversion:
    """A file of latents (`None` is standard input) that is open, and the format that it is to be written in.

    Raises:
        LatentsError: It cannot be read, does not say all that the format needs, or is of another latent space.
    """

    def __init__(self, source: Path | None, format_name: str, told: Told = Told()) -> None:  # noqa: B008 - frozen
        self._source, self._format = source, format_name
        self._latents = LatentsReader(source, told)
        self._said: LatentsHeader | ForeignHeader
        self._stack = contextlib.ExitStack()

    def __enter__(self) -> "Conversion":
        """Open the file, and see that it can be written so."""
        with contextlib.ExitStack() as stack:
            latents = stack.enter_context(self._latents)
            self._said = said = latents.said
            if isinstance(said, ForeignHeader):
                facts, options = said.missing(needs_rate=self._format == VAE3D)
                if facts:
                    raise LatentsError(f"{latents.name}: does not say {facts}; give {options}")
                self._said = replace(said, source=None if is_read_once(self._source) else base_name_of(self._source))
            if self._format != VAE3D:
                check_space(latents.name, said.latent_space, latents.shape[0])
                check_shape(latents, HUNYUANVIDEO)
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the file."""
        self._stack.close()

    @property
    def musubi_name(self) -> str:
        """What musubi-tuner calls the cache of this clip: a name that it gave before, or one after the file's stem.

        Such a name holds the key and the first frame of a dataset's item, and the size of its source. The file may have
        it itself, or say that it was made of a cache of that name.
        """
        said, shape = self._said, self._latents.shape
        stem = self._source.stem if self._source else "stdin"
        names = (f"{stem}{SUFFIXES[MUSUBI]}", said.source or "")
        return next((name for name in names if is_musubi_name(name, shape)), musubi_name(stem, said, shape))

    @property
    def read_as(self) -> str:
        """What the file was taken for, for people."""
        latents = self._latents
        return f"read as {latents.format}, tensor {latents.tensor_name}, {list(latents.shape)}"

    def write(
        self, output: Path | None, progress: Progress = ignore_progress, *, overwrite: bool = True
    ) -> ConvertResult:
        """Write it to `output`; `None` is standard output. `progress` is told of every frame.

        An output that exists is replaced or, without `overwrite`, an error in the end.

        Raises:
            LatentsError: The file holds values that are not finite.
            OutputError: The output cannot be written.
        """
        latents, said = self._latents, self._said
        # What is divided is not rounded to half precision a second time.
        dtype = torch.float32 if _divisor(said) != 1 else latents.dtype
        with device_errors(display_name(self._source)), latents_spool(output, dtype) as spool:
            for part in self._parts(progress):
                try:
                    spool.append(part)
                except LatentsError as error:
                    text = "its latents are not finite without the scaling factor; take a whole copy of it"
                    raise LatentsError(f"{latents.name}: {text}") from error
            shape = spool.shape
            layout = layout_of(self._format, said, shape, spool.dtype_name, latents.pts)
            with binary_output(output, overwrite=overwrite) as out:
                spool.write_as(out, layout)
        notes = losses(self._format, said, shape, has_pts=latents.pts is not None)
        return ConvertResult(
            input=display_name(self._source),
            output=display_name(output),
            source_format=latents.format,
            format=self._format,
            num_frames=said.num_frames,
            height=said.height,
            width=said.width,
            rate=said.rate,
            latents_shape=shape,
            latents_dtype=str(dtype).removeprefix("torch."),
            notes=(*latents.notes, *(f"{display_name(output)}: {note}" for note in notes)),
        )

    def _parts(self, progress: Progress) -> Iterator[Tensor]:
        """Unscaled latents `[C, 1, h, w]`, or moments where they are kept, one latent frame after the other."""
        latents, said = self._latents, self._said
        divisor, total = _divisor(said), said.num_frames
        for start in range(latents.shape[1]):
            part = latents.read(start, start + 1)
            if said.posterior == MOMENTS and self._format != VAE3D:
                part = part.chunk(2)[0]
            yield part if divisor == 1 else part.float() / divisor
            progress(min(num_decoded_frames(start + 1, HUNYUANVIDEO), total), total)


def _divisor(said: LatentsHeader | ForeignHeader) -> float:
    """What takes the scaling factor out of latents; moments never have it."""
    return said.scaling_factor if said.scaled and said.posterior != MOMENTS else 1.0
