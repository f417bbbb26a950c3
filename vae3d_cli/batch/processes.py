"""The engine of several processes on this machine, each with a model."""

import contextlib
import logging
import multiprocessing
import signal
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection, wait

from vae3d_cli.batch.existing import Policy
from vae3d_cli.batch.serving import Began, Done, Failed, Logged, Message, Told, serve
from vae3d_cli.batch.tasks import Deliver, Outcome, Task, Watch
from vae3d_cli.batch.workers import MAX_LOSSES, Loaded, ModelSource, hand_over, lost
from vae3d_cli.codec import Progress
from vae3d_cli.errors import WorkerError
from vae3d_cli.weights import ModelFacts

# One in the model, and one that is opened meanwhile: those that a worker has no other can take.
_MOST_AT_ONCE = 2
_logger = logging.getLogger("vae3d_cli")


class Processes:
    """The engine that has a process for each of `models`; a worker that dies is replaced, and its clips are retried.

    `loaded` is told of each model.
    """

    def __init__(self, models: list[ModelSource], loaded: Loaded) -> None:
        self._models, self._loaded = models, loaded
        self._context = multiprocessing.get_context("spawn")

    def run(self, tasks: Iterator[Task], policy: Policy, watch: Watch, record: Deliver, show: Deliver) -> None:
        """See `run_tasks`; outcomes come in the order in which clips are done.

        Raises:
            WorkerError: A worker and those in its place died before their model was loaded.
            WeightsError: The model cannot be loaded.
        """

        def start(model: ModelSource, losses: int = 0) -> None:
            worker = stack.enter_context(_Worker(self._context, model, policy, watch, self._loaded, losses))
            workers[worker.connection] = worker

        workers: dict[Connection, _Worker] = {}
        with ExitStack() as stack:
            for model in self._models:
                start(model)
            outcomes = self._outcomes(_Waiting(tasks), workers, start)
            hand_over(outcomes, lambda: _last_outcomes([*workers.values()]), record, show)

    def _outcomes(
        self, waiting: "_Waiting", workers: "dict[Connection, _Worker]", start: Callable[[ModelSource, int], None]
    ) -> Iterator[Outcome]:
        """What comes of all tasks, as it comes."""
        while waiting or any(worker.tasks for worker in workers.values()):
            for most in range(1, _MOST_AT_ONCE + 1):  # by turns, for there may be few
                for worker in workers.values():
                    worker.take(waiting, most)
            for connection in wait([*workers]):
                assert isinstance(connection, Connection)
                worker = workers[connection]
                try:
                    message: Message = connection.recv()
                except (EOFError, OSError):
                    del workers[connection]
                    cause = _cause(worker.end())
                    losses = 0 if worker.is_loaded else worker.losses + 1
                    if losses > MAX_LOSSES:
                        raise WorkerError(
                            f"a worker died {losses} times ({cause}) before its model was loaded; if memory ran out, "
                            "take fewer --workers"
                        ) from None
                    _logger.warning("a worker died (%s); another takes its place", cause)
                    yield from waiting.give_back(worker.tasks, cause)
                    start(worker.model, losses)
                else:
                    if (done := worker.receive(message)) is not None:
                        yield done


class _Waiting:
    """The tasks that no worker has: those that a lost one had come first, each alone, for one of them may be why."""

    def __init__(self, tasks: Iterator[Task]) -> None:
        self._tasks = enumerate(tasks)
        self._returned: deque[tuple[int, Task]] = deque()
        self._next = next(self._tasks, None)
        self._losses: dict[int, int] = {}

    def __bool__(self) -> bool:
        return bool(self._returned) or self._next is not None

    def take(self, *, alone: bool) -> tuple[int, Task] | None:
        """The next one, for a worker that has no other (`alone`) or has."""
        if self._returned:
            return self._returned.popleft() if alone else None
        task, self._next = self._next, next(self._tasks, None)
        return task

    def is_retried(self, number: int) -> bool:
        """Whether a worker that had it was lost."""
        return number in self._losses

    def give_back(self, tasks: dict[int, Task], cause: str) -> list[Outcome]:
        """Take the tasks of a lost worker to try them again; the outcomes are of those that were tried too often."""
        outcomes = []
        for number, task in tasks.items():
            self._losses[number] = losses = self._losses.get(number, 0) + 1
            if losses <= MAX_LOSSES:
                self._returned.append((number, task))
            else:
                outcomes.append(lost(task, cause))
        return outcomes


