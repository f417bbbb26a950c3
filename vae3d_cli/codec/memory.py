"""How much memory a run takes, and what to say when there is none left."""

import contextlib
import resource
import sys
from collections.abc import Iterator
from pathlib import Path

import torch

from vae3d_cli.errors import Vae3dError


def peak_memory_bytes() -> int:
    """The most memory that this process has held so far."""
    status = Path("/proc/self/status")
    if status.exists():  # Linux, where getrusage would also count the process that started this one
        (line,) = (line for line in status.read_text().splitlines() if line.startswith("VmHWM:"))
        return int(line.split()[1]) * 1024
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024  # kilobytes everywhere else


@contextlib.contextmanager
def memory_errors(name: str) -> Iterator[None]:
    """Say of a clip that it does not fit.

    Raises:
        Vae3dError: There is no memory left, on the device or on the host.
    """
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        # On the CPU torch has no class of its own for it.
        is_host = isinstance(error, MemoryError) or "can't allocate memory" in str(error)
        if not is_host and not isinstance(error, torch.OutOfMemoryError):
            raise
        where = "host" if is_host else "device"
        raise Vae3dError(
            f"{name}: the memory of the {where} is not enough; use --strategy stream, or a clip of smaller frames"
        ) from error
