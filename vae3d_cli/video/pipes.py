"""Standard input and output as files for PyAV, safe with signals and with readers that go away.

PyAV swallows a `KeyboardInterrupt` that is raised in a callback, and reports a second exception as a dropped one. So
these turn it into `Interrupted`, fail once, and stay quiet afterwards.
"""

import contextlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path

from vae3d_cli.errors import Interrupted
from vae3d_cli.files import STDIN_FD, STDOUT_FD, copy_of_pipe

_HEAD_BYTES = 1 << 16
# An old QuickTime file has no ftyp.
_FIRST_BOXES = {b"ftyp", b"free", b"skip", b"wide", b"mdat"}


class PipeReader:
    """A file descriptor to read from, with what was read of it before put back in front."""

    name = "<stdin>"

    def __init__(self, fd: int, head: bytes = b"") -> None:
        self._fd = fd
        self._head = head
        self._failed = False
        self.num_bytes = len(head)  # that came so far

    def readable(self) -> bool:
        """Say that this can be read."""
        return True

    def seekable(self) -> bool:
        """Say that a pipe cannot go back."""
        return False

    def read(self, size: int) -> bytes:
        """At most `size` bytes; none at the end."""
        if self._failed:
            return b""
        try:
            if self._head:
                data, self._head = self._head[:size], self._head[size:]
                return data
            data = os.read(self._fd, size)
            self.num_bytes += len(data)
            return data
        except KeyboardInterrupt as interrupt:
            self._failed = True
            raise Interrupted from interrupt
        except OSError:
            self._failed = True
            raise


class PipeWriter:
    """A file descriptor to write to; every write is complete or an error."""

    name = "<stdout>"

    def __init__(self, fd: int = STDOUT_FD) -> None:
        self._fd = fd
        self._failed = False

    def writable(self) -> bool:
        """Say that this can be written."""
        return True

    def seekable(self) -> bool:
        """Say no, even of a redirected file: a muxer that seeks would patch the wrong place of `>> file`."""
        return False

    def write(self, data: bytes) -> int:
        """Write all of `data`."""
        if self._failed:
            return len(data)
        try:
            rest = memoryview(data)
            while rest:
                rest = rest[os.write(self._fd, rest) :]
        except KeyboardInterrupt as interrupt:
            self._failed = True
            raise Interrupted from interrupt
        except OSError:
            self._failed = True
            raise
        return len(data)


@contextlib.contextmanager
def open_pipe(path: Path | None, needs_file: Callable[[bytes], bool]) -> Iterator["PipeReader | Path"]:
    """Standard input (`None`) or a FIFO, to read any clip from.

    A clip that cannot be read from a pipe is copied to a temporary file first: an mp4 whose index comes after its data,
    and one of which `needs_file` says so by its first bytes.
    """
    with contextlib.ExitStack() as stack:
        fd = STDIN_FD if path is None else stack.enter_context(path.open("rb", buffering=0)).fileno()
        head = b""
        while len(head) < _HEAD_BYTES and (data := os.read(fd, _HEAD_BYTES - len(head))):
            head += data
        if _index_comes_late(head) or needs_file(head):
            yield stack.enter_context(copy_of_pipe(path, head, fd))
        else:
            yield PipeReader(fd, head)


def _index_comes_late(head: bytes) -> bool:
    """Whether this is the beginning of an ISO media file whose index (`moov`) is not known to precede its data."""
    position = 0
    boxes: list[bytes] = []
    while position + 8 <= len(head) and boxes[-1:] != [b"mdat"]:
        size = int.from_bytes(head[position : position + 4], "big")
        boxes.append(head[position + 4 : position + 8])
        if size == 1:  # a 64-bit size follows
            size = int.from_bytes(head[position + 8 : position + 16], "big")
        if size < 8:
            break
        position += size
    return bool(boxes) and boxes[0] in _FIRST_BOXES and b"moov" not in boxes
