"""How much a run may hold on its device, counted beforehand; what does not fit rests in host memory, then in a file."""

import contextlib
import tempfile
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Protocol

import psutil
import torch
from torch import Tensor

from vae3d_cli.errors import MemoryLimitError, OutputError

# Beyond this a larger slab is no faster, and the room is better used to keep activations near. On a CPU 64 MiB were
# fastest for 17 frames of 256x256, of 16 to 1024.
_MAX_SLAB_BYTES, _MAX_SLAB_BYTES_CPU = 2 << 30, 64 << 20
# Of what is free: the rest is for the weights' copies, the libraries and the other programs.
_SHARE = 0.75
_NO_MEMORY = (
    *("can't allocate memory", "out of memory", "alloc_failed"),
    "unable to find an engine to execute this computation",  # cuDNN, for want of room to work in
)
# What a container may take: limit, usage, and what of it is cache, in version 2 and 1 of Linux' control groups.
_GROUP = Path("/sys/fs/cgroup")
_CONTROL_GROUPS = (
    ("memory.max", "memory.current", "inactive_file"),
    ("memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes", "total_inactive_file"),
)


class Buffer(Protocol):
    """A flat run of values of one dtype; `on_device` says that reading is free."""

    on_device: bool

    def read(self, start: int, stop: int) -> Tensor:
        """Values `start` to `stop - 1`, flat: on the device, possibly a view."""

    def write(self, start: int, values: Tensor) -> None:
        """Put flat `values` at `start`."""

    def free(self) -> None:
        """Give the room back."""


