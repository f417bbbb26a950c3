"""Reading a latents file, frame by frame."""

import contextlib
import json
import os
import struct
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from torch import Tensor

from vae3d_cli.errors import LatentsError
from vae3d_cli.files import STDIN_NAME, copy_of_pipe, is_read_once
from vae3d_cli.latents.header import LatentsHeader
from vae3d_cli.latents.writer import DTYPE_NAMES

# Our headers take about a kilobyte; a longer one is not ours, and is refused before it is read.
_MAX_HEADER_BYTES = 1 << 20
_DTYPES = {name: dtype for dtype, name in DTYPE_NAMES.items()}
_MAX_STAMP = 1 << 53


class LatentsReader:
    """The latents of a file, checked when it is opened and read frame by frame.

    `None` reads standard input; `copy_of` names what a file copies.

    Nothing is mapped into memory: a file that is cut while it is read is an error, not a crash.

    Raises:
        LatentsError: It is no latents file, says something impossible of itself, or holds values that are not finite.
    """

    header: LatentsHeader
    shape: tuple[int, int, int, int]
    dtype: torch.dtype
    pts: NDArray[np.int64] | None

    def __init__(self, path: Path | None, *, copy_of: str | None = None) -> None:
        self.name = copy_of or (STDIN_NAME if path is None else str(path))
        self._path = path
        self._stack = contextlib.ExitStack()

    def __enter__(self) -> "LatentsReader":
        """Open the file and check everything it says."""
        with contextlib.ExitStack() as stack, self._errors():
            path = self._path
            if path is None or is_read_once(path):
                path = stack.enter_context(copy_of_pipe(path))
            self._file = stack.enter_context(path.open("rb"))
            tensors, self._data_start = _read_structure(path)
            self._check(tensors)
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the file."""
        self._stack.close()

    def read(self, start: int, stop: int) -> Tensor:
        """Latent frames `start` to `stop - 1` as they are stored, `[C, stop - start, h, w]` (C is 32 for moments)."""
        channels, num_frames, height, width = self.shape
        frame_bytes = height * width * self.dtype.itemsize
        data = b"".join(
            self._read_bytes(self._offset + (channel * num_frames + start) * frame_bytes, (stop - start) * frame_bytes)
            for channel in range(channels)
        )
        latents = torch.frombuffer(bytearray(data), dtype=self.dtype).view(channels, stop - start, height, width)
        if not bool(torch.isfinite(latents).all()):
            raise LatentsError(
                f"{self.name}: latent frames {start} to {stop - 1} hold values that are not finite; "
                "encode the clip again"
            )
        return latents

    def _read_bytes(self, offset: int, size: int) -> bytes:
        with self._errors():
            data = os.pread(self._file.fileno(), size, self._data_start + offset)
        if len(data) != size:
            raise LatentsError(f"{self.name}: the file was cut while it was read; take a whole copy of it")
        return data

    def _check(self, tensors: dict[str, dict[str, object]]) -> None:
        metadata = tensors.pop("__metadata__", None) or {}
        self.header = header = LatentsHeader.from_metadata({key: str(text) for key, text in metadata.items()})
        name = header.tensor_name
        if name not in tensors:
            raise LatentsError(f"it has no tensor {name!r}; encode the clip again")
        dtype, shape = str(tensors[name]["dtype"]), list(tensors[name]["shape"])  # type: ignore[call-overload]
        if dtype not in _DTYPES:
            raise LatentsError(f"its tensor {name!r} is {dtype}, expected one of {', '.join(_DTYPES)}")
        if len(shape) != 4 or 0 in shape:
            raise LatentsError(f"its tensor {name!r} has the shape {shape}, expected four sizes above 0")
        self.dtype, self.shape = _DTYPES[dtype], (shape[0], shape[1], shape[2], shape[3])
        self._offset = int(tensors[name]["data_offsets"][0])  # type: ignore[index]
        self.pts = self._read_pts(tensors["pts"]) if "pts" in tensors else None

    def _read_pts(self, tensor: dict[str, object]) -> NDArray[np.int64]:
        num_frames = self.header.num_frames
        if tensor["dtype"] != "I64" or tensor["shape"] != [num_frames]:
            raise LatentsError(f"its tensor 'pts' is not one I64 time stamp for each of its {num_frames} frames")
        if self.header.time_base is None:
            raise LatentsError("it has time stamps and its metadata has no 'time_base'; encode the clip again")
        start = int(tensor["data_offsets"][0])  # type: ignore[index]
        pts = np.frombuffer(self._read_bytes(start, 8 * num_frames), "<i8").astype(np.int64)
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
            raise LatentsError(f"{self.name}: {error.strerror or error}; check the name of the latents file") from error


def is_safetensors(path: Path) -> bool:
    """Whether a file begins as a safetensors file does; a quick look, no check."""
    with path.open("rb") as file:
        head = file.read(9)
    return len(head) == 9 and head[8:] == b"{" and struct.unpack("<Q", head[:8])[0] <= 100_000_000


def _read_structure(path: Path) -> tuple[dict[str, dict[str, object]], int]:
    """The JSON header of a safetensors file, checked by safetensors itself, and where the data starts."""
    not_ours = LatentsError("not a vae3d latents file; a video is encoded first, with vae3d encode")
    if not path.is_file() or not is_safetensors(path):
        raise not_ours
    with path.open("rb") as file:
        (size,) = struct.unpack("<Q", file.read(8))
        if size > _MAX_HEADER_BYTES:
            raise not_ours
        text = file.read(size)
    try:
        # Checks sizes, offsets, holes and overlaps. pread: a mapped file that is cut would kill the process.
        with safe_open(path, "np", backend="pread"):
            pass
        structure = json.loads(text)
    except (SafetensorError, ValueError, RecursionError) as error:
        raise LatentsError(f"the file is damaged or cut short ({error}); take a whole copy of it") from error
    return structure, 8 + size
