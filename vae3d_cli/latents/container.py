"""The safetensors container: where its tensors lie, without mapping the file into memory."""

import json
import struct
from dataclasses import dataclass
from enum import Enum, auto
from pathlib import Path

from safetensors import SafetensorError, safe_open

from vae3d_cli.errors import LatentsError
from vae3d_cli.latents.header import FORMAT

# Our headers take about a kilobyte, ComfyUI's hold a workflow; a longer one is refused before it is read.
_MAX_HEADER_BYTES = 1 << 24
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
    """The header of a safetensors file, checked by safetensors itself.

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
    try:
        # Checks sizes, offsets, holes and overlaps. pread: a mapped file that is cut would kill the process.
        with safe_open(path, "np", backend="pread"):
            pass
        found = json.loads(text)
    except (SafetensorError, ValueError, RecursionError) as error:
        raise LatentsError(f"the file is damaged or cut short ({error}); take a whole copy of it") from error
    metadata = found.pop("__metadata__", None) or {}
    entries = {
        name: Entry(str(part["dtype"]), tuple(part["shape"]), 8 + size + int(part["data_offsets"][0]))
        for name, part in found.items()
    }
    return Structure(entries, {key: str(text) for key, text in metadata.items()})
