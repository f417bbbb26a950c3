"""How much memory a run takes, and what to say when there is none left."""

import contextlib
import resource
import sys
from collections.abc import Iterator
from pathlib import Path

import torch

from vae3d_cli.errors import MemoryLimitError
from vae3d_cli.execution import is_out_of_memory


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
        MemoryLimitError: There is no memory left, on the device or on the host.
    """
    try:
        yield
    except MemoryLimitError as error:
        raise MemoryLimitError(f"{name}: {error}") from error
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        where = "device" if isinstance(error, torch.OutOfMemoryError) else "host"
        raise MemoryLimitError(
            f"{name}: the memory of the {where} is not enough; use --strategy auto with a lower --memory, or smaller "
            "frames"
        ) from error
