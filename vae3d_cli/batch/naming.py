"""Output names: folder or file, and the kind of file that a suffix means."""

import os
from dataclasses import dataclass
from pathlib import Path, PurePath

from vae3d_cli.batch.finding import PICTURE_SUFFIXES, VIDEO_SUFFIXES
from vae3d_cli.errors import LatentsError, UsageError
from vae3d_cli.files import is_read_once
from vae3d_cli.latents import COMFYUI, MUSUBI, SUFFIXES, VAE3D, LatentsHeader, LatentsReader, kind_of_latents

_LATENT = SUFFIXES[COMFYUI]
# Suffixes with a meaning; any other suffix, such as .bin, may name any file.
_MEANINGS = {
    **dict.fromkeys(VIDEO_SUFFIXES, "a video"),
    **dict.fromkeys(PICTURE_SUFFIXES, "a picture"),
    **dict.fromkeys((".aac", ".flac", ".m4a", ".mp3", ".ogg", ".opus", ".wav"), "sound"),
    SUFFIXES[VAE3D]: "latents",
    _LATENT: "ComfyUI latents (--format comfyui)",
    **dict.fromkeys((".ckpt", ".pt", ".pth"), "a PyTorch file"),
    **dict.fromkeys((".npy", ".npz"), "a NumPy file"),
    **dict.fromkeys((".csv", ".tsv", ".xlsx"), "a table"),
    **dict.fromkeys((".htm", ".html"), "a web page"),
    **dict.fromkeys((".json", ".jsonl"), "JSON"),
    ".pdf": "a PDF",
    **dict.fromkeys((".7z", ".gz", ".tar", ".xz", ".zip", ".zst"), "an archive"),
}


@dataclass(frozen=True)
class Kind:
    """Kind of an output: its name in messages, and the suffixes that it may have, the usual one first."""

    name: str
    suffixes: tuple[str, ...]


# The video writer knows which of these it can write.
VIDEO = Kind("a video", (".mp4", *VIDEO_SUFFIXES, *PICTURE_SUFFIXES))
TABLE = Kind("a table", (".csv",))
PAGE = Kind("a web page", (".html", ".htm"))
_LATENTS = {
    VAE3D: Kind("vae3d latents", (SUFFIXES[VAE3D],)),
    MUSUBI: Kind("musubi-tuner caches", (SUFFIXES[MUSUBI],)),
    COMFYUI: Kind("ComfyUI latents", (_LATENT, SUFFIXES[VAE3D])),  # a .latent is a safetensors file
}


def latents_kind(format_name: str) -> Kind:
    """Latents files of a format."""
    return _LATENTS[format_name]


def check_suffix(text: str, kind: Kind) -> None:
    """Refuse an output whose suffix means another kind of file.

    Raises:
        UsageError: The suffix means another kind of file.
    """
    path = PurePath(text)
    suffix = path.suffix.lower()
    if suffix in _MEANINGS and suffix not in kind.suffixes:
        raise UsageError(
            f"{text}: {suffix} means {_MEANINGS[suffix]}, but this output is {kind.name}; name it "
            f"{path.with_suffix(kind.suffixes[0]).name}"
        )


def names_folder(text: str, option: str, *, for_several: bool) -> bool:
    """Tell whether an output is a folder, in which files get default names.

    It is if it ends with a slash, if it is an existing folder, or if it is for several files.

    Raises:
        UsageError: It is for several files, but has the name of a single file.
    """
    if text.endswith(("/", "/.")) or os.path.isdir(text):  # noqa: PTH112 - a name that cannot be is none
        return True
    if for_several and PurePath(text).suffix.lower() in _MEANINGS:
        raise UsageError(f"{option} {text}: must be a folder, but has a file's name; write {text}/ to make it a folder")
    return for_several


def is_still(source: Path | None) -> bool:
    """Tell whether a latents file was made of a still image: one frame, and a source with a picture's suffix."""
    try:
        if is_read_once(source) or source is None or kind_of_latents(source) != "safetensors":
            return False
        with LatentsReader(source) as latents:
            said = latents.said
    except (LatentsError, OSError):  # reported when the file is decoded
        return False
    name = said.source if isinstance(said, LatentsHeader) else None
    return said.num_frames == 1 and name is not None and PurePath(name).suffix.lower() in PICTURE_SUFFIXES
