"""Outputs that appear whole or not at all, and copies of inputs that can be read only once."""

import contextlib
import errno
import fcntl
import filecmp
import hashlib
import os
import re
import stat
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import TypeGuard

from vae3d_cli.errors import InputError, OutputError
from vae3d_cli.temporary import TemporaryFile, temporary_file

STDIN_NAME = "<stdin>"
STDIN_FD, STDOUT_FD = 0, 1
STDOUT_NAME = "standard output"
_SPECIAL_KINDS = {stat.S_IFIFO: "pipe", stat.S_IFSOCK: "socket", stat.S_IFCHR: "device", stat.S_IFBLK: "device"}
_MAX_NAME_BYTES = 255
_COPY_BYTES = 1 << 20
# How file systems say that they have no such operation.
_UNSUPPORTED = frozenset([errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL])
AnyPath = str | os.PathLike[str]


def as_path(path: AnyPath | None) -> Path | None:
    """A path as the library takes it; `None`, standard input or output, stays so."""
    return None if path is None else Path(path)


def base_name_of(path: Path | None) -> str | None:
    """The name of a file without its folder, in UTF-8 as metadata are, which a file name need not be.

    `None` for standard input.
    """
    return None if path is None else os.fsencode(path.name).decode(errors="replace")


def visible_files(folder: Path, pattern: str = "*") -> Iterator[Path]:
    """The files in a folder and its subfolders that match, without hidden ones: they may be half written."""
    for path in folder.rglob(pattern):
        if not any(part.startswith(".") for part in path.relative_to(folder).parts) and path.is_file():
            yield path


def check_input(path: Path | None) -> None:
    """See that `path` is there, before a model is loaded for it; standard input (`None`) always is.

    Raises:
        InputError: It is not.
    """
    if path is None:
        return
    try:
        path.stat()
    except (OSError, RuntimeError) as error:
        raise InputError(f"{path}: {why_not_there(path, error)}") from error


def why_not_there(path: Path, error: OSError | RuntimeError) -> str:
    """What the system has against a path, and what to do; one that is not there may have been meant as a URL."""
    if isinstance(error, FileNotFoundError) and _is_meant_as_url(path):
        return "only local files are read here; download it first"
    if isinstance(error, IsADirectoryError):
        return f"{error.strerror}; give the files in it"
    return f"{getattr(error, 'strerror', None) or error}; check the name"


def why_no_folder(folder: Path, path: Path) -> str:
    """What to do about a folder of `path` that is none, or not there; the path may have been meant as a URL."""
    if _is_meant_as_url(path):
        return "only local files are written here; name one, and upload it"
    if folder.exists():
        return f"{folder} is no folder; name another with -o"
    return f"there is no folder {folder}; make it first"


def _is_meant_as_url(path: Path) -> bool:
    return re.match(r"[a-z][a-z0-9+.-]*:/", str(path)) is not None  # of two slashes


def check_output(path: Path, *, overwrite: bool, makes_folder: bool = False) -> None:
    """See that `path` can be written, before any work is done; its folder may be made later.

    Raises:
        OutputError: It exists and may not be overwritten, is a folder, or its folder is missing or read-only.
    """
    try:
        folder, shown = path.resolve().parent, path.parent
        if makes_folder and not folder.exists():
            folder, shown = folder.parent, shown.parent
        if path.is_dir():
            raise OutputError(f"{path}: is a directory; name a file")
        if not folder.is_dir():
            raise OutputError(f"{path}: {why_no_folder(shown, path)}")
        if is_special(path):
            return
        if path.exists() and not overwrite:
            raise OutputError(f"{path}: exists already; overwrite it with --force, or name another file with -o")
        if not os.access(folder, os.W_OK):
            raise OutputError(f"{path}: permission denied; the folder {shown} cannot be written to")
    except (OSError, RuntimeError) as error:  # a name too long, a folder that may not be searched, a loop of links
        raise OutputError(f"{path}: {getattr(error, 'strerror', None) or error}; name another output") from error


def check_stdout_is_open() -> None:
    """See that standard output can be written to.

    Raises:
        OutputError: It is closed, or open for reading.
    """
    try:
        is_writable = fcntl.fcntl(STDOUT_FD, fcntl.F_GETFL) & os.O_ACCMODE != os.O_RDONLY
    except OSError:
        is_writable = False
    if not is_writable:
        raise OutputError(f"{STDOUT_NAME} is closed; redirect it to a file or a pipe")


