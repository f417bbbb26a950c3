"""The loop over the clips of a run: check all, then encode each; one that fails does not stop the others."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass

from vae3d_cli.batch.checks import Checks
from vae3d_cli.batch.planning import Clip
from vae3d_cli.codec import EncodeResult, encode_video
from vae3d_cli.codec.encode import Progress
from vae3d_cli.errors import Interrupted, OutputError, UsageError
from vae3d_cli.weights import Model


@dataclass(frozen=True)
class Policy:
    """What becomes of outputs that exist; by default they are an error."""

    force: bool = False
    skip_existing: bool = False


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What came of a clip: a result or an error, or neither where it was `skipped`, which says why."""

    clip: Clip
    result: EncodeResult | None = None
    error: Exception | None = None
    skipped: str = ""


Watch = Callable[[Clip], AbstractContextManager[Progress]]
"""Opens what is told of the frames of a clip."""


def check_clips(clips: Sequence[Clip], policy: Policy) -> tuple[list[Clip], list[Outcome]]:
    """The clips that can be encoded, and what is known of the others before any work."""
    checks = Checks(overwrite=policy.force or policy.skip_existing)
    ready, outcomes = [], []
    for clip in clips:
        try:
            exists = checks.check(clip)
        except Exception as error:
            outcomes.append(Outcome(clip=clip, error=_failure(error)))
        else:
            if exists and policy.skip_existing:
                outcomes.append(Outcome(clip=clip, skipped="its output exists"))
            else:
                ready.append(clip)
    return ready, outcomes


def encode_clips(clips: Sequence[Clip], model: Model, watch: Watch) -> Iterator[Outcome]:
    """Encode one clip after the other, and say what came of each; what ends the whole run is raised."""
    for clip in clips:
        try:
            _make_folder(clip)
            with watch(clip) as progress:
                result = encode_video(clip.source, clip.output, model, clip.options, progress)
        except Exception as error:
            yield Outcome(clip=clip, error=_failure(error))
        else:
            yield Outcome(clip=clip, result=result)


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
