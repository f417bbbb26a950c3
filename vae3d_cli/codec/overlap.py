"""Reading and writing beside the model: a thread that reads ahead, and one that writes behind.

Only for files: what reads or writes a pipe may wait for another program without end, and must be interruptible.
"""

import contextlib
from collections.abc import Callable, Generator, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from queue import Empty, Full, Queue
from threading import Event, Thread
from types import TracebackType
from typing import Any, Generic, Self, TypeVar

import numpy as np
from numpy.typing import NDArray

from vae3d_cli.codec.outputs import FrameWriter
from vae3d_cli.files import is_read_once, is_special

T = TypeVar("T")

# Frames that may wait on either side: more would only take memory.
DEPTH = 8
# How often a thread that waits looks whether it is still wanted.
_PATIENCE_SECONDS = 0.1


@dataclass(frozen=True)
class _End:
    """The last thing that comes through: what went wrong, if anything did."""

    error: BaseException | None = None


class _Channel(Generic[T]):
    """A bounded queue between two threads, of which either may give up."""

    def __init__(self, depth: int) -> None:
        self._queue: Queue[T | _End] = Queue(depth)
        self.given_up = Event()

    def put(self, item: T | _End) -> bool:
        """Put an item, as soon as there is room; whether it is still wanted."""
        while not self.given_up.is_set():
            try:
                self._queue.put(item, timeout=_PATIENCE_SECONDS)
            except Full:
                continue
            return True
        return False

    def get(self) -> T | _End:
        """The next item, as soon as there is one; the end if the other side has given up."""
        while not self.given_up.is_set():
            try:
                return self._queue.get(timeout=_PATIENCE_SECONDS)
            except Empty:
                continue
        return _End()

    def left(self) -> Iterator[T]:
        """The items that nobody took."""
        with contextlib.suppress(Empty):
            while True:
                if not isinstance(item := self._queue.get_nowait(), _End):
                    yield item


class _Worker:
    """A thread beside the main one, which a signal may interrupt anywhere: also while it starts the thread."""

    def __init__(self, work: Callable[[], None], channel: _Channel[Any], name: str) -> None:
        self._work = work
        self._channel = channel
        self._may_begin, self._has_ended = Event(), Event()
        self._thread = Thread(target=self._run, name=name, daemon=True)

    def start(self) -> None:
        """Start the thread; where that is interrupted, it may be running and touches nothing."""
        self._thread.start()
        self._may_begin.set()

    def give_up(self) -> None:
        """Have the thread end as soon as it can, and wait for that."""
        self._channel.given_up.set()
        self._may_begin.set()
        self.wait()

    def wait(self) -> None:
        """Wait until it has ended; a signal makes it give up, but what it works on is not taken from under it.

        Not by `join`, which after an interruption takes the thread for ended (Python 3.11).
        """
        if not self._thread.is_alive():
            return
        try:
            self._has_ended.wait()
        except BaseException:
            self._channel.given_up.set()
            self._has_ended.wait()
            raise
        self._thread.join()

    def _run(self) -> None:
        try:
            self._may_begin.wait()
            if not self._channel.given_up.is_set():
                self._work()
        finally:
            self._has_ended.set()


@contextlib.contextmanager
def beside_reading(items: Iterable[T], source: Path | None) -> Iterator[Iterator[T]]:
    """The same items, read ahead where `source` is a file; at the end of the context nothing reads it any more."""
    if is_read_once(source):
        yield iter(items)
    else:
        with contextlib.closing(read_ahead(items)) as ahead:
            yield ahead


@contextlib.contextmanager
def beside_writing(writer: FrameWriter, output: Path | None) -> Iterator[FrameWriter]:
    """A writer in a thread of its own where `output` is a file."""
    if output is None or is_special(output):
        yield writer
    else:
        with WriteBehind(writer) as behind:
            yield behind


def read_ahead(
    items: Iterable[T],
    depth: int = DEPTH,
    discard: Callable[[T], None] = lambda _item: None,
    stopped: Event | None = None,
) -> Generator[T, None, None]:
    """The same items in the same order, made by a thread that is up to `depth` of them ahead.

    An error comes where its item would have come. When the iterator is closed, the thread has ended, and what nobody
    took was given to `discard`. `stopped` is set if that is before the last item, for what the thread may wait for.
    """
    channel: _Channel[T] = _Channel(depth)
    stopped = stopped or Event()

    def work() -> None:
        error = None
        try:
            for item in items:
                if not channel.put(item):
                    discard(item)
                    return
        except BaseException as raised:
            error = raised
        channel.put(_End(error))

    worker = _Worker(work, channel, "vae3d-read")
    try:
        worker.start()
        while not isinstance(item := channel.get(), _End):
            yield item
        if item.error is not None:
            raise item.error
    except BaseException:
        stopped.set()
        raise
    finally:
        worker.give_up()
        for item in channel.left():
            discard(item)


class WorkBehind(Generic[T]):
    """Gives items to `function` in a thread that is up to `depth` of them behind; at the end of the context none is.

    An error of `function` is raised by the next item, or at the end. After an error of others the rest is dropped: each
    item that was not begun is given to `discard`, and `stopped` is set, for what the thread may wait for.
    """

    def __init__(
        self,
        function: Callable[[T], None],
        depth: int = DEPTH,
        discard: Callable[[T], None] = lambda _item: None,
        stopped: Event | None = None,
    ) -> None:
        self._function, self._discard = function, discard
        self._stopped = stopped or Event()
        self._channel: _Channel[T] = _Channel(depth)
        self._error: BaseException | None = None
        self._worker = _Worker(self._work, self._channel, "vae3d-write")

    def __enter__(self) -> Self:
        """Start the thread."""
        try:
            self._worker.start()
        except BaseException:
            self._worker.give_up()
            raise
        return self

    def put(self, item: T) -> None:
        """Give the next item, which must not be changed any more, as soon as there is room for it."""
        if not self._channel.put(item):
            self._discard(item)
            self._raise()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Wait for the thread to end."""
        try:
            if error is None:
                self._finish()
            else:
                self._stop()
        finally:
            for item in self._channel.left():
                self._discard(item)
        if error is None:
            self._raise()

    def _finish(self) -> None:
        try:
            self._channel.put(_End())
            self._worker.wait()
        except BaseException:
            self._stop()
            raise

    def _stop(self) -> None:
        self._stopped.set()
        self._worker.give_up()

    def _work(self) -> None:
        try:
            while not isinstance(item := self._channel.get(), _End):
                self._function(item)
        except BaseException as raised:
            self._error = raised
            self._channel.given_up.set()

    def _raise(self) -> None:
        if self._error is not None:
            raise self._error


class WriteBehind(WorkBehind[NDArray[Any]]):
    """A writer of frames that is up to `DEPTH` frames behind."""

    def __init__(self, writer: FrameWriter) -> None:
        super().__init__(writer.write)
        self.notes = writer.notes

    def write(self, rgb: NDArray[np.uint8] | NDArray[np.uint16]) -> None:
        """Take the next frame: planar RGB `[3, H, W]`, which must not be changed any more."""
        self.put(rgb)
