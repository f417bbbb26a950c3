"""The safetensors container: where its tensors lie, without mapping the file into memory."""

import json
import math
import os
import struct
from dataclasses import dataclass
from enum import Enum, auto
from pathlib import Path
from typing import Any

from vae3d_cli.errors import LatentsError
from vae3d_cli.latents.header import FORMAT

# Our headers take about a kilobyte, ComfyUI's hold a workflow; a longer one is refused before it is read.
_MAX_HEADER_BYTES = 1 << 24
# Of a value of each type that tools store latents and what belongs to them in.
_DTYPE_BITS = {
    **dict.fromkeys(("F64", "I64", "U64", "C64"), 64),
    **dict.fromkeys(("F32", "I32", "U32"), 32),
    **dict.fromkeys(("F16", "BF16", "I16", "U16"), 16),
    **dict.fromkeys(("I8", "U8", "BOOL", "F8_E4M3", "F8_E5M2", "F8_E8M0", "F8_E4M3FNUZ", "F8_E5M2FNUZ"), 8),
    **dict.fromkeys(("F6_E2M3", "F6_E3M2"), 6),
    "F4": 4,
}
NOT_LATENTS = "not a vae3d latents file; a video is encoded first, with vae3d encode"


@dataclass(frozen=True)
class Entry:
    """A tensor of the file: its type as safetensors names it, its shape, and where its bytes start in the file."""

    dtype: str
    shape: tuple[int, ...]
    offset: int


@dataclass(frozen=True)
class Structure:
    """What a safetensors file says of its tensors, by name, and its metadata."""

    entries: dict[str, Entry]
    metadata: dict[str, str]


class Owner(Enum):
    """Who wrote a file: this version or an older one, another program or a later version, or nobody can tell."""

    OURS = auto()
    OTHERS = auto()
    UNKNOWN = auto()


def owner_of(path: Path) -> Owner:
    """Who wrote a file, by its header, whatever is left of the rest."""
    try:
        if not is_safetensors(path):
            return Owner.UNKNOWN
        with path.open("rb") as file:
            (size,) = struct.unpack("<Q", file.read(8))
            if size > _MAX_HEADER_BYTES:
                return Owner.OTHERS
            metadata = json.loads(file.read(size)).get("__metadata__") or {}
        return Owner.OURS if metadata.get("format") == FORMAT else Owner.OTHERS
    except (OSError, struct.error, ValueError, AttributeError, RecursionError):
        return Owner.UNKNOWN


def is_safetensors(path: Path) -> bool:
    """Whether a file begins as a safetensors file does; a quick look, no check."""
    with path.open("rb") as file:
        head = file.read(9)
    return len(head) == 9 and head[8:] == b"{" and struct.unpack("<Q", head[:8])[0] <= 100_000_000


def read_structure(path: Path) -> Structure:
    """The header of a safetensors file, checked against the size of the file.

    Not by safetensors, which maps the file for that: one that is cut meanwhile would kill the process.

    Raises:
        LatentsError: It is none, or is damaged.
    """
    if not path.is_file() or not is_safetensors(path):
        raise LatentsError(NOT_LATENTS)
    with path.open("rb") as file:
        (size,) = struct.unpack("<Q", file.read(8))
        if size > _MAX_HEADER_BYTES:
            raise LatentsError(NOT_LATENTS)
        text = file.read(size)
        num_bytes = os.fstat(file.fileno()).st_size - 8 - size
    try:
        found = json.loads(text)
        metadata = {key: str(value) for key, value in (found.pop("__metadata__", None) or {}).items()}
        _check_layout(found, num_bytes)
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise LatentsError(f"the file is damaged or cut short ({error}); take a whole copy of it") from error
    entries = {
        name: Entry(part["dtype"], tuple(part["shape"]), 8 + size + part["data_offsets"][0])
        for name, part in found.items()
    }
    return Structure(entries, metadata)


def _check_layout(found: dict[str, Any], num_bytes: int) -> None:
    """See that the tensors follow one another from the first byte of the data to the last, each of its size.

    Raises:
        ValueError, TypeError, KeyError: They do not.
    """
    position = 0
    for name, part in sorted(found.items(), key=lambda item: tuple(item[1]["data_offsets"])):
        start, stop = part["data_offsets"]
        shape = part["shape"]
        if any(type(number) is not int or number < 0 for number in (start, stop, *shape)):
            raise ValueError(f"the shape or the place of {name!r} is not of whole numbers")
        if part["dtype"] not in _DTYPE_BITS:
            raise ValueError(f"the type of {name!r} is unknown")
        if start != position or 8 * (stop - start) != math.prod(shape) * _DTYPE_BITS[part["dtype"]]:
            raise ValueError(f"the place of {name!r} does not fit its shape and its neighbours")
        position = stop
    if position != num_bytes:
        raise ValueError(f"it has {num_bytes} bytes of data, its header says {position}")
