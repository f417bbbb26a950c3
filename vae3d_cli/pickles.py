"""Pickles of tensors, from which no code is ever run."""

import math
import warnings
import zipfile
from pathlib import Path
from pickle import UnpicklingError

import torch
from torch import Tensor

ZIP, PICKLE = b"PK\x03\x04", b"\x80"
# The first torch whose `weights_only` runs no code of a hostile file.
SAFE_PICKLES = (2, 6)


def load_pickle(path: Path, kind: str) -> object:
    """What `torch.save` wrote, on the CPU; `kind` is what the file should be, for errors.

    Raises:
        ValueError: It cannot be read, or not safely. The text says why and what to do, and does not name the file.
        OSError: The system has something against it.
    """
    if tuple(map(int, torch.__version__.split(".")[:2])) < SAFE_PICKLES:
        raise ValueError(
            f"a pickle, which torch {torch.__version__} cannot read safely (CVE-2025-32434); update torch, or take the "
            f"safetensors form of the {kind}"
        )
    _refuse_bomb(path, kind)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch's advice is for who made the file, not for who has it
            return torch.load(path, map_location="cpu", weights_only=True)
    except OSError:
        raise
    except MemoryError as error:
        raise ValueError(f"takes more memory than there is; take the safetensors form of the {kind}") from error
    except UnpicklingError as error:
        raise ValueError(
            "holds more than tensors, and is not loaded because loading it would run its code; take the safetensors "
            f"form of the {kind}"
        ) from error
    except Exception as error:  # a damaged pickle fails wherever its damage leads
        reason = " ".join(str(error).split(".")[0].split()) or type(error).__name__
        raise ValueError(f"not a readable {kind} ({reason}); take a whole copy of it") from error


def plain_tensor(value: object) -> Tensor:
    """A tensor whose every value is in the file.

    Raises:
        ValueError: It is another thing. The text goes on after the name of the value.
    """
    if not isinstance(value, Tensor) or value.layout != torch.strided or value.is_meta or value.is_quantized:
        raise ValueError("is not a plain tensor")
    # A stride of 0 can make a huge tensor of one number.
    if value.untyped_storage().nbytes() < math.prod(value.shape) * value.itemsize:
        raise ValueError(f"has the shape {list(value.shape)} and fewer values than that")
    return value.detach()


def _refuse_bomb(path: Path, kind: str) -> None:
    """Check that a zip holds no more than its own size: `torch.save` never compresses.

    Raises:
        ValueError: It does.
    """
    with path.open("rb") as file:
        if not file.read(len(ZIP)).startswith(ZIP):
            return
    try:
        with zipfile.ZipFile(path) as archive:
            size = sum(part.file_size for part in archive.infolist())
    except OSError:
        raise
    except Exception as error:  # a damaged archive fails wherever its damage leads
        raise ValueError(f"not a readable {kind} (damaged or cut short: {error}); take a whole copy of it") from error
    if size > path.stat().st_size:
        raise ValueError(f"not a readable {kind} (its parts are larger than itself); take a whole copy of it")
