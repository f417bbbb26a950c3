"""Where the clips of a run go, decided before any work."""

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath

from vae3d_cli.batch.finding import Found
from vae3d_cli.codec import EncodeOptions
from vae3d_cli.errors import UsageError

LATENTS_SUFFIX = ".safetensors"


@dataclass(frozen=True, slots=True)
class Clip:
    """What is read and where it goes; `None` is standard input or output. `name` is what people call it.

    `root` is the folder that the outputs of the run share, if there is one; folders below it are made.
    """

    name: str
    source: Path | None
    output: Path | None
    options: EncodeOptions
    root: Path | None = None


def plan_clips(found: Sequence[Found], output: Path | None, options: Callable[[Found], EncodeOptions]) -> list[Clip]:
    """A clip of the run for each that was found: below the folder `output`, or beside itself where that is not given.

    Raises:
        UsageError: Two would have one output.
    """
    clips = []
    taken: dict[str, Found] = {}
    for clip in found:
        target = _target(clip, output)
        other = taken.setdefault(os.path.normpath(target.absolute()), clip)
        if other is not clip:
            raise UsageError(f"{target}: {other.path} and {clip.path} would both have this name; name them apart")
        clips.append(Clip(str(clip.path), clip.path, target, options(clip), output or clip.folder))
    return clips


def _target(clip: Found, folder: Path | None) -> Path:
    """The path of the latents file of a clip."""
    if clip.output is None:
        return (clip.path if folder is None else folder / clip.place).with_suffix(LATENTS_SUFFIX)
    if folder is None:
        return Path(clip.output)
    if PurePath(clip.output).is_absolute() or ".." in PurePath(clip.output).parts:
        raise UsageError(
            f"{clip.listed}: the output {clip.output} leads out of {folder}; leave -o out, or name it below"
        )
    return folder / clip.output
