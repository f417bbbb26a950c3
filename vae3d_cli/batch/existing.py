"""Whether a latents file that is there is what would be written, and if not, whether it may be replaced."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from vae3d_cli.batch.manifest import Entry, FileState
from vae3d_cli.batch.planning import Clip
from vae3d_cli.errors import LatentsError
from vae3d_cli.files import FileStamp, sha256_of
from vae3d_cli.latents import MUSUBI, LatentsReader, Owner, owner_of
from vae3d_cli.remote import Location, stamp_of
from vae3d_cli.weights import Model

UP_TO_DATE = "up to date"
NOT_OURS = "its output exists and is no latents file that this version wrote"
NOT_LISTED = "its output exists and is no cache that the manifest knows"
NOT_WRITTEN = "its output is not what was written and may be musubi-tuner's own"
SEVERAL = "several caches of it exist, of which --force makes one"
DAMAGED = "its output is damaged"
OTHER_SETTINGS = "its output was made with other settings or another model"
OTHER_CONTENT = "its output was made of another content"


@dataclass(frozen=True)
class Judgement:
    """Whether an output is kept and why, or why not; `entry` is what its folder's manifest does not know yet.

    One that is not `ours` is kept, unless it is to be replaced whatever it is.
    """

    keep: bool
    reason: str
    entry: Entry | None = None
    ours: bool = True


def judge(clip: Clip, model: Model, entry: Entry | None, fetch: Callable[[Location], Path]) -> Judgement:
    """Look at the output of a clip, which is there; `entry` is what the manifest knows of it.

    A file whose size and times are those of the manifest is what it was then; of any other the bytes decide, which
    `fetch` has on this machine.

    Raises:
        InputError: The clip cannot be read.
        StoreError: The same, of objects.
    """
    source, output = clip.source, clip.output
    assert source is not None
    assert output is not None
    if len(clip.caches) > 1:
        return Judgement(True, SEVERAL, ours=False)
    settings = clip.options.settings(model)
    stamps = stamp_of(source), stamp_of(output)
    if (
        entry is not None
        and (entry.encoder_sha256, entry.settings) == (model.encoder_sha256, settings)
        and (entry.source.stamp, entry.latents.stamp) == stamps
        and entry.source.sha256 is not None
    ):
        return Judgement(True, UP_TO_DATE)
    if clip.options.format == MUSUBI:
        return _judge_cache(fetch(source), fetch(output), (model.encoder_sha256, settings), stamps, entry)
    made_file = fetch(output)
    owner = owner_of(made_file)
    if owner is Owner.OTHERS or (owner is Owner.UNKNOWN and entry is None):
        return Judgement(True, NOT_OURS, ours=False)
    try:
        with LatentsReader(made_file) as latents:
            header = latents.header
            if (header.encoder_sha256, header.settings) != (model.encoder_sha256, settings):
                return Judgement(False, OTHER_SETTINGS)
            unchanged = entry is not None and entry.source.stamp == stamps[0]
            content = entry.source.sha256 if entry is not None and unchanged else sha256_of(fetch(source))
            if header.source_sha256 != content:
                return Judgement(False, OTHER_CONTENT)
            latents.check()
            shape = latents.shape
    except LatentsError:
        return Judgement(False, DAMAGED)
    made = FileState(stamp=stamps[1], sha256=sha256_of(made_file))
    if entry is not None and made.sha256 != entry.latents.sha256:
        return Judgement(False, "its output is not what was written")
    known = Entry(
        source=FileState(stamp=stamps[0], sha256=content),
        latents=made,
        encoder_sha256=header.encoder_sha256,
        settings=settings,
        model=header.model,
        num_frames=header.num_frames,
        latents_shape=shape,
        seconds=None,
    )
    return Judgement(True, UP_TO_DATE, known)


def _judge_cache(
    source: Path,
    output: Path,
    asked: tuple[str, dict[str, object]],
    stamps: tuple[FileStamp, FileStamp],
    entry: Entry | None,
) -> Judgement:
    """Look at a cache of musubi-tuner, which does not say what it was made of: the manifest does, if it made it.

    `asked` are the encoder and the settings of the run, `stamps` those of source and output.
    """
    if entry is None:
        return Judgement(True, NOT_LISTED, ours=False)
    made = entry.latents if entry.latents.stamp == stamps[1] else FileState(stamp=stamps[1], sha256=sha256_of(output))
    if made.sha256 != entry.latents.sha256:
        try:
            with LatentsReader(output) as latents:
                latents.check()
        except LatentsError:
            return Judgement(False, DAMAGED)
        # It is whole: musubi-tuner gives its own caches the same names.
        return Judgement(True, NOT_WRITTEN, ours=False)
    if (entry.encoder_sha256, entry.settings) != asked:
        return Judgement(False, OTHER_SETTINGS)
    content = entry.source.sha256 if entry.source.stamp == stamps[0] else sha256_of(source)
    if content is None or content != entry.source.sha256:
        return Judgement(False, OTHER_CONTENT)
    known = replace(entry, source=FileState(stamp=stamps[0], sha256=content), latents=made, replaces=(), seconds=None)
    return Judgement(True, UP_TO_DATE, known)
