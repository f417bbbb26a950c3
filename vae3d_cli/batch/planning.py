"""Where the clips of a run go, decided before any work."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePath

from vae3d_cli.batch.finding import Found, is_folder
from vae3d_cli.batch.listing import OUTPUT
from vae3d_cli.batch.naming import check_suffix, latents_kind, names_folder
from vae3d_cli.codec import EncodeOptions, EncodeResult
from vae3d_cli.errors import UsageError
from vae3d_cli.latents import MUSUBI, SUFFIXES, musubi_pattern
from vae3d_cli.remote import Location, RemotePath, is_url, location


@dataclass(frozen=True, slots=True)
class Clip:
    """What is read and where it goes; `None` is standard input or output. `name` is what people call it.

    `root` is the folder that the outputs of the run share, if there is one; folders below it are made. Of a cache of
    musubi-tuner only the clip that was encoded tells the name, so that `output` has a `*` in its place until it is
    `written`; or it is the first of the `caches` of the clip that are there already. `makes_folder` makes
    the output's folder where `root` is not given, and `existed` says that the output existed before the run.
    """

    name: str
    source: Location | None
    output: Location | None
    options: EncodeOptions
    root: Location | None = None
    caches: tuple[Path, ...] = ()
    makes_folder: bool = False
    existed: bool = False

    def written(self, result: EncodeResult) -> "Clip":
        """The same once it is encoded: its output is the file that was written."""
        return replace(self, output=Path(result.output)) if isinstance(self.output, Path) else self


def plan_clips(
    found: Sequence[Found], output: Location | None, options: Callable[[Found], EncodeOptions]
) -> list[Clip]:
    """A clip of the run for each that was found: below the folder `output`, or beside itself where that is not given.

    Raises:
        UsageError: An output has the name of another kind of file, or a cache of musubi-tuner would be an object in a
            store.
    """
    clips = []
    for clip in found:
        own = options(clip)
        clips.append(Clip(str(clip.path), clip.path, _target(clip, output, own), own, output or clip.folder))
    return clips


def _target(clip: Found, folder: Location | None, options: EncodeOptions) -> Location:
    """The path of the latents file of a clip, as far as it is known; a list names folders for musubi-tuner."""
    beside = clip.path if folder is None else folder / clip.place
    if options.format != MUSUBI:
        suffix = SUFFIXES[options.format]
        return beside.with_suffix(suffix) if clip.output is None else _listed_file(clip, folder, options.format)
    place = beside.parent if clip.output is None else _listed(clip, folder)
    if clip.output is not None:
        names_folder(clip.output, f"{clip.listed}: {OUTPUT}", for_several=True)
    if isinstance(place, RemotePath):
        raise UsageError(f"{place}: musubi-tuner reads its caches from a folder of this machine; name one with -o")
    frames = options.frames
    start = None if frames.stop == frames.start + 1 else frames.start
    return place / musubi_pattern(clip.path.stem, start)


def _listed_file(clip: Found, folder: Location | None, format_name: str) -> Location:
    """Return the latents file that a list names, or the default name in a folder that it names."""
    assert clip.output is not None
    place = _listed(replace(clip, output=clip.output.rstrip("/")), folder)
    if clip.output.endswith("/") or (isinstance(place, Path) and is_folder(place)):
        return place / f"{clip.path.stem}{SUFFIXES[format_name]}"
    try:
        check_suffix(clip.output, latents_kind(format_name))
    except UsageError as error:
        raise UsageError(f"{clip.listed}: {error}") from error
    return place


def _listed(clip: Found, folder: Location | None) -> Location:
    """The output that a list names."""
    assert clip.output is not None
    if folder is None:
        return location(clip.output)
    if is_url(clip.output) or PurePath(clip.output).is_absolute() or ".." in PurePath(clip.output).parts:
        raise UsageError(
            f"{clip.listed}: the output {clip.output} leads out of {folder}; leave -o out, or name it below"
        )
    return folder / clip.output
