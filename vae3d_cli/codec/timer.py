"""Time spent in one stage of a chain of iterators."""

import time
from collections.abc import Iterable, Iterator
from typing import TypeVar

T = TypeVar("T")


class Stopwatch:
    """Adds up the seconds that one stage takes: between its output (`over`) and its input (`outside`)."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def over(self, items: Iterable[T]) -> Iterator[T]:
        """The same items; the time to give them counts."""
        return self._timed(items, 1)

    def outside(self, items: Iterable[T]) -> Iterator[T]:
        """The same items; the time to give them does not count, though it is spent within `over`."""
        return self._timed(items, -1)

    def _timed(self, items: Iterable[T], sign: int) -> Iterator[T]:
        iterator = iter(items)
        while True:
            start = time.perf_counter()
            try:
                item = next(iterator)
            except StopIteration:
                return
            finally:
                self.seconds += sign * (time.perf_counter() - start)
            yield item