@dataclass(frozen=True, slots=True)
class FileStamp:
    """By what a change of a file is seen without reading it: its size, and when its bytes and its entry changed.

    The second time cannot be set, so that a file of the same size with an older one's time is seen, too. An object in a
    store has a `tag` in place of times, which is another for another content.
    """

    size: int
    mtime_ns: int
    ctime_ns: int
    tag: str | None = None

    @classmethod
    def of(cls, path: Path) -> "FileStamp":
        """That of a file as it is now.

        Raises:
            InputError: It is not there.
        """
        try:
            status = path.stat()
        except OSError as error:
            raise InputError(f"{path}: {why_not_there(path, error)}") from error
        return cls(status.st_size, status.st_mtime_ns, status.st_ctime_ns)


def sha256_of(path: Path) -> str:
    """The SHA-256 of a file's bytes.

    Raises:
        InputError: It cannot be read.
    """
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}; the file cannot be read") from error


def spool_folder(output: Path | None) -> Path | None:
    """Where to keep what an output is made of: beside it, or where temporary files lie for a pipe or a device."""
    return None if output is None or is_special(output) else output.resolve().parent


class OutputGroup:
    """Outputs that take their names together when its context ends, once all are written: all of them, or none.

    Without `overwrite` a file that appeared under one of the names meanwhile is kept, which is an error.
    """

    def __init__(self, *, overwrite: bool = True) -> None:
        self._overwrite = overwrite
        self._cleanup = contextlib.ExitStack()
        self._written: list[tuple[TemporaryFile, Path]] = []

    def __enter__(self) -> "OutputGroup":
        """Use it as a context."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Have the outputs appear, unless something failed.

        Raises:
            OutputError: One of them cannot take its name.
        """
        with self._cleanup, contextlib.ExitStack() as undoing:
            if kind is None:
                for temporary, path in self._written:
                    with _errors_of(path):
                        target = path.resolve()
                        is_new = not target.exists()
                        self._put(temporary, target)
                        if is_new:
                            undoing.callback(target.unlink, missing_ok=True)
                undoing.pop_all()
                for folder in {path.resolve().parent for _, path in self._written}:
                    with contextlib.suppress(OSError):  # the outputs are there
                        _sync_named(folder)

    def add(self, temporary: TemporaryFile, path: Path, cleanup: contextlib.ExitStack) -> None:
        """Take a file that is written, which `path` is to be the name of."""
        self._written.append((temporary, path))
        self._cleanup.push(cleanup)

    def _put(self, temporary: TemporaryFile, target: Path) -> None:
        try:
            _move(temporary.path, target, overwrite=self._overwrite)
        except FileExistsError:
            raise
        except OSError:  # some file systems rename no open file; elsewhere the lock is kept to the end
            temporary.unlock()
            _move(temporary.path, target, overwrite=self._overwrite)


@contextlib.contextmanager
def atomic_output(path: Path, group: OutputGroup | None = None, *, overwrite: bool = True) -> Iterator[Path]:
    """A temporary file beside `path` to write to, which takes the name on success and is gone on failure.

    It takes the name when the `group` that it belongs to does, by the rule of that group; by itself, `overwrite` says
    whether it may replace a file that appeared under the name meanwhile. A symbolic link stays a link, an existing file
    keeps its mode, and a device or a FIFO is written straight.

    Raises:
        OutputError: The folder cannot be written to, the disk is full, or there is a file that must be kept.
    """
    if is_special(path):
        with _errors_of(path):
            yield path
        return
    with contextlib.ExitStack() as stack:
        group = group or stack.enter_context(OutputGroup(overwrite=overwrite))
        with _errors_of(path):
            target = path.resolve()
            cleanup = stack.enter_context(contextlib.ExitStack())
            temporary = cleanup.enter_context(temporary_file(target.parent, target.suffix))
            with _unless_unsupported(errno.EPERM):  # the mount says whose the files are
                temporary.path.chmod(_mode_of(target))
            yield temporary.path
            _sync_named(temporary.path)
            group.add(temporary, path, cleanup.pop_all())


