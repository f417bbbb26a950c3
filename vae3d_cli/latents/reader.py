"""Reading a file of latents, frame by frame: ours, or that of another tool."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from vae3d_cli.errors import LatentsError
from vae3d_cli.files import STDIN_NAME, copy_of_pipe, is_read_once, why_not_there
from vae3d_cli.latents.container import Entry, Structure, is_safetensors, read_structure
from vae3d_cli.latents.foreign import ForeignHeader, Told, check_told, is_pickle, read_pickle, recognise
from vae3d_cli.latents.header import FORMAT, FORMAT_FAMILY, LatentsHeader
from vae3d_cli.latents.writer import DTYPE_NAMES

_DTYPES = {name: dtype for dtype, name in DTYPE_NAMES.items()}
_MAX_STAMP = 1 << 53
_CHECK_BYTES = 1 << 24


class LatentsReader:
    """The latents of a file, checked when it is opened and read frame by frame.

    `None` reads standard input; `copy_of` names what a file copies. `told` is what the user says of files of other
    tools; what such a file, its format and the user all leave open is an error only where `header` is asked for.

    Nothing is mapped into memory: a file that is cut while it is read is an error, not a crash. Only what `torch.save`
    wrote is held in memory.

    Raises:
        LatentsError: It is no file of latents, says something impossible of itself, holds values that are not finite,
            or says other than the user.
    """

    said: LatentsHeader | ForeignHeader
    format: str
    tensor_name: str
    shape: tuple[int, int, int, int]
    dtype: torch.dtype
    pts: NDArray[np.int64] | None

    def __init__(self, path: Path | None, told: Told = Told(), *, copy_of: str | None = None) -> None:  # noqa: B008
        self.name = copy_of or (STDIN_NAME if path is None else str(path))
        self._path, self._told = path, told
        self._stack = contextlib.ExitStack()
        self._loaded: Tensor | None = None

    def __enter__(self) -> "LatentsReader":
        """Open the file and check everything it says."""
        with contextlib.ExitStack() as stack, self._errors():
            path = self._path
            if path is None or is_read_once(path):
                path = stack.enter_context(copy_of_pipe(path))
            self._file = stack.enter_context(path.open("rb"))
            if path.is_file() and not is_safetensors(path) and is_pickle(path):
                self._take_loaded(path)
            else:
                self._take_stored(read_structure(path))
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the file."""
        self._stack.close()
        self._loaded = None

    @property
    def header(self) -> LatentsHeader:
        """What the file says of itself or, if it is another tool's, with what its format and the user say.

        Raises:
            LatentsError: None of them says the rate, or whether the latents are scaled.
        """
        with self._errors():
            return self.said.to_header() if isinstance(self.said, ForeignHeader) else self.said

    @property
    def notes(self) -> tuple[str, ...]:
        """What is worth saying of a file of another tool."""
        said = self.said.notes if isinstance(self.said, ForeignHeader) else ()
        return tuple(f"{self.name}: {note}" for note in said)

    def read(self, start: int, stop: int) -> Tensor:
        """Latent frames `start` to `stop - 1` as they are stored, `[C, stop - start, h, w]` (C is 32 for moments)."""
        latents = self._read_stored(start, stop) if self._loaded is None else self._loaded[:, start:stop]
        if not bool(torch.isfinite(latents).all()):
            raise LatentsError(
                f"{self.name}: latent frames {start} to {stop - 1} hold values that are not finite; "
                "encode the clip again"
            )
        return latents

    def check(self) -> None:
        """Read every value.

        Raises:
            LatentsError: The file was cut, or some are not finite.
        """
        channels, num_frames, height, width = self.shape
        step = max(1, _CHECK_BYTES // (channels * height * width * self.dtype.itemsize))
        for start in range(0, num_frames, step):
            self.read(start, min(start + step, num_frames))

    def _read_stored(self, start: int, stop: int) -> Tensor:
        channels, num_frames, height, width = self.shape
        frame_bytes = height * width * self.dtype.itemsize
        data = b"".join(
            self._read_bytes(self._offset + (channel * num_frames + start) * frame_bytes, (stop - start) * frame_bytes)
            for channel in range(channels)
        )
        return torch.frombuffer(bytearray(data), dtype=self.dtype).view(channels, stop - start, height, width)

    def _read_bytes(self, offset: int, size: int) -> bytes:
        with self._errors():
            data = os.pread(self._file.fileno(), size, offset)
        if len(data) != size:
            raise LatentsError(f"{self.name}: the file was cut while it was read; take a whole copy of it")
        return data

    def _take_loaded(self, path: Path) -> None:
        """Hold the latents that `torch.save` wrote."""
        said, latents = read_pickle(path)
        if latents.dtype not in DTYPE_NAMES:
            dtypes = ", ".join(DTYPE_NAMES.values())
            raise LatentsError(f"its latents are {str(latents.dtype).removeprefix('torch.')}, expected one of {dtypes}")
        self.said = said.completed(self._told)
        self.format, self.tensor_name = said.format, said.tensor_name
        self.shape, self.dtype, self.pts = said.shape, latents.dtype, None
        self._loaded = latents

    def _take_stored(self, structure: Structure) -> None:
        """See where the latents lie, and what is said of them."""
        foreign = recognise(structure)
        # ComfyUI ignores the metadata of its files, so that those that we write hold ours.
        if foreign is None or structure.metadata.get("format", "").startswith(FORMAT_FAMILY):
            header = LatentsHeader.from_metadata(structure.metadata)
            check_told(self._told, header.rate, header.scaled)
            self.said, self.format, self.tensor_name = header, FORMAT, header.tensor_name
        else:
            self.said = foreign.completed(self._told)
        if foreign is not None:
            self.format, self.tensor_name = foreign.format, foreign.tensor_name
        name = self.tensor_name
        if name not in structure.entries:
            raise LatentsError(f"it has no tensor {name!r}; encode the clip again")
        entry = structure.entries[name]
        if entry.dtype not in _DTYPES:
            raise LatentsError(f"its tensor {name!r} is {entry.dtype}, expected one of {', '.join(_DTYPES)}")
        shape = entry.shape if foreign is None else foreign.shape
        if len(shape) != 4 or 0 in shape:
            raise LatentsError(f"its tensor {name!r} has the shape {list(shape)}, expected four sizes above 0")
        self.dtype, self.shape = _DTYPES[entry.dtype], (shape[0], shape[1], shape[2], shape[3])
        self._offset = entry.offset
        pts = structure.entries.get("pts")
        self.pts = None if pts is None or foreign is not None else self._read_pts(pts, self.header)

    def _read_pts(self, entry: Entry, header: LatentsHeader) -> NDArray[np.int64]:
        num_frames = header.num_frames
        if entry.dtype != "I64" or entry.shape != (num_frames,):
            raise LatentsError(f"its tensor 'pts' is not one I64 time stamp for each of its {num_frames} frames")
        if header.time_base is None:
            raise LatentsError("it has time stamps and its metadata has no 'time_base'; encode the clip again")
        pts = np.frombuffer(self._read_bytes(entry.offset, 8 * num_frames), "<i8").astype(np.int64)
        if np.abs(pts).max() > _MAX_STAMP or not (np.diff(pts) > 0).all():
            raise LatentsError("its time stamps do not increase; encode the clip again")
        return pts

    @contextlib.contextmanager
    def _errors(self) -> Iterator[None]:
        """Name the file in every error."""
        try:
            yield
        except LatentsError as error:
            text = str(error)
            raise LatentsError(text if text.startswith(f"{self.name}: ") else f"{self.name}: {text}") from error
        except OSError as error:
            raise LatentsError(f"{self.name}: {why_not_there(Path(self.name), error)}") from error


def kind_of_latents(path: Path) -> str | None:
    """What a file is that may hold latents, of ours or of another tool; a quick look, no check."""
    return "safetensors" if is_safetensors(path) else "PyTorch" if is_pickle(path) else None
