"""Outputs that appear whole or not at all."""

import contextlib
import os
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path

from vae3d_cli.errors import OutputError


def check_output(path: Path, *, overwrite: bool) -> None:
    """See that `path` can be written, before any work is done.

    Raises:
        OutputError: It exists and may not be overwritten, is a folder, or its folder is missing or read-only.
    """
    folder = path.resolve().parent
    if path.is_dir():
        raise OutputError(f"{path}: is a directory; name a file")
    if not folder.is_dir():
        raise OutputError(f"{path}: there is no folder {path.parent}; make it first")
    if _is_special(path):
        return
    if path.exists() and not overwrite:
        raise OutputError(f"{path}: exists already; overwrite it with --force, or name another file with -o")
    if not os.access(folder, os.W_OK):
        raise OutputError(f"{path}: permission denied; the folder {path.parent} cannot be written to")


def spool_folder(output: Path | None) -> Path | None:
    """Where to keep what an output is made of: beside it, or where temporary files lie for a pipe or a device."""
    return None if output is None or _is_special(output) else output.resolve().parent


def same_file(a: Path, b: Path) -> bool:
    """Whether both names lead to one existing file."""
    try:
        return a.samefile(b)
    except OSError:
        return False


@contextlib.contextmanager
def atomic_output(path: Path) -> Iterator[Path]:
    """A temporary file beside `path` to write to, which takes the name on success and is gone on failure.

    A symbolic link stays a link, an existing file keeps its mode, and a device or a FIFO is written straight.

    Raises:
        OutputError: The folder cannot be written to, or the disk is full; the old file is still there.
    """
    try:
        if _is_special(path):
            yield path
        else:
            with _replacement(path.resolve()) as temporary:
                yield temporary
    except OSError as error:
        raise OutputError(f"{path}: {error.strerror or error}; nothing was written") from error


@contextlib.contextmanager
def _replacement(target: Path) -> Iterator[Path]:
    """A temporary file in the folder of `target` that replaces it if all goes well."""
    handle, name = tempfile.mkstemp(prefix=".vae3d-", suffix=f".part{target.suffix}", dir=target.parent)
    os.close(handle)
    temporary = Path(name)
    try:
        temporary.chmod(_mode_of(target))
        yield temporary
        _sync(temporary)
        temporary.replace(target)
        _sync(target.parent)
    finally:
        temporary.unlink(missing_ok=True)


def _is_special(path: Path) -> bool:
    """Whether `path` is a device, a FIFO or a socket: a thing to write to, never to replace."""
    return path.exists() and not path.is_file() and not path.is_dir()


def _mode_of(target: Path) -> int:
    """The mode of the file that is replaced, or what the umask gives a new one."""
    try:
        return stat.S_IMODE(target.stat().st_mode)
    except FileNotFoundError:
        umask = os.umask(0)
        os.umask(umask)
        return 0o666 & ~umask


def _sync(path: Path) -> None:
    """Have the disk hold what was written to a file, or the names in a folder."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
