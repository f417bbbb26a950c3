"""The threads beside the model: the same items, errors in their place, and none left behind."""

import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NoReturn

import numpy as np
import pytest
from numpy.typing import NDArray

from tests.commands import PATIENCE_SECONDS
from vae3d_cli.codec.overlap import DEPTH, WorkBehind, WriteBehind, read_ahead


def threads() -> set[str]:
    return {thread.name for thread in threading.enumerate() if thread.name.startswith("vae3d-")}


class Writer:
    def __init__(self, fails_at: int | None = None) -> None:
        self.notes: list[str] = ["a note"]
        self.written: list[int] = []
        self.fails_at = fails_at

    def write(self, rgb: NDArray[np.uint8]) -> None:
        if len(self.written) == self.fails_at:
            raise OSError(28, "No space left on device")
        self.written.append(int(rgb[0]))


def frame(number: int) -> NDArray[np.uint8]:
    return np.array([number], np.uint8)


def write_all(writer: Writer, error: Exception | None = None) -> None:
    with WriteBehind(writer) as behind:
        assert behind.notes == ["a note"]
        for number in range(50):
            behind.write(frame(number))
        if error is not None:
            raise error


def test_what_is_read_ahead_comes_in_order_and_not_too_early() -> None:
    made = 0

    def items() -> Iterator[int]:
        nonlocal made
        for number in range(100):
            made += 1
            yield number

    reader = read_ahead(items())
    assert next(reader) == 0
    time.sleep(0.3)
    assert made <= DEPTH + 3  # those that wait, the one that was taken, and the one in the maker's hand
    assert list(reader) == list(range(1, 100))
    assert threads() == set()


def test_an_error_comes_where_its_item_would_have_come() -> None:
    def items() -> Iterator[int]:
        yield 1
        raise ValueError("bad")

    reader = read_ahead(items())
    assert next(reader) == 1
    with pytest.raises(ValueError, match="bad"):
        next(reader)
    assert threads() == set()


def test_a_reader_that_is_closed_early_has_ended() -> None:
    closed = False

    def items() -> Iterator[int]:
        nonlocal closed
        try:
            yield from range(1000)
        finally:
            closed = True

    source = items()
    reader = read_ahead(source)
    assert next(reader) == 0
    reader.close()
    assert threads() == set()
    source.close()  # type: ignore[attr-defined]  # nothing runs it any more
    assert closed


def test_all_is_written_in_order_at_the_end() -> None:
    writer = Writer()
    write_all(writer)
    assert writer.written == list(range(50))
    assert threads() == set()


@pytest.mark.parametrize("fails_at", [0, 20, 49])
def test_an_error_of_the_writer_ends_the_writing(fails_at: int) -> None:
    writer = Writer(fails_at)
    with pytest.raises(OSError, match="No space left"):
        write_all(writer)
    assert writer.written == list(range(fails_at))
    assert threads() == set()


def test_an_error_of_others_drops_what_waits() -> None:
    with pytest.raises(ValueError, match="other"):
        write_all(Writer(), error=ValueError("other"))
    assert threads() == set()


@contextmanager
def interruption() -> Iterator[threading.Event]:
    """Ctrl-C in a moment, and whether it came."""
    came = threading.Event()

    def interrupt(_number: int, _frame: object) -> NoReturn:
        came.set()
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGALRM, interrupt)
    signal.setitimer(signal.ITIMER_REAL, 0.1)
    try:
        with pytest.raises(KeyboardInterrupt):
            yield came
    finally:
        signal.signal(signal.SIGALRM, before)


@pytest.mark.parametrize("num_frames", [1, DEPTH + 1], ids=["at the end", "before there is room"])
def test_a_signal_while_it_waits_lets_the_thread_finish_what_it_writes(num_frames: int) -> None:
    stopped = threading.Event()
    written = []
    with interruption() as came:

        def write(number: int) -> None:
            came.wait()
            time.sleep(0.1)
            written.append(number)

        with WorkBehind(write, stopped=stopped) as behind:
            for number in range(num_frames):
                behind.put(number)
    assert written == [0]
    assert stopped.is_set()
    assert threads() == set()


def test_a_signal_stops_what_the_reading_waits_for() -> None:
    stopped = threading.Event()

    def items() -> Iterator[int]:
        yield 1
        stopped.wait(PATIENCE_SECONDS)

    reader = read_ahead(items(), stopped=stopped)
    assert next(reader) == 1
    with interruption():
        next(reader)
    assert stopped.is_set()
    assert threads() == set()


def test_a_signal_while_a_reader_is_closed_waits_for_what_it_reads() -> None:
    made = [1]
    with interruption() as came:

        def items() -> Iterator[int]:
            yield 1
            came.wait()
            time.sleep(0.1)
            made.append(2)

        reader = read_ahead(items())
        assert next(reader) == 1
        reader.close()
    assert made == [1, 2]


def test_nothing_is_stopped_where_all_is_taken() -> None:
    stopped = threading.Event()
    written: list[int] = []
    with WorkBehind(written.append, stopped=stopped) as behind:
        for number in read_ahead(iter(range(50)), stopped=stopped):
            behind.put(number)
    assert written == [*range(50)]
    assert not stopped.is_set()


@pytest.mark.parametrize("seconds", [0, 0.01])
def test_a_signal_while_a_thread_starts_leaves_none_that_works(monkeypatch: pytest.MonkeyPatch, seconds: float) -> None:
    start = threading.Thread.start

    def interrupted(thread: threading.Thread) -> None:
        start(thread)
        time.sleep(seconds)
        raise KeyboardInterrupt

    monkeypatch.setattr(threading.Thread, "start", interrupted)
    source = iter(range(1000))
    with pytest.raises(KeyboardInterrupt):
        next(read_ahead(source))
    writer = Writer()
    with pytest.raises(KeyboardInterrupt):
        write_all(writer)
    assert threads() == set()
    # Nothing is read or written any more, for what is read and written will be closed.
    assert next(source) == 0
    assert writer.written == []
