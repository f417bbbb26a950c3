"""Which model decodes a latents file."""

import os
import shlex
from functools import lru_cache
from pathlib import Path

from vae3d_cli.codec.outputs import display_name
from vae3d_cli.errors import LatentsError, Vae3dError
from vae3d_cli.files import FileStamp, is_read_once
from vae3d_cli.latents import LatentsReader
from vae3d_cli.latents.container import is_safetensors
from vae3d_cli.weights import KNOWN_MODELS, read_checkpoint


def decoder_of(latents: LatentsReader, source: Path | None, default: str | None) -> tuple[str, tuple[str, ...]]:
    """The name or path of the model that decodes the file `source` (`None` is standard input), with notes.

    A known model that the file names comes first. Of a user's own checkpoint the file holds only the base name: a file
    of that name is searched next to the latents and in the current folder, and taken if its encoder is the same.
    `default` comes last.

    Raises:
        LatentsError: None of them is there.
    """
    name = latents.header.model
    if name in KNOWN_MODELS:
        return name, ()
    base = name.removeprefix("./")  # of a file that has the name of a known model
    found = _find_near(base, latents.header.encoder_sha256, source)
    if found is not None:
        return found, (f"{latents.name}: decoded with {found}, found by its name and the hash of its encoder",)
    if default is not None:
        return default, (f"{latents.name}: cannot find {name}, which encoded it; decoded with {default} instead",)
    command = f"vae3d decode {shlex.quote(display_name(source))} -m"
    if "/" in base:
        raise LatentsError(f"{latents.name}: was encoded with {name}; to use it, run {command} {shlex.quote(name)}")
    raise LatentsError(
        f"{latents.name}: cannot find the checkpoint {name}, which encoded it, next to it or in the current folder; "
        f"give its path: {command} {shlex.quote(f'PATH/{base}')}"
    )


def _find_near(base: str, encoder_sha256: str, source: Path | None) -> str | None:
    """The path of the checkpoint `base` with this encoder, next to the latents or in the current folder."""
    if base in ("", "..") or Path(base).name != base:
        return None
    folders = [Path()] if source is None or is_read_once(source) else [source.parent, Path()]
    # `./tiny`, not `tiny`, which would be the known model.
    paths = [os.path.join(folder, base) for folder in folders]  # noqa: PTH118 - a Path drops the leading `./`
    return next((path for path in paths if _encoder_of(Path(path)) == encoder_sha256), None)


def _encoder_of(path: Path) -> str | None:
    """The hash of a checkpoint's encoder; `None` for anything but a checkpoint in safetensors form.

    The user did not name this file, so a pickle is not read.
    """
    try:
        if not path.is_file() or not is_safetensors(path):
            return None
        return _encoder_sha256(path, FileStamp.of(path))
    except (OSError, ValueError, Vae3dError):  # an impossible file name, or another kind of file
        return None


@lru_cache(maxsize=8)
def _encoder_sha256(path: Path, _stamp: FileStamp) -> str:
    """The hash, computed once for many latents files; the stamp changes with the file."""
    return read_checkpoint(path).encoder_sha256
