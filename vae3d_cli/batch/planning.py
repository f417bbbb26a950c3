"""Where the clips of a run go, decided before any work."""

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePath

from vae3d_cli.batch.finding import Found
from vae3d_cli.codec import EncodeOptions, EncodeResult
from vae3d_cli.errors import UsageError
from vae3d_cli.latents import MUSUBI, SUFFIXES, musubi_pattern


@dataclass(frozen=True, slots=True)
class Clip:
    """What is read and where it goes; `None` is standard input or output. `name` is what people call it.

    `root` is the folder that the outputs of the run share, if there is one; folders below it are made. Of a cache of
    musubi-tuner only the clip that was encoded tells the name, so that `output` has a `*` in its place until it is
    `written`; or it is the first of the `caches` of the clip that are there already.
    """

    name: str
    source: Path | None
    output: Path | None
    options: EncodeOptions
    root: Path | None = None
    caches: tuple[Path, ...] = ()

    @property
    def target(self) -> Path | None:
        """What `encode_video` takes for the output: for musubi-tuner its folder."""
        return self.output.parent if self.output is not None and self.options.format == MUSUBI else self.output

    def written(self, result: EncodeResult) -> "Clip":
        """The same once it is encoded: its output is the file that was written."""
        return self if self.output is None else replace(self, output=Path(result.output))


def plan_clips(found: Sequence[Found], output: Path | None, options: Callable[[Found], EncodeOptions]) -> list[Clip]:
    """A clip of the run for each that was found: below the folder `output`, or beside itself where that is not given.

    Raises:
        UsageError: Two would have one output.
    """
    clips = []
    taken: dict[str, Found] = {}
    for clip in found:
        own = options(clip)
        target = _target(clip, output, own)
        other = taken.setdefault(os.path.normpath(target.absolute()), clip)
        if other is not clip:
            raise UsageError(f"{target}: {other.path} and {clip.path} would both have this name; name them apart")
        clips.append(Clip(str(clip.path), clip.path, target, own, output or clip.folder))
    return clips


def _target(clip: Found, folder: Path | None, options: EncodeOptions) -> Path:
    """The path of the latents file of a clip, as far as it is known; a list names folders for musubi-tuner."""
    beside = clip.path if folder is None else folder / clip.place
    if options.format == MUSUBI:
        frames = options.frames
        start = None if frames.stop == frames.start + 1 else frames.start
        return (beside.parent if clip.output is None else _listed(clip, folder)) / musubi_pattern(clip.path.stem, start)
    return beside.with_suffix(SUFFIXES[options.format]) if clip.output is None else _listed(clip, folder)


def _listed(clip: Found, folder: Path | None) -> Path:
    """The output that a list names."""
    assert clip.output is not None
    if folder is None:
        return Path(clip.output)
    if PurePath(clip.output).is_absolute() or ".." in PurePath(clip.output).parts:
        raise UsageError(
            f"{clip.listed}: the output {clip.output} leads out of {folder}; leave -o out, or name it below"
        )
    return folder / clip.output
