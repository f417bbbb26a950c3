"""Latents that `torch.save` wrote (`.pt`): a dict of finetrainers, or the bare tensor of FastVideo."""

import math
import zipfile
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from vae3d_cli.errors import LatentsError
from vae3d_cli.latents.foreign.header import HUNYUANVIDEO, ForeignHeader, clip_shape
from vae3d_cli.latents.header import MOMENTS, UNKNOWN
from vae3d_cli.pickles import PICKLE, ZIP, load_pickle

FINETRAINERS, BARE_TENSOR = "finetrainers", "fastvideo"
_KEY = "latents"
_FIRST_PART = b"/data.pkl"
# The protocols that pickles name in their second byte.
_PROTOCOLS = b"\x02\x03\x04\x05"


def is_pickle(path: Path) -> bool:
    """Whether a file begins as one of `torch.save` does, whole or not; a quick look, no check."""
    with path.open("rb") as file:
        head = file.read(512)
    if head.startswith(PICKLE):
        return len(head) > 1 and head[1] in _PROTOCOLS
    # The name of a zip's first part stands behind its lengths.
    length = int.from_bytes(head[26:28], "little")
    return head.startswith(ZIP) and head[30 : 30 + length].endswith(_FIRST_PART)


def read_pickle(path: Path) -> tuple[ForeignHeader, Tensor]:
    """What the file says, and its latents or moments `[C, T', h, w]`.

    Raises:
        LatentsError: It holds something else, or cannot be read.
    """
    try:
        _refuse_bomb(path)
        found = load_pickle(path, "latents file")
    except ValueError as error:
        raise LatentsError(str(error)) from error
    except MemoryError as error:
        raise LatentsError("takes more memory than there is; a file of latents is small") from error
    if isinstance(found, Mapping):
        if _KEY not in found:
            raise LatentsError(f"a .pt file without {_KEY!r}; give one of finetrainers or FastVideo that holds latents")
        latents = _plain(found[_KEY], _KEY)
        shape = clip_shape(latents.shape, _KEY, moments=True)
        posterior = UNKNOWN if shape[0] == HUNYUANVIDEO.latent_channels else MOMENTS
        said = ForeignHeader(format=FINETRAINERS, tensor_name=_KEY, shape=shape, posterior=posterior)
        return said, latents.view(shape)
    latents = _plain(found, "tensor")
    shape = clip_shape(latents.shape, "tensor")
    said = ForeignHeader(format=BARE_TENSOR, tensor_name="tensor", shape=shape, scaled=None)
    return said, latents.view(shape)


def _refuse_bomb(path: Path) -> None:
    """See that a zip holds no more than its own size: `torch.save` never compresses.

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
        raise ValueError(f"the file is damaged or cut short ({error}); take a whole copy of it") from error
    if size > path.stat().st_size:
        raise ValueError("not a readable latents file (its parts are larger than itself); take a whole copy of it")


def _plain(value: object, name: str) -> Tensor:
    """A tensor whose every value is in the file.

    Raises:
        LatentsError: It is none.
    """
    if not isinstance(value, Tensor) or value.layout != torch.strided or value.is_meta or value.is_quantized:
        raise LatentsError(f"its {name!r} is no plain tensor; give one of finetrainers or FastVideo that holds latents")
    # A stride of 0 can make a huge tensor of one number.
    if value.untyped_storage().nbytes() < math.prod(value.shape) * value.itemsize:
        raise LatentsError(f"its {name!r} has the shape {list(value.shape)} and fewer values than that; it is damaged")
    return value.detach()
