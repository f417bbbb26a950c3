"""Pickles of tensors, from which no code is ever run."""

import warnings
from pathlib import Path
from pickle import UnpicklingError

import torch

ZIP, PICKLE = b"PK\x03\x04", b"\x80"
# The first torch whose `weights_only` runs no code of a hostile file.
SAFE_PICKLES = (2, 6)


def load_pickle(path: Path, kind: str) -> object:
    """What `torch.save` wrote, on the CPU; `kind` is what the file should be, for errors.

    Raises:
        ValueError: It cannot be read, or not safely. The text says why and what to do, and does not name the file.
        OSError, MemoryError: The system has something against it.
    """
    if tuple(map(int, torch.__version__.split(".")[:2])) < SAFE_PICKLES:
        raise ValueError(
            f"a pickle, which torch {torch.__version__} cannot read safely (CVE-2025-32434); update torch, or take the "
            f"safetensors form of the {kind}"
        )
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch's advice is for who made the file, not for who has it
            return torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, MemoryError):
        raise
    except UnpicklingError as error:
        raise ValueError(
            "holds more than tensors, and is not loaded because loading it would run its code; take the safetensors "
            f"form of the {kind}"
        ) from error
    except Exception as error:  # a damaged pickle fails wherever its damage leads
        reason = " ".join(str(error).split(".")[0].split()) or type(error).__name__
        raise ValueError(f"not a readable {kind} ({reason}); take a whole copy of it") from error
