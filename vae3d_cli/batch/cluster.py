"""The engine that is a Ray cluster: a task for each clip.

Tasks, and not Ray Data: what is tried again when a worker is lost is then one clip, and what came of a clip is known as
soon as it is done. Ray Data works on blocks of rows, retries a block, and gives its results together.
"""

import contextlib
import logging
import os
import re
import signal
import socket
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from threading import get_ident
from typing import IO, Any, cast

from vae3d_cli.batch.existing import Policy
from vae3d_cli.batch.planning import Clip
from vae3d_cli.batch.tasks import Deliver, Outcome, Task, Watch, run_tasks
from vae3d_cli.batch.workers import MAX_LOSSES, Loaded, ModelSource, hand_over, lost, portable, portable_error
from vae3d_cli.codec import Progress
from vae3d_cli.errors import UsageError, Vae3dError, WorkerError
from vae3d_cli.weights import Model

# Tasks that wait in the cluster, so that one which grows with its work sees some.
_MOST_PENDING = 256
_SECONDS_TO_ANSWER = 10
# What colours a terminal.
_ESCAPES = re.compile(r"\x1b\[[0-9;]*m")
_logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Resources:
    """What a worker needs; without `gpus` it is one where the cluster has any and `device` may be one.

    `most_at_once` bounds how many clips are at work.
    """

    cpus: float = 1
    gpus: float | None = None
    most_at_once: int | None = None


class Cluster:
    """The engine that is the Ray cluster of `RAY_ADDRESS`, or the one that runs here; else one is started here.

    A clip whose worker was lost is tried again by another. `loaded` is told of the model once.

    Raises:
        UsageError: Ray is not installed.
    """

    def __init__(self, model: ModelSource, resources: Resources, loaded: Loaded) -> None:
        self._model, self._resources, self._loaded = model, resources, loaded
        self._ray = _import_ray()

    def run(
        self,
        tasks: Iterator[Task],
        policy: Policy,
        watch: Watch,  # noqa: ARG002
        record: Deliver,
        show: Deliver,
    ) -> None:
        """See `run_tasks`; outcomes come in the order in which clips are done, and nothing is told of frames.

        Raises:
            WorkerError: The cluster cannot be reached, or has no room for a worker.
            WeightsError: The model cannot be loaded where it is to run.
        """
        with _stdout_of(get_ident()), _connection(self._ray):
            pending: dict[Any, Task] = {}
            hand_over(self._outcomes(tasks, policy, pending), lambda: _done(self._ray, pending), record, show)

    def _outcomes(self, tasks: Iterator[Task], policy: Policy, pending: dict[Any, Task]) -> Iterator[Outcome]:
        """What comes of all tasks, as it comes; those in the cluster are `pending`."""
        ray = self._ray
        encode = ray.remote(**self._options())(_encode)
        folder = os.getcwd()  # noqa: PTH109
        most = self._resources.most_at_once or _MOST_PENDING
        is_loaded = False
        while True:
            while len(pending) < most and (task := next(tasks, None)) is not None:
                pending[encode.remote(task, self._model, policy, folder)] = task
            if not pending:
                return
            for reference in ray.wait([*pending])[0]:
                outcome = _outcome(ray, reference, pending.pop(reference))
                if outcome.result is not None and not is_loaded:
                    self._loaded(outcome.result.model)
                    is_loaded = True
                yield outcome

    def _options(self) -> dict[str, object]:
        """What Ray is told of the tasks."""
        resources, total = self._resources, self._ray.cluster_resources()
        gpus = resources.gpus
        if gpus is None:
            gpus = 1 if total.get("GPU", 0) >= 1 and self._model.device in ("auto", "cuda") else 0
        return {
            "num_cpus": resources.cpus,
            "num_gpus": gpus,
            "max_retries": MAX_LOSSES,
            "max_calls": 0,  # a worker with a GPU would end after every task, and its model with it
        }


