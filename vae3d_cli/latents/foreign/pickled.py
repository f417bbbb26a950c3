"""Latents that `torch.save` wrote (`.pt`): a dict of finetrainers, or the bare tensor of FastVideo."""

from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from vae3d_cli.errors import LatentsError
from vae3d_cli.latents.foreign.header import HUNYUANVIDEO, ForeignHeader, clip_shape
from vae3d_cli.latents.header import MOMENTS, UNKNOWN
from vae3d_cli.pickles import PICKLE, ZIP, load_pickle, plain_tensor

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
        found = load_pickle(path, "latents file")
    except ValueError as error:
        raise LatentsError(str(error)) from error
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


def _plain(value: object, name: str) -> Tensor:
    """The tensor that the file should hold under this name.

    Raises:
        LatentsError: It is another thing.
    """
    try:
        return plain_tensor(value)
    except ValueError as error:
        raise LatentsError(
            f"its {name!r} {error}; give a file of finetrainers or FastVideo that holds latents"
        ) from error
