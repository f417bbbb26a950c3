"""Writing a latents file of a clip whose length is not known beforehand, in bounded memory."""

import json
import math
import struct
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from vae3d_cli.errors import LatentsError
from vae3d_cli.latents.header import LatentsHeader

DTYPE_NAMES = {torch.float32: "F32", torch.float16: "F16", torch.bfloat16: "BF16"}
# One pass over the spool per channel reads runs of this many bytes at most.
_COPY_BYTES = 1 << 22


class SupportsWrite(Protocol):
    """A file or a pipe."""

    def write(self, data: bytes, /) -> int:
        """Write all of `data`."""


@dataclass(frozen=True, kw_only=True)
class Layout:
    """What a safetensors file holds beside the values of its latents.

    `tensor_name` and `shape` are those of the latents, of which each channel follows the one before; `others` are small
    tensors of one axis in front of them: type, length and bytes.
    """

    metadata: dict[str, str]
    tensor_name: str
    shape: tuple[int, ...]
    others: dict[str, tuple[str, int, bytes]] = field(default_factory=dict)


def own_layout(header: LatentsHeader, shape: tuple[int, ...], pts: NDArray[np.int64] | None = None) -> Layout:
    """The layout of our own files."""
    stamps = {} if pts is None else {"pts": ("I64", len(pts), pts.astype("<i8").tobytes())}
    return Layout(metadata=header.to_metadata(), tensor_name=header.tensor_name, shape=shape, others=stamps)


class LatentsSpool:
    """Latent frames as they come, in an unnamed temporary file in `folder`; then a latents file, channel first.

    A safetensors header tells sizes that only the end of the clip knows, and the channels of a frame lie far apart in
    the file. So frames are spooled one after the other, and laid out in one last pass.

    Raises:
        OSError: The disk is full.
        LatentsError: A value is not finite in the type that they are stored in.
    """

    def __init__(self, folder: Path | None, dtype: torch.dtype) -> None:
        self._file = tempfile.TemporaryFile(prefix=".vae3d-", dir=folder)  # noqa: SIM115 - closed by close()
        self._dtype = dtype
        self._frame_shape = (0, 0, 0)
        self._num_latent_frames = 0

    def __enter__(self) -> "LatentsSpool":
        """Use it as a context, which closes it."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Give the disk space back."""
        self._file.close()

    def append(self, latents: Tensor) -> None:
        """Take the next latent frames `[C, T', h, w]`."""
        channels, num_frames, height, width = latents.shape
        self._frame_shape = (channels, height, width)
        frames = latents.detach().to("cpu", self._dtype).transpose(0, 1).contiguous()
        if not bool(torch.isfinite(frames).all()):
            if bool(torch.isfinite(latents).all()):
                raise LatentsError(
                    f"the latents are too large for {DTYPE_NAMES[self._dtype]}; use --latents-dtype fp32"
                )
            raise LatentsError("the model gives latents that are not finite; use --dtype fp32, or another checkpoint")
        self._file.write(_bytes_of(frames))
        self._num_latent_frames += num_frames

    @property
    def dtype_name(self) -> str:
        """The type that they are stored in, as safetensors names it."""
        return DTYPE_NAMES[self._dtype]

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """The shape `[C, T', h, w]` of what was taken so far."""
        channels, height, width = self._frame_shape
        return (channels, self._num_latent_frames, height, width)

    def read(self, start: int, stop: int) -> Tensor:
        """Latent frames `start` to `stop - 1` as they are stored, `[C, stop - start, h, w]`."""
        frame_values = math.prod(self._frame_shape)
        self._file.seek(start * frame_values * self._dtype.itemsize)
        data = bytearray(self._file.read((stop - start) * frame_values * self._dtype.itemsize))
        return torch.frombuffer(data, dtype=self._dtype).view(stop - start, *self._frame_shape).transpose(0, 1)

    def write(self, out: SupportsWrite, header: LatentsHeader, pts: NDArray[np.int64] | None = None) -> None:
        """Write our latents file, from its first byte to its last, so that `out` may be a pipe."""
        self.write_as(out, own_layout(header, self.shape, pts))

    def write_as(self, out: SupportsWrite, layout: Layout) -> None:
        """Write the latents file of this layout, whose shape is that of the spool."""
        tensors: dict[str, object] = {"__metadata__": layout.metadata} if layout.metadata else {}
        start = 0
        for name, (dtype, length, data) in layout.others.items():
            tensors[name] = {"dtype": dtype, "shape": [length], "data_offsets": [start, start + len(data)]}
            start += len(data)
        size = self._dtype.itemsize * math.prod(self.shape)
        tensors[layout.tensor_name] = {
            "dtype": self.dtype_name,
            "shape": list(layout.shape),
            "data_offsets": [start, start + size],
        }
        text = json.dumps(tensors, separators=(",", ":")).encode()
        text += b" " * (-len(text) % 8)  # the data stays aligned
        out.write(struct.pack("<Q", len(text)) + text)
        for _, _, data in layout.others.values():
            out.write(data)
        for channel in range(self.shape[0]):
            self._write_channel(out, channel)

    def _write_channel(self, out: SupportsWrite, channel: int) -> None:
        channels, height, width = self._frame_shape
        plane_bytes = height * width * self._dtype.itemsize
        planes: list[bytes] = []
        for frame in range(self._num_latent_frames):
            self._file.seek((frame * channels + channel) * plane_bytes)
            planes.append(self._file.read(plane_bytes))
            if len(planes) * plane_bytes >= _COPY_BYTES:
                out.write(b"".join(planes))
                planes.clear()
        out.write(b"".join(planes))


def _bytes_of(tensor: Tensor) -> bytes:
    """The raw bytes of a contiguous tensor; numpy has no bf16, so they go as plain bytes."""
    return tensor.view(torch.uint8).numpy().tobytes()
