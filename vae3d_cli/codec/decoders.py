"""Which model decodes a latents file."""

import os
import shlex
from functools import lru_cache
from pathlib import Path

from vae3d_cli.codec.outputs import display_name
from vae3d_cli.errors import LatentsError, Vae3dError
from vae3d_cli.files import FileStamp, is_read_once
from vae3d_cli.latents import LatentsHeader, LatentsReader
from vae3d_cli.latents.container import is_safetensors
from vae3d_cli.weights import KNOWN_MODELS, read_checkpoint


def decoder_of(latents: LatentsReader, source: Path | None, default: str | None) -> tuple[str, tuple[str, ...]]:
    """The name or the path of the model for a file, `source` (`None` is standard input), with notes.

    A known model that the file names comes first. Of a checkpoint of one's own the file knows the base name alone: a
    checkpoint of that name and that encoder is looked for beside the file and in the current folder. Then `default`.

    Raises:
        LatentsError: There is none of these.
    """
    header = latents.header
    if header.model in KNOWN_MODELS:
        return header.model, ()
    found = _checkpoint_near(header, source)
    if found is not None:
        return found, (f"{latents.name}: decoded with {found}, which has the encoder that made it",)
    if default is not None:
        return default, (f"{latents.name}: decoded with {default}; cannot find {header.model}, which made it",)
    model = header.model if "/" in header.model.removeprefix("./") else f"PATH/{header.model.removeprefix('./')}"
    command = f"vae3d decode {shlex.quote(display_name(source))} -m {shlex.quote(model)}"
    raise LatentsError(
        f"{latents.name}: cannot find the checkpoint {header.model} that made it, beside it or in the current folder; "
        f"give its path: {command}"
    )


def _checkpoint_near(header: LatentsHeader, source: Path | None) -> str | None:
    """The path of the checkpoint that the file names, if it is in the folder of the file or in the current one."""
    base = header.model.removeprefix("./")
    if base in ("", "..") or Path(base).name != base:
        return None
    folders = [Path()] if source is None or is_read_once(source) else [source.parent, Path()]
    # With its folder, also the current one: `tiny` would be the name of a model.
    paths = [os.path.join(folder, base) for folder in folders]  # noqa: PTH118 - a Path drops the leading `./`
    return next((path for path in paths if _encoder_of(Path(path)) == header.encoder_sha256), None)


def _encoder_of(path: Path) -> str | None:
    """The hash of a checkpoint's encoder; `None` where it is none, or not of safetensors.

    Nobody asked for this file, so a pickle is not read.
    """
    try:
        if not path.is_file() or not is_safetensors(path):
            return None
        return _encoder_sha256(path, FileStamp.of(path))
    except (OSError, ValueError, Vae3dError):  # a name that no file can have, a file of something else
        return None


@lru_cache(maxsize=8)
def _encoder_sha256(path: Path, _stamp: FileStamp) -> str:
    """Read once for all latents files beside it, as long as it does not change."""
    return read_checkpoint(path).encoder_sha256
