"""A run over many clips: check all, then have an engine encode them; one that fails does not stop the others."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path
from queue import SimpleQueue
from typing import Protocol

from vae3d_cli.batch.caches import locate_caches
from vae3d_cli.batch.checks import Checks
from vae3d_cli.batch.existing import Policy
from vae3d_cli.batch.manifests import Manifests
from vae3d_cli.batch.planning import Clip
from vae3d_cli.batch.tasks import Deliver, Outcome, Task, Watch, failure, run_tasks
from vae3d_cli.codec import Progress
from vae3d_cli.remote import RemotePath
from vae3d_cli.temporary import remove_orphans
from vae3d_cli.weights import Model


class Engine(Protocol):
    """Where clips are encoded."""

    def run(self, tasks: Iterator[Task], policy: Policy, watch: Watch, record: Deliver, show: Deliver) -> None:
        """Encode all clips; what ends the whole run is raised.

        What came of a clip goes to `record` at once, in any thread but one at a time, also while the run is ended; and
        to `show` in this thread.
        """


class _Undelivered(BaseException):
    """An outcome could not be recorded or shown, which is no error of the clip that was in the model meanwhile."""

    def __init__(self, error: Exception) -> None:
        self.error = error


class InProcess:
    """The engine that is this process, with a model that is loaded."""

    def __init__(self, model: Model) -> None:
        self._model = model

    def run(self, tasks: Iterator[Task], policy: Policy, watch: Watch, record: Deliver, show: Deliver) -> None:
        """See `run_tasks`; outcomes are shown as soon as the model lets it."""
        outcomes: SimpleQueue[Outcome | Exception] = SimpleQueue()

        def deliver(outcome: Outcome) -> None:
            try:
                record(outcome)
            except Exception as error:
                outcomes.put(error)
            else:
                outcomes.put(outcome)

        def show_ready() -> None:
            while not outcomes.empty():
                try:
                    outcome = outcomes.get()
                    if isinstance(outcome, Exception):
                        raise outcome
                    show(outcome)
                except Exception as error:
                    raise _Undelivered(error) from error

        @contextmanager
        def showing(clip: Clip) -> Iterator[Progress]:
            with watch(clip) as progress:

                def tell(done: int, total: int | None) -> None:
                    progress(done, total)
                    show_ready()

                yield tell

        try:
            with closing(run_tasks(tasks, self._model, policy, showing, deliver)) as steps:
                for _ in steps:
                    show_ready()
            show_ready()
        except _Undelivered as undelivered:
            raise undelivered.error from None


def check_clips(clips: Sequence[Clip], policy: Policy) -> tuple[list[Clip], list[Outcome]]:
    """The clips that are to be encoded or looked at, and what is known of the others before any work."""
    checks = Checks(overwrite=policy.force or policy.looks)
    ready, outcomes = [], []
    for given in locate_caches(clips):
        clip = given
        try:
            clip = checks.located(given)
            exists = checks.check(clip)
        except Exception as error:
            outcomes.append(Outcome(clip=clip, error=failure(error)))
        else:
            if exists and policy.looks and not _can_be_compared(clip):
                outcomes.append(Outcome(clip=clip, skipped="there, and cannot be compared"))
            else:
                ready.append(replace(clip, existed=True) if exists else clip)
    return ready, outcomes


def encode_clips(
    clips: Sequence[Clip],
    engine: Engine,
    policy: Policy,
    manifests: Manifests,
    watch: Watch,
    show: Callable[[Outcome], None],
) -> None:
    """Encode clips, write what came of each into its manifest, and `show` it.

    Raises:
        OutputError: A manifest cannot be written.
    """

    def record(outcome: Outcome) -> None:
        manifest = manifests.of(outcome.clip)
        if manifest is not None and outcome.entry is not None:
            manifest.add(outcome.written, outcome.entry)
        elif manifest is not None and outcome.error is not None:
            manifest.add_error(outcome.clip, outcome.error)

    folders: set[Path] = set()
    engine.run(_tasks(clips, manifests, folders), policy, watch, record, show)
    for folder in folders:
        remove_orphans(folder)  # of workers that were lost


def _tasks(clips: Sequence[Clip], manifests: Manifests, seen: set[Path]) -> Iterator[Task]:
    """Clip after clip; what killed runs left in a folder is taken away before its first, and then it was seen."""
    for clip in clips:
        manifest = manifests.of(clip)
        if manifest is not None and isinstance(clip.output, Path) and clip.output.parent not in seen:
            seen.add(clip.output.parent)
            remove_orphans(clip.output.parent)
        yield Task(clip, manifest.entry_of(clip) if manifest else None)


def _can_be_compared(clip: Clip) -> bool:
    """Whether it can be told if the output is what it would be: of a pipe, and of a device, it cannot."""
    return all(
        isinstance(path, RemotePath) or (path is not None and path.is_file()) for path in (clip.source, clip.output)
    )
