"""What a worker process does, and the messages that it sends to the process that started it."""

import contextlib
import logging
import multiprocessing
import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from threading import Event, Lock, Thread
from typing import NoReturn

from vae3d_cli.batch.existing import Policy
from vae3d_cli.batch.planning import Clip
from vae3d_cli.batch.tasks import Outcome, Task, run_tasks
from vae3d_cli.batch.workers import ModelSource, portable, portable_error
from vae3d_cli.codec import Progress
from vae3d_cli.weights import Model, ModelFacts

# Between two messages of frames that are done, and two looks whether a task is still wanted.
_SECONDS_BETWEEN = 0.1
_logger = logging.getLogger("vae3d_cli")


@dataclass(frozen=True)
class Began:
    """A clip is in the model."""

    number: int


@dataclass(frozen=True)
class Told:
    """Frames of the clip in the model are done."""

    done: int
    total: int | None


@dataclass(frozen=True)
class Done:
    """What came of a clip."""

    number: int
    outcome: Outcome


@dataclass(frozen=True)
class Logged:
    """A line of the log."""

    level: int
    text: str


@dataclass(frozen=True)
class Failed:
    """What ends the whole run."""

    error: Exception


Message = Began | Told | Done | Logged | Failed | ModelFacts


def serve(connection: Connection, source: ModelSource, policy: Policy) -> None:
    """What a worker does: encode the clips that come, until no more can come."""
    signal.signal(signal.SIGTERM, _unwind)
    Thread(target=_end_with_parent, name="vae3d-parent", daemon=True).start()
    lines = _Lines(connection)
    _logger.addHandler(_Handler(lines))
    _logger.setLevel(logging.INFO)
    with contextlib.suppress(BrokenPipeError):  # nobody is there any more
        try:
            model = source.load()
            lines.send(model.facts)
            _encode(connection, lines, model, policy)
        except Exception as error:
            lines.send(Failed(portable_error(error)))
        finally:
            signal.signal(signal.SIGTERM, signal.SIG_IGN)  # it is ending, and would say that it was interrupted in that


def _encode(connection: Connection, lines: "_Lines", model: Model, policy: Policy) -> None:
    numbers: dict[int, int] = {}
    stopped = Event()

    def tasks() -> Iterator[Task]:
        while not stopped.is_set():
            try:
                if not connection.poll(_SECONDS_BETWEEN):
                    continue
                message: tuple[int, Task] | None = connection.recv()
            except (EOFError, OSError):
                return
            if message is None:
                return
            number, task = message
            numbers[id(task.clip)] = number
            yield task

    @contextmanager
    def watch(clip: Clip) -> Iterator[Progress]:
        lines.send(Began(numbers[id(clip)]))
        yield lines.tell

    def deliver(outcome: Outcome) -> None:
        lines.send(Done(numbers.pop(id(outcome.clip)), portable(outcome)))

    with contextlib.closing(run_tasks(tasks(), model, policy, watch, deliver, stopped)) as steps:
        for _ in steps:
            pass


class _Lines:
    """What goes back, from several threads."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._lock = Lock()
        self._told = 0.0

    def send(self, message: Message) -> None:
        """Send a message."""
        with self._lock:
            self._connection.send(message)

    def tell(self, done: int, total: int | None) -> None:
        """Tell of frames, as often as it can be seen."""
        now = time.monotonic()
        if done == total or now - self._told > _SECONDS_BETWEEN:
            self._told = now
            self.send(Told(done, total))


class _Handler(logging.Handler):
    """Log records to where people read them."""

    def __init__(self, lines: _Lines) -> None:
        super().__init__()
        self._lines = lines

    def emit(self, record: logging.LogRecord) -> None:
        """Send a record."""
        self._lines.send(Logged(record.levelno, record.getMessage()))


def _unwind(_number: int, _frame: object) -> NoReturn:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # once is enough
    raise SystemExit(128 + signal.SIGTERM)


def _end_with_parent() -> None:
    """End when the process is gone that started this one, however it ended."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    wait([parent.sentinel])
    os.kill(os.getpid(), signal.SIGTERM)