@contextlib.contextmanager
def _errors_of(path: Path) -> Iterator[None]:
    try:
        yield
    except FileExistsError as error:
        raise OutputError(
            f"{path}: a file of this name has appeared since the run began and was kept; if two outputs have one name "
            "on this disk, rename one of the inputs"
        ) from error
    except OSError as error:
        raise OutputError(f"{path}: {error.strerror or error}; nothing was written") from error


def _move(temporary: Path, target: Path, *, overwrite: bool) -> None:
    """Move a finished file to its name.

    Raises:
        FileExistsError: The name is taken, and that file is kept.
    """
    if overwrite:
        temporary.replace(target)
        return
    try:
        os.link(temporary, target)
    except FileExistsError:
        # A lost worker may have written the same file before.
        if not filecmp.cmp(temporary, target, shallow=False):
            raise
    except OSError:  # without hard links, reserve the name with an empty file
        os.close(os.open(target, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC))
        try:
            temporary.replace(target)
        except BaseException:
            target.unlink(missing_ok=True)
            raise


def is_read_once(path: Path | None) -> bool:
    """Whether this is standard input (`None`) or a FIFO, such as `<(command)`: what is read of it is gone."""
    return path is None or _kind_of(path) == stat.S_IFIFO


@contextlib.contextmanager
def copy_of_pipe(path: Path | None, head: bytes = b"", fd: int | None = None) -> Iterator[Path]:
    """A FIFO or standard input (`None`) as a temporary file, with `head`, what was read of it from `fd`, in front.

    Raises:
        InputError: It cannot be read, or there is no room for it.
    """
    with contextlib.ExitStack() as stack:
        try:
            copy = stack.enter_context(temporary_file(Path(tempfile.gettempdir()))).path
            if fd is None:
                fd = STDIN_FD if path is None else stack.enter_context(path.open("rb")).fileno()
            with copy.open("wb") as file:
                file.write(head)
                while data := os.read(fd, _COPY_BYTES):
                    file.write(data)
        except OSError as error:
            raise InputError(
                f"{path or STDIN_NAME}: {error.strerror} while it was copied to {tempfile.gettempdir()}; set TMPDIR "
                "to a folder with more space"
            ) from error
        yield copy


def is_path(text: object) -> TypeGuard[str]:
    """Whether the system could have a path of this text; JSON can hold what it cannot: NUL, halves of characters."""
    try:
        return isinstance(text, str) and text != "" and b"\0" not in os.fsencode(text)
    except UnicodeEncodeError:
        return False


def is_file_name(text: object) -> TypeGuard[str]:
    """Whether a file beside another could have this name."""
    return is_path(text) and text not in (".", "..") and "/" not in text and len(os.fsencode(text)) <= _MAX_NAME_BYTES


def check_regular(path: Path) -> None:
    """Check that a path is not a pipe, a socket or a device, of which opening or reading may never end.

    Raises:
        OSError: It is.
    """
    if kind := _SPECIAL_KINDS.get(_kind_of(path) or 0):
        raise OSError(errno.EINVAL, f"a {kind}, where a file is expected")


def is_special(path: Path) -> bool:
    """Whether `path` is a device, a FIFO or a socket: a thing to write to, never to replace."""
    return _kind_of(path) not in (None, stat.S_IFREG, stat.S_IFDIR)


def _kind_of(path: Path) -> int | None:
    """What is there; `None` if nothing, or if the system has something against the name, which who opens it says."""
    try:
        return stat.S_IFMT(path.stat().st_mode)
    except OSError:
        return None


def _mode_of(target: Path) -> int:
    """The mode of the file that is replaced, or what the umask gives a new one."""
    try:
        return stat.S_IMODE(target.stat().st_mode)
    except FileNotFoundError:
        umask = os.umask(0)
        os.umask(umask)
        return 0o666 & ~umask


def sync(file: int) -> None:
    """Sync an open file to the disk, if the file system can."""
    with _unless_unsupported():
        os.fsync(file)


def _sync_named(path: Path) -> None:
    """Sync a closed file, or the names in a folder."""
    handle = os.open(path, os.O_RDONLY)
    try:
        sync(handle)
    finally:
        os.close(handle)


@contextlib.contextmanager
def _unless_unsupported(*others: int) -> Iterator[None]:
    """Ignore the errors of a file system that lacks an operation: the usual ones, and `others`."""
    try:
        yield
    except OSError as error:
        if error.errno not in (*_UNSUPPORTED, *others):
            raise