class Memory:
    """The budget of one run: `live_bytes` and `peak_bytes` count what is held on the device for it.

    `budget_bytes` is for the device, by default most of what is free there. Weights do not count. At the end of its
    context all files are gone.
    """

    def __init__(self, device: torch.device, budget_bytes: int | None = None) -> None:
        self.device = device
        self.budget_bytes = budget_bytes or int(_SHARE * free_bytes(device))
        self.live_bytes = 0
        self.peak_bytes = 0
        # Elsewhere the host's memory is the device's.
        self._host_left = int(_SHARE * free_bytes(torch.device("cpu"))) if device.type == "cuda" else 0
        self._files = contextlib.ExitStack()
        self._scratch = torch.empty(0)

    def __enter__(self) -> "Memory":
        """Use it as a context, which gives the disk space back."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Give the disk space back, and the scratch."""
        self._files.close()
        self._free_scratch()

    @property
    def slab_bytes(self) -> int:
        """What is kept free for the slab that is worked on."""
        return min(self.budget_bytes // 2, self.max_slab_bytes(in_order=True))

    def max_slab_bytes(self, *, in_order: bool) -> int:
        """The most that a slab is to take where there is more.

        In the order of the buffer it has all rows of its frames, and with few frames would read most of them twice.
        """
        return _MAX_SLAB_BYTES if self.device.type != "cpu" else _MAX_SLAB_BYTES_CPU * (8 if in_order else 1)

    @property
    def left_bytes(self) -> int:
        """What is not held yet."""
        return self.budget_bytes - self.live_bytes

    @contextlib.contextmanager
    def held(self, num_bytes: int) -> Iterator[None]:
        """Count bytes as live for a while.

        Raises:
            MemoryLimitError: They do not fit into the budget.
        """
        self._take(num_bytes)
        try:
            yield
        finally:
            self.live_bytes -= num_bytes

    def allocate(self, count: int, dtype: torch.dtype) -> Buffer:
        """Room for `count` values: on the device if a slab still fits beside them, else as near as there is room."""
        size = count * dtype.itemsize
        if size + self.slab_bytes > self.left_bytes:
            self._free_scratch()
        if size + self.slab_bytes <= self.left_bytes:
            with out_of_memory_ignored():  # free memory may lie in pieces
                values = torch.empty(count, dtype=dtype, device=self.device)
                self._take(size)
                return _TensorBuffer(values, self, self.device)
        if size <= self._host_left:
            with out_of_memory_ignored():
                values = torch.empty(count, dtype=dtype)
                self._host_left -= size
                return _TensorBuffer(values, self, self.device)
        return self.spill(dtype)

    def scratch(self, count: int, beside_bytes: int) -> Tensor:
        """Room for `count` values in fp32 on the device, until the next call or `allocate`.

        It is kept for the next call, where `beside_bytes` fit beside it: pages that are new to the process cost more
        than what kernels put there.

        Raises:
            MemoryLimitError: They do not fit into the budget.
        """
        if not count <= self._scratch.numel() <= 8 * count or self.left_bytes < beside_bytes:
            self._free_scratch()
            self._take(4 * count)
            self._scratch = torch.empty(count, device=self.device)
        return self._scratch[:count]

    def spill(self, dtype: torch.dtype) -> "FileBuffer":
        """Room on the disk for any number of values."""
        buffer = FileBuffer(dtype, self.device)
        self._files.callback(buffer.free)
        return buffer

    def release(self, tensor: Tensor) -> None:
        """Count a tensor that `allocate` made as gone."""
        size = tensor.numel() * tensor.element_size()
        if tensor.device.type == self.device.type:
            self.live_bytes -= size
        else:
            self._host_left += size

    def _free_scratch(self) -> None:
        self.live_bytes -= self._scratch.nbytes
        self._scratch = torch.empty(0)

    def _take(self, num_bytes: int) -> None:
        if num_bytes > self.left_bytes:
            raise MemoryLimitError(
                f"--memory {size_text(self.budget_bytes)} is too little: {size_text(num_bytes)} are needed beside "
                f"{size_text(self.live_bytes)}; give more, or smaller frames"
            )
        self.live_bytes += num_bytes
        self.peak_bytes = max(self.peak_bytes, self.live_bytes)


class _TensorBuffer:
    """Values on the device, or on the host."""

    def __init__(self, values: Tensor, memory: Memory, device: torch.device) -> None:
        self._values = values
        self.on_device = values.device.type == device.type
        self._memory = memory
        self._device = device

    def read(self, start: int, stop: int) -> Tensor:
        return self._values[start:stop].to(self._device)

    def write(self, start: int, values: Tensor) -> None:
        self._values[start : start + values.numel()].copy_(values)

    def free(self) -> None:
        self._memory.release(self._values)
        del self._values


class FileBuffer:
    """Values in an unnamed temporary file, read and written by the piece.

    Not mapped into memory: mapped pages count as the process's own, and a full disk would kill it.
    """

    on_device = False

    def __init__(self, dtype: torch.dtype, device: torch.device) -> None:
        with _disk_errors():
            self._file = tempfile.TemporaryFile(prefix="vae3d-", buffering=0)  # noqa: SIM115 - closed by free()
        self._dtype = dtype
        self._device = device

    def read(self, start: int, stop: int) -> Tensor:
        """Values `start` to `stop - 1`, flat, on the device."""
        data = bytearray((stop - start) * self._dtype.itemsize)
        view = memoryview(data)
        with _disk_errors():
            self._file.seek(start * self._dtype.itemsize)
            while view and (count := self._file.readinto(view)):
                view = view[count:]
        return torch.frombuffer(data, dtype=self._dtype).to(self._device)

    def write(self, start: int, values: Tensor) -> None:
        """Put flat `values` at `start`."""
        data = memoryview(values.to("cpu", self._dtype).contiguous().view(torch.uint8).numpy())  # type: ignore[arg-type]
        with _disk_errors():
            self._file.seek(start * self._dtype.itemsize)
            while data:
                data = data[self._file.write(data) :]

    def free(self) -> None:
        """Give the disk space back."""
        self._file.close()


@contextlib.contextmanager
def _disk_errors() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise OutputError(
            f"{tempfile.gettempdir()}: {error.strerror or error}, where a clip waits that does not fit --memory; set "
            "TMPDIR to a folder with more space"
        ) from error


def size_text(num_bytes: float) -> str:
    """`6.0GiB`, as `--memory` takes it."""
    for unit in ("B", "KiB", "MiB"):
        if num_bytes < 1024:
            return f"{num_bytes:.1f}{unit}"
        num_bytes /= 1024
    return f"{num_bytes:.1f}GiB"


def free_bytes(device: torch.device) -> int:
    """What is free on a device now; on the host, no more than what the container may still take."""
    if device.type == "cuda":
        # What torch keeps for its next tensors is ours, too.
        kept = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return torch.cuda.mem_get_info(device)[0] + kept
    available = int(psutil.virtual_memory().available)
    for limit, usage, cache in _CONTROL_GROUPS:
        with contextlib.suppress(OSError, ValueError, StopIteration):  # no limit ("max"), or no such system
            left = int(_GROUP.joinpath(limit).read_text()) - int(_GROUP.joinpath(usage).read_text())
            # The usage counts files that can be forgotten at any time.
            lines = _GROUP.joinpath(usage).with_name("memory.stat").read_text().splitlines()
            left += next(int(line.split()[1]) for line in lines if line.startswith(f"{cache} "))
            available = min(available, max(left, 0))
    return available


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that memory ran out: torch and the libraries below it say so in many words."""
    text = str(error).lower()
    return isinstance(error, torch.cuda.OutOfMemoryError | MemoryError) or any(words in text for words in _NO_MEMORY)


@contextlib.contextmanager
def out_of_memory_ignored() -> Iterator[None]:
    """Go on where memory ran out, with what torch had kept given back."""
    try:
        yield
        return
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
    torch.cuda.empty_cache()
    if torch.backends.mps.is_available():
        torch.mps.empty_cache()