class _Worker:
    """A process, and the tasks that it has; `losses` in a row were in its place and died before they had a model."""

    def __init__(
        self,
        context: multiprocessing.context.SpawnContext,
        model: ModelSource,
        policy: Policy,
        watch: Watch,
        loaded: Loaded,
        losses: int,
    ) -> None:
        self.model, self._watch, self._loaded, self.losses = model, watch, loaded, losses
        self.tasks: dict[int, Task] = {}
        self.is_loaded = self._has_retried = False
        self._shown = ExitStack()
        self._shown_number: int | None = None
        self._progress: Progress | None = None
        self.connection, self._other = context.Pipe()
        self._process = context.Process(
            target=serve, args=(self._other, model, policy), name="vae3d-worker", daemon=True
        )

    def __enter__(self) -> "_Worker":
        """Start it.

        The terminal sends signals to all processes, but they are for this one, which ends the others by SIGTERM. A
        process inherits what is blocked; here a signal that comes meanwhile waits.
        """
        resource_tracker.ensure_running()  # when it starts, it unblocks signals
        blocked = signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGINT, signal.SIGHUP))
        try:
            self._process.start()
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, blocked)
        self._other.close()  # so that its end is seen
        return self

    def __exit__(self, *_: object) -> None:
        """End it, whatever it is at."""
        self.end()

    def stop(self) -> None:
        """Have it end as soon as what it is writing is written."""
        with contextlib.suppress(OSError):
            self.connection.send(None)  # in case that whoever started this process has it ignore SIGTERM
        if self._process.is_alive():
            self._process.terminate()

    def last_outcomes(self) -> Iterator[Outcome]:
        """What it has still to deliver until it has ended, once it is stopped."""
        with contextlib.suppress(EOFError, OSError):
            while True:
                message: Message = self.connection.recv()
                if isinstance(message, Done):
                    yield message.outcome

    def end(self) -> int | None:
        """End it, and say how it ended."""
        self._shown.close()
        self.stop()
        self.connection.close()
        self._process.join()
        return self._process.exitcode

    def take(self, waiting: _Waiting, most: int) -> None:
        """Take tasks until it has `most` of them, if it can."""
        while self.is_loaded and waiting and len(self.tasks) < most and not self._has_retried:
            task = waiting.take(alone=not self.tasks)
            if task is None:
                return
            self.tasks[task[0]] = task[1]
            self._has_retried = waiting.is_retried(task[0])
            with contextlib.suppress(OSError):  # that it is gone is seen when its end is read
                self.connection.send(task)

    def receive(self, message: Message) -> Outcome | None:
        """Take a message of its process; an outcome if it is one. An error that ends the whole run is raised."""
        match message:
            case Began(number):
                self._shown.close()
                self._shown_number = number
                self._progress = self._shown.enter_context(self._watch(self.tasks[number].clip))
            case Told(done, total):
                assert self._progress is not None
                self._progress(done, total)
            case Done(number, outcome):
                self.tasks.pop(number)
                self._has_retried = False
                if number == self._shown_number:
                    self._shown.close()
                return outcome
            case Logged(level, text):
                _logger.log(level, "%s", text)
            case ModelFacts():
                self.is_loaded = True
                self._loaded(message)
            case Failed(error):
                raise error
        return None


def _last_outcomes(workers: list[_Worker]) -> Iterator[Outcome]:
    """Stop all workers, and see what they have still to deliver."""
    for worker in workers:
        worker.stop()
    for worker in workers:
        yield from worker.last_outcomes()


def _cause(exit_code: int | None) -> str:
    """How a process ended, for people."""
    if exit_code is not None and exit_code < 0:
        return signal.Signals(-exit_code).name
    return f"status {exit_code}"
