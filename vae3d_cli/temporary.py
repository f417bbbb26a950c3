"""Temporary files and folders that have a name: the next run removes those of a run that was killed."""

import contextlib
import fcntl
import functools
import os
import re
import secrets
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from threading import Lock

_NAME = re.compile(r"\.vae3d-[0-9a-f]{16}\.part.*")


class TemporaryFile:
    """A file that its lock marks as one of a run that lives."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._handle: int | None = None

    def make(self) -> None:
        """Make it, and lock it."""
        flags = os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC
        self._handle = _hold(self.path, lambda: os.open(self.path, flags, 0o600))

    def unlock(self) -> None:
        """Close the file; from then on another run may take it for one of a dead run."""
        if self._handle is not None:
            os.close(self._handle)
            self._handle = None


@contextlib.contextmanager
def temporary_file(folder: Path, suffix: str = "") -> Iterator[TemporaryFile]:
    """A new file in `folder`, which is removed at the end if it still has its name."""
    _remove_orphans_once(folder)
    # Named before it is made: a signal may come at any time, and then it must be known what to take away.
    file = TemporaryFile(folder / _new_name(suffix))
    try:
        file.make()
        yield file
    finally:
        file.path.unlink(missing_ok=True)
        file.unlock()


class TemporaryFolder:
    """A folder where temporary files lie, made when it is needed: by `make`, or as a context that gives its path."""

    def __init__(self) -> None:
        self.path = Path(tempfile.gettempdir()) / _new_name()
        self._handle: int | None = None
        self._lock = Lock()

    def make(self) -> None:
        """Make it, unless it is there."""
        with self._lock:
            if self._handle is None:
                self._handle = _hold(self.path, self._open_new)

    def close(self) -> None:
        """Remove it, and what is in it."""
        shutil.rmtree(self.path, ignore_errors=True)
        if self._handle is not None:
            os.close(self._handle)
            self._handle = None

    def __enter__(self) -> Path:
        """Make it."""
        self.make()
        return self.path

    def __exit__(self, *_: object) -> None:
        """Remove it."""
        self.close()

    def _open_new(self) -> int:
        self.path.mkdir(mode=0o700)
        return os.open(self.path, os.O_RDONLY | os.O_CLOEXEC)


def remove_orphans(folder: Path) -> None:
    """Remove the temporary files and folders of runs that were killed; those of a run that lives are locked by it."""
    with contextlib.suppress(OSError):
        for path in [path for path in folder.iterdir() if _NAME.fullmatch(path.name)]:
            with contextlib.suppress(OSError):
                _remove_unless_held(path)


def remove_temporary_orphans() -> None:
    """Remove those where temporary files lie."""
    with contextlib.suppress(OSError):  # there may be no such place
        remove_orphans(Path(tempfile.gettempdir()))


_remove_orphans_once = functools.cache(remove_orphans)


def _new_name(suffix: str = "") -> str:
    return f".vae3d-{secrets.token_hex(8)}.part{suffix}"


def _hold(path: Path, open_new: Callable[[], int]) -> int:
    """Make and lock a file or a folder: the lock is the sign that this run lives, and goes with it."""
    while True:
        handle = open_new()
        try:
            with contextlib.suppress(OSError):  # some file systems have no locks
                fcntl.flock(handle, fcntl.LOCK_EX)
            if os.path.samestat(os.fstat(handle), path.stat()):
                return handle
        except FileNotFoundError:  # another run has just removed it, before it was locked
            pass
        except BaseException:
            os.close(handle)
            raise
        os.close(handle)


def _remove_unless_held(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink()
    finally:
        os.close(handle)
