"""How much memory a run takes, and what to say when the device cannot do what it is asked."""

import contextlib
import resource
import sys
from collections.abc import Iterator
from pathlib import Path

import torch

from vae3d_cli.errors import MeasureError, MemoryLimitError, UsageError
from vae3d_cli.execution import is_out_of_memory


def peak_memory_bytes() -> int:
    """The most memory that this process has held so far."""
    status = Path("/proc/self/status")
    if status.exists():  # Linux, where getrusage would also count the process that started this one
        (line,) = (line for line in status.read_text().splitlines() if line.startswith("VmHWM:"))
        return int(line.split()[1]) * 1024
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024  # kilobytes everywhere else


def peak_device_bytes(device: torch.device) -> int | None:
    """The most memory that this process has held on a GPU so far; `None` where nothing counts it."""
    return torch.cuda.max_memory_allocated(device) if device.type == "cuda" else None


@contextlib.contextmanager
def device_errors(name: str) -> Iterator[None]:
    """Say of a clip that it does not fit the device, cannot be computed there in its dtype, or cannot be measured.

    Raises:
        MeasureError: A measure has failed.
        MemoryLimitError: There is no memory left, on the device or on the host.
        UsageError: Half precision is not implemented for this device by this version of torch.
    """
    try:
        yield
    except (MeasureError, MemoryLimitError) as error:
        raise type(error)(f"{name}: {error}") from error
    except (MemoryError, RuntimeError) as error:
        if "not implemented for 'Half'" in str(error):
            raise UsageError("--dtype fp16: this version of torch has no fp16 here; use bf16 or fp32") from error
        if not is_out_of_memory(error):
            raise
        where = "device" if isinstance(error, torch.cuda.OutOfMemoryError) else "host"
        raise MemoryLimitError(
            f"{name}: the memory of the {where} is not enough; use --strategy auto with a lower --memory, or smaller "
            "frames"
        ) from error
