"""The loop over the clips of a run: check all, then encode each; one that fails does not stop the others."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

from vae3d_cli.batch.checks import Checks
from vae3d_cli.batch.existing import NOT_OURS, judge
from vae3d_cli.batch.manifest import Entry, FileState, Manifest, Manifests
from vae3d_cli.batch.planning import Clip
from vae3d_cli.codec import EncodeResult, encode_video
from vae3d_cli.codec.encode import Progress
from vae3d_cli.errors import Interrupted, OutputError, UsageError
from vae3d_cli.files import FileStamp, remove_orphans, sha256_of
from vae3d_cli.weights import Model


@dataclass(frozen=True)
class Policy:
    """What becomes of outputs that exist; by default they are an error.

    `skip_existing` keeps those that are what they would be, makes those of ours that are not again, and never replaces
    others; with `force` it does.
    """

    force: bool = False
    skip_existing: bool = False


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What came of a clip: a result or an error, or neither where it was `skipped`, which says why.

    `again` says why an output that was there already was made again.
    """

    clip: Clip
    result: EncodeResult | None = None
    error: Exception | None = None
    skipped: str = ""
    again: str = ""


Watch = Callable[[Clip], AbstractContextManager[Progress]]
"""Opens what is told of the frames of a clip."""


def check_clips(clips: Sequence[Clip], policy: Policy) -> tuple[list[Clip], list[Outcome]]:
    """The clips that are to be encoded or looked at, and what is known of the others before any work."""
    checks = Checks(overwrite=policy.force or policy.skip_existing)
    ready, outcomes = [], []
    for clip in clips:
        try:
            exists = checks.check(clip)
        except Exception as error:
            outcomes.append(Outcome(clip=clip, error=_failure(error)))
        else:
            if exists and policy.skip_existing and not _can_be_compared(clip):
                outcomes.append(Outcome(clip=clip, skipped="its output exists"))
            else:
                ready.append(clip)
    return ready, outcomes


def encode_clips(
    clips: Sequence[Clip], model: Model, policy: Policy, manifests: Manifests, watch: Watch
) -> Iterator[Outcome]:
    """Encode one clip after the other, and say what came of each; what ends the whole run is raised.

    Raises:
        OutputError: A manifest cannot be written.
    """
    seen: set[Path] = set()
    for clip in clips:
        manifest = manifests.of(clip)
        if manifest is not None and clip.output is not None and clip.output.parent not in seen:
            seen.add(clip.output.parent)
            remove_orphans(clip.output.parent)
        try:
            outcome = _encode(clip, model, policy, manifest, watch)
        except Exception as error:
            outcome = Outcome(clip=clip, error=_failure(error))
            if manifest is not None:
                manifest.add_error(clip, error)
        yield outcome


def _encode(clip: Clip, model: Model, policy: Policy, manifest: Manifest | None, watch: Watch) -> Outcome:
    """Encode a clip, unless its output is what it would be, and have the manifest know it."""
    again = ""
    if policy.skip_existing and clip.output is not None and clip.output.exists():
        judgement = judge(clip, model, manifest.entry_of(clip) if manifest else None)
        if judgement.keep and not (policy.force and judgement.reason == NOT_OURS):
            if manifest is not None and judgement.entry is not None:
                manifest.add(clip, judgement.entry)
            return Outcome(clip=clip, skipped=judgement.reason)
        again = judgement.reason
    _make_folder(clip)
    before = None if clip.source is None else FileStamp.of(clip.source)
    with watch(clip) as progress:
        result = encode_video(clip.source, clip.output, model, clip.options, progress)
    if manifest is not None and clip.output is not None and before is not None:
        manifest.add(clip, _entry(clip.output, before, result))
    return Outcome(clip=clip, result=result, again=again)


def _entry(output: Path, source: FileStamp, result: EncodeResult) -> Entry:
    """What the manifest says of a clip that was encoded."""
    header = result.header
    return Entry(
        source=FileState(stamp=source, sha256=header.source_sha256),
        latents=FileState(stamp=FileStamp.of(output), sha256=sha256_of(output)),
        encoder_sha256=header.encoder_sha256,
        settings=header.settings or {},
        model=header.model,
        num_frames=header.num_frames,
        latents_shape=result.latents_shape,
        seconds=round(result.seconds["total"] - result.seconds["load"], 4),
    )


def _can_be_compared(clip: Clip) -> bool:
    """Whether it can be told if the output is what it would be: of a pipe, and of a device, it cannot."""
    return all(path is not None and path.is_file() for path in (clip.source, clip.output))


def _failure(error: Exception) -> Exception:
    """An error of one clip; one that ends the whole run is raised again."""
    if isinstance(error, UsageError | Interrupted | BrokenPipeError):
        raise error
    return error


def _make_folder(clip: Clip) -> None:
    """Make the folder of an output that mirrors the inputs; that of a single output must be there."""
    if clip.root is None or clip.output is None:
        return
    try:
        clip.output.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"{clip.output.parent}: {error.strerror}; name another folder with -o") from error