class _ThreadStdout:
    """Standard output for one thread or none; what others print, Ray's on the state of the cluster, goes to the log."""

    def __init__(self, thread: int | None) -> None:
        self._stdout, self._thread = sys.stdout, thread

    def write(self, text: str) -> int:
        """Write or log a text."""
        if get_ident() == self._thread:
            return self._stdout.write(text)
        for line in _ESCAPES.sub("", text).splitlines():
            if line.strip():
                _logger.info("Ray: %s", line)
        return len(text)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stdout, name)


def _stdout_of(thread: int | None) -> contextlib.AbstractContextManager[Any]:
    """Keep standard output for a thread's results, which another program may read; without one, for nothing."""
    return contextlib.redirect_stdout(cast(IO[str], _ThreadStdout(thread)))


def _import_ray() -> Any:
    try:
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # nothing leaves the machine unasked
        os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
        import ray
    except ImportError as error:
        raise UsageError("--engine ray: Ray is not installed; pip install 'vae3d-cli[ray]'") from error
    return ray


@contextlib.contextmanager
def _connection(ray: Any) -> Iterator[None]:
    """Connect Ray to a cluster."""
    _check_address(os.environ.get("RAY_ADDRESS", ""))
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        ray.init(logging_level=logging.ERROR, log_to_driver=False, ignore_reinit_error=True)
    except (ConnectionError, ValueError, RuntimeError) as error:
        text = " ".join(str(error).split())
        raise WorkerError(f"Ray: {text}; have RAY_ADDRESS name a cluster, or none to start one here") from error
    for number, handler in handlers.items():  # Ray takes them
        signal.signal(number, handler)
    try:
        yield
    finally:
        # What is at work is ended with it. To cancel it before could crash this process: Ray 2.60 fails a check of its
        # own where a task that was cancelled has ended meanwhile. In this thread it prints what it had kept back.
        with _stdout_of(None):
            ray.shutdown()


def _check_address(address: str) -> None:
    """See that something answers at `host:port`: Ray itself would try for minutes."""
    host, _, port = address.rpartition(":")
    if not host or not port.isdigit():
        return
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=_SECONDS_TO_ANSWER).close()
    except (OSError, OverflowError) as error:
        raise WorkerError(
            f"Ray: nothing answers at {address} ({error}); have RAY_ADDRESS name a cluster, or none to start one here"
        ) from error


def _outcome(ray: Any, reference: Any, task: Task) -> Outcome:
    """What came of a task that has ended; what ends the whole run is raised."""
    try:
        outcome = ray.get(reference)
    except ray.exceptions.RayError as error:
        return lost(task, type(error).__name__)
    if isinstance(outcome, Exception):
        raise outcome
    assert isinstance(outcome, Outcome)
    return outcome


def _done(ray: Any, pending: dict[Any, Task]) -> Iterator[Outcome]:
    """What has come of tasks by now, of a run that is ended by something else."""
    for reference in ray.wait([*pending], num_returns=len(pending), timeout=0)[0] if pending else ():
        with contextlib.suppress(Vae3dError):
            yield _outcome(ray, reference, pending[reference])


def _encode(task: Task, source: ModelSource, policy: Policy, folder: str) -> Outcome | Exception:
    """Encode one clip, on a worker; an error is of the whole run. Relative paths are from `folder`."""
    try:
        _enter(folder, task.clip)
        outcomes: list[Outcome] = []
        with contextlib.closing(run_tasks([task], _load(source), policy, _unwatched, outcomes.append)) as steps:
            for _ in steps:
                pass
        return portable(outcomes[0])
    except Exception as error:
        return portable_error(error)


@lru_cache(maxsize=1)
def _load(source: ModelSource) -> Model:
    """The model, which stays for the next task."""
    return source.load()


def _enter(folder: str, clip: Clip) -> None:
    """Go where the run was started, if paths are from there."""
    if all(not isinstance(path, Path) or path.is_absolute() for path in (clip.source, clip.output)):
        return
    try:
        os.chdir(folder)
    except OSError as error:
        raise WorkerError(
            f"{folder}: {error.strerror} on {os.uname().nodename}; start in a folder that all machines share, or give "
            "absolute paths"
        ) from error


@contextlib.contextmanager
def _unwatched(_clip: Clip) -> Iterator[Progress]:
    yield lambda _done, _total: None
