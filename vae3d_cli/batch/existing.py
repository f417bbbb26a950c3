"""Decides whether an existing latents file is up to date, stale, corrupt or not ours."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from enum import Enum, auto
from pathlib import Path

from vae3d_cli.batch.manifest import Entry, FileState
from vae3d_cli.batch.planning import Clip
from vae3d_cli.errors import LatentsError
from vae3d_cli.files import FileStamp, sha256_of
from vae3d_cli.latents import MUSUBI, LatentsReader, Owner, owner_of
from vae3d_cli.remote import Location, stamp_of
from vae3d_cli.weights import Model


class State(Enum):
    """An existing output: as it would be made now, made of something else, not whole, or not ours."""

    UP_TO_DATE = auto()
    STALE = auto()
    CORRUPT = auto()
    FOREIGN = auto()


@dataclass(frozen=True, kw_only=True)
class Policy:
    """How to treat existing outputs. By default an existing output is an error.

    `skip_existing` keeps every whole file and makes corrupt ones of ours again. `update` makes stale ones again, too.
    Neither replaces a file that is not ours. `force` replaces every output; with one of the others it keeps those
    that are up to date.
    """

    force: bool = False
    skip_existing: bool = False
    update: bool = False

    @property
    def looks(self) -> bool:
        """Whether an existing output is looked at, and perhaps kept."""
        return self.skip_existing or self.update

    def keeps(self, state: State) -> bool:
        """Whether an existing output in this state stays."""
        stale, foreign = not (self.update or self.force), not self.force
        return {State.UP_TO_DATE: True, State.STALE: stale, State.CORRUPT: False, State.FOREIGN: foreign}[state]


@dataclass(frozen=True)
class Judgement:
    """The state of an output and the reason, which reads on from "its output is".

    `entry` is what the manifest of its folder does not know yet.
    """

    state: State
    reason: str
    entry: Entry | None = None


UP_TO_DATE = Judgement(State.UP_TO_DATE, "up to date")
OTHER_SETTINGS = Judgement(State.STALE, "made with other settings or another model")
OTHER_CONTENT = Judgement(State.STALE, "made from a source that has changed since")
CORRUPT = Judgement(State.CORRUPT, "corrupt")
NOT_OURS = Judgement(State.FOREIGN, "not a latents file of this version of vae3d")
NOT_LISTED = Judgement(State.FOREIGN, "not listed in the manifest")
CHANGED_CACHE = Judgement(State.FOREIGN, "not the cache that was written")
SEVERAL_CACHES = Judgement(State.FOREIGN, "one of several caches")
# The stamp of a source that nobody has looked at: no file has it.
_NO_FILE = FileStamp(-1, 0, 0)


def judge(clip: Clip, model: Model, entry: Entry | None, fetch: Callable[[Location], Path]) -> Judgement:
    """Look at the existing output of a clip; `entry` is what the manifest knows of it.

    A file whose size and times are those of the manifest has not changed since. Any other is read, from the local copy
    that `fetch` gives.

    Raises:
        InputError: The clip cannot be read.
        StoreError: An object cannot be read.
    """
    source, output = clip.source, clip.output
    assert source is not None
    assert output is not None
    if len(clip.caches) > 1:
        return SEVERAL_CACHES
    stamp = stamp_of(output)
    made: Entry | Judgement
    if entry is not None and entry.latents.stamp == stamp:
        made = entry
    elif clip.options.format == MUSUBI:
        made = _listed_cache(fetch(output), stamp, entry)
    else:
        made = _described_by_itself(fetch(output), stamp, entry)
    if isinstance(made, Judgement):
        return made
    if (made.encoder_sha256, made.settings) != (model.encoder_sha256, clip.options.settings(model)):
        return OTHER_SETTINGS
    stamp = stamp_of(source)
    content = made.source.sha256 if made.source.stamp == stamp else sha256_of(fetch(source))
    if content is None or content != made.source.sha256:
        return OTHER_CONTENT
    if made is entry and made.source.stamp == stamp:
        return UP_TO_DATE
    known = replace(made, source=FileState(stamp=stamp, sha256=content), replaces=(), seconds=None)
    return replace(UP_TO_DATE, entry=known)


def _described_by_itself(file: Path, stamp: FileStamp, entry: Entry | None) -> Entry | Judgement:
    """Read from a latents file how it was made, or say why the file does not count."""
    owner = owner_of(file)
    if owner is Owner.OTHERS or (owner is Owner.UNKNOWN and entry is None):
        return NOT_OURS
    try:
        with LatentsReader(file) as latents:
            latents.check()
            header, shape = latents.header, latents.shape
    except LatentsError:
        return CORRUPT
    made = Entry(
        source=FileState(stamp=_NO_FILE, sha256=header.source_sha256),
        latents=FileState(stamp=stamp, sha256=sha256_of(file)),
        encoder_sha256=header.encoder_sha256,
        settings=header.settings or {},
        model=header.model,
        num_frames=header.num_frames,
        latents_shape=shape,
        seconds=None,
    )
    if entry is None or _made_of(entry) != _made_of(made):
        return made
    # The values may make sense, but other bytes were written.
    return replace(made, source=entry.source) if entry.latents.sha256 == made.latents.sha256 else CORRUPT


def _made_of(entry: Entry) -> tuple[str, dict[str, object], str | None]:
    return entry.encoder_sha256, entry.settings, entry.source.sha256


def _listed_cache(file: Path, stamp: FileStamp, entry: Entry | None) -> Entry | Judgement:
    """Take from the manifest how a cache of musubi-tuner was made, or say why the cache does not count."""
    if entry is None:
        return NOT_LISTED
    sha256 = sha256_of(file)
    if sha256 == entry.latents.sha256:
        return replace(entry, latents=FileState(stamp=stamp, sha256=sha256))
    # A whole file may be musubi-tuner's own: its caches have the same names.
    return CHANGED_CACHE if _is_whole(file) else CORRUPT


def judge_converted(source: Path, output: Path) -> Judgement:
    """Look at the existing output of a conversion, which is stale where `source` is newer.

    A cache of musubi-tuner does not say who wrote it, so none counts as ours.

    Raises:
        InputError: The source is not there.
    """
    if owner_of(output) is not Owner.OURS:
        return NOT_OURS
    if not _is_whole(output):
        return CORRUPT
    return OTHER_CONTENT if FileStamp.of(source).mtime_ns > FileStamp.of(output).mtime_ns else UP_TO_DATE


def _is_whole(path: Path) -> bool:
    """Whether all values of a latents file can be read, and are finite."""
    try:
        with LatentsReader(path) as latents:
            latents.check()
    except LatentsError:
        return False
    return True
