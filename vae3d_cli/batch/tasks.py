"""Clips through a model: while one is in it, the next one is opened and read, and the one before is written."""

import contextlib
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from threading import Event

from vae3d_cli.batch.caches import take_place
from vae3d_cli.batch.existing import Policy, State, judge
from vae3d_cli.batch.manifest import Entry, FileState
from vae3d_cli.batch.planning import Clip
from vae3d_cli.batch.staging import Staging
from vae3d_cli.codec import EncodeResult, Encoding, Progress, WorkBehind, read_ahead
from vae3d_cli.errors import Interrupted, OutputError, UsageError
from vae3d_cli.files import FileStamp, is_read_once, is_special, sha256_of
from vae3d_cli.remote import RemotePath, stamp_of
from vae3d_cli.weights import Model

# Clips that may wait on either side of the model: more would only take memory.
_DEPTH = 1
# How often a thread that waits for the reading of a clip looks whether it is still wanted.
_PATIENCE_SECONDS = 0.1


@dataclass(frozen=True)
class Task:
    """A clip to encode, and what the manifest knows of its output."""

    clip: Clip
    entry: Entry | None = None


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What came of a clip: a result, an error, or neither where it was `skipped`.

    `skipped` and `again` give the reason why an existing output was kept or made again, and read on from "its output
    is". `is_stale` tells that the output that was kept would be another now. `entry` is for the manifest.
    """

    clip: Clip
    result: EncodeResult | None = None
    error: Exception | None = None
    skipped: str = ""
    is_stale: bool = False
    again: str = ""
    entry: Entry | None = None

    @property
    def written(self) -> Clip:
        """The clip, with the output that was written."""
        return self.clip if self.result is None else self.clip.written(self.result)


Watch = Callable[[Clip], AbstractContextManager[Progress]]
"""Opens what is told of the frames of a clip."""
Deliver = Callable[[Outcome], None]
"""Takes the outcomes, one at a time, as they come."""


def failure(error: Exception) -> Exception:
    """An error of one clip; one that ends the whole run is raised again."""
    if isinstance(error, UsageError | Interrupted | BrokenPipeError):
        raise error
    return error


def run_tasks(
    tasks: Iterable[Task],
    model: Model,
    policy: Policy,
    watch: Watch,
    deliver: Deliver,
    stopped: Event | None = None,
) -> Generator[None, None, None]:
    """Encode clips in the order of the tasks, and yield after each that was in the model.

    `tasks` are taken and outcomes are delivered in threads of their own; `stopped` is set when no more tasks are
    wanted, for an iterator that waits for them. Pipes are read and written in this thread, which signals reach.
    """
    stopped = stopped or Event()

    def opened() -> Iterator[_Work]:
        before: _Work | None = None
        for task in tasks:
            if stopped.is_set():
                return
            work = _Work(task, model, policy, stopped)
            work.fetch()
            while before is not None and not before.has_read.wait(_PATIENCE_SECONDS):
                if stopped.is_set():
                    work.close()
                    return
            before = work
            work.open()
            yield work

    def finish(work: _Work) -> None:
        try:
            deliver(work.finish())
        finally:
            work.close()

    work: _Work | None = None
    with (
        contextlib.closing(read_ahead(opened(), _DEPTH, _Work.close, stopped)) as ahead,
        contextlib.ExitStack() as stack,
        WorkBehind(finish, _DEPTH, _Work.close, stopped) as behind,
    ):
        stack.callback(lambda: work.close() if work else None)  # once no thread may be writing it
        for work in ahead:
            work.run(watch)
            behind.put(work)
            yield


class _Work:
    """A task on its way through the steps of its encoding, and its outcome once that is known."""

    def __init__(self, task: Task, model: Model, policy: Policy, stopped: Event) -> None:
        self._task, self._model, self._policy = task, model, policy
        self._clip = clip = task.clip
        self._staging = staging = Staging(clip, stopped)
        overwrite = clip.existed or policy.force
        self._encoding = Encoding(staging.source, staging.output, model, clip.options, overwrite=overwrite)
        self.has_read = self._encoding.has_read
        self._source: FileStamp | None = None
        self._again = ""
        self._outcome: Outcome | None = None
        self._waits = (
            (not isinstance(clip.source, RemotePath) and is_read_once(clip.source))
            or clip.output is None
            or (isinstance(clip.output, Path) and is_special(clip.output))
        )

    def close(self) -> None:
        """Take away what there is of it; the output stays."""
        self._encoding.close()
        self._staging.close()

    def fetch(self) -> None:
        """See what is there, and download what of the clip is in a store."""
        with self._step():
            self._outcome = self._judge()
            if self._outcome is not None:
                self.close()
            elif isinstance(self._clip.source, RemotePath):
                self._source = stamp_of(self._clip.source)
                self._staging.fetch(self._clip.source)

    def open(self) -> None:
        """Open the clip, and begin to read it."""
        if self._outcome is None and not self._waits:
            with self._step():
                self._open()

    def run(self, watch: Watch) -> None:
        """Run the model over the clip."""
        if self._outcome is None:
            with self._step(), watch(self._clip) as progress:
                if self._waits:
                    self._open()
                self._encoding.run(progress)
        if self._outcome is None and self._waits:
            self.finish()

    def finish(self) -> Outcome:
        """Write the latents, and say what came of the clip."""
        if self._outcome is None:
            with self._step():
                result = self._staging.renamed(self._encoding.write())
                stamp = self._staging.upload()
                result, others = take_place(self._clip, result)
                entry = self._entry(result, stamp, others)
                self._outcome = Outcome(clip=self._clip, result=result, again=self._again, entry=entry)
            self.close()
        assert self._outcome is not None
        return self._outcome

    def _judge(self) -> Outcome | None:
        """The outcome of a clip whose existing output is kept."""
        clip, entry = self._clip, self._task.entry
        if self._policy.looks and clip.existed and clip.output is not None and clip.output.exists():
            judgement = judge(clip, self._model, entry, self._staging.fetch)
            if self._policy.keeps(judgement.state):
                is_stale = judgement.state is State.STALE
                return Outcome(clip=clip, skipped=judgement.reason, is_stale=is_stale, entry=judgement.entry)
            self._again = judgement.reason
        return None

    def _open(self) -> None:
        _make_folder(self._clip)
        self._staging.prepare_output()
        if isinstance(self._clip.source, Path):
            self._source = FileStamp.of(self._clip.source)
        self._encoding.open()

    def _entry(self, result: EncodeResult, stamp: FileStamp | None, replaces: tuple[str, ...]) -> Entry | None:
        """What the manifest is to say of the clip; `stamp` is that of an output in a store."""
        clip, header = self._clip.written(result), result.header
        if clip.root is None or clip.output is None or self._source is None:
            return None
        file = clip.output if isinstance(clip.output, Path) else self._staging.output
        assert file is not None
        return Entry(
            source=FileState(stamp=self._source, sha256=header.source_sha256),
            latents=FileState(stamp=stamp or FileStamp.of(file), sha256=sha256_of(file)),
            encoder_sha256=header.encoder_sha256,
            settings=header.settings or {},
            model=header.model,
            num_frames=header.num_frames,
            latents_shape=result.latents_shape,
            seconds=round(result.seconds["total"] - result.seconds["load"], 4),
            replaces=replaces,
        )

    @contextlib.contextmanager
    def _step(self) -> Iterator[None]:
        """An error is the outcome, unless it ends the whole run; either way nothing is left."""
        try:
            yield
        except BaseException as error:
            self.close()
            if not isinstance(error, Exception):
                raise
            self._staging.rename_in(error)
            self._outcome = Outcome(clip=self._clip, error=failure(error))


def _make_folder(clip: Clip) -> None:
    """Make the folder of an output that mirrors the inputs; that of a single output must be there."""
    if not (clip.root or clip.makes_folder) or not isinstance(clip.output, Path):
        return
    try:
        clip.output.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"{clip.output.parent}: {error.strerror}; name another folder with -o") from error
