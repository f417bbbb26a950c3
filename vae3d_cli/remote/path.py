"""Objects of stores, and what stands for files and objects alike."""

import contextlib
import errno
import re
import secrets
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path, PurePath, PurePosixPath
from threading import Event
from typing import Any

from vae3d_cli.errors import StoreError, UsageError
from vae3d_cli.files import FileStamp
from vae3d_cli.remote.store import FILES, connect, move, places, requests, stamp, until

_URL = re.compile(r"([a-z][a-z0-9+.-]*)://(.*)", re.DOTALL)
# These cannot be listed or written, and name pages as often as files.
_REFUSED = frozenset(["http", "https"])
_WILDCARDS = frozenset("*?[")


@dataclass(frozen=True, slots=True)
class RemotePath:
    """An object of a store, or a folder, by its URL, with what is needed here of the interface of `pathlib.Path`.

    One that `is_listed` is known to have the `stamp` that a listing gave, or where that is `None` not to be there: it
    is not asked for again.
    """

    url: str
    stamp: FileStamp | None = field(default=None, compare=False)
    is_listed: bool = field(default=False, compare=False)

    @classmethod
    def parse(cls, text: str) -> "RemotePath":
        """What a URL names.

        Raises:
            UsageError: It names nothing, or the package that speaks to its store is not installed.
        """
        scheme, _, rest = text.partition("://")
        if not rest.strip("/"):
            raise UsageError(f"{text}: names no object; give one as in s3://bucket/name")
        if scheme in FILES and not rest.startswith("/"):
            raise UsageError(f"{text}: is no absolute path; give one as in {scheme}:///folder/name")
        path = cls(text.rstrip("/"))
        connect(path.url)
        return path

    def __str__(self) -> str:
        return self.url

    def __truediv__(self, place: str | PurePath) -> "RemotePath":
        return RemotePath(f"{self.url}/{place}")

    @property
    def name(self) -> str:
        """The last part."""
        return self.url.partition("://")[2].rpartition("/")[2]

    @property
    def suffix(self) -> str:
        """That of the name, as `pathlib` has it."""
        return PurePosixPath(self.name).suffix

    @property
    def stem(self) -> str:
        """The name without the suffix."""
        return PurePosixPath(self.name).stem

    @property
    def parts(self) -> tuple[str, ...]:
        """The bucket (where there are some) and the folders, to the name."""
        return PurePosixPath(self.url.partition("://")[2]).parts

    @property
    def parent(self) -> "RemotePath":
        """The folder that it is in."""
        return RemotePath(self.url.rpartition("/")[0])

    def with_suffix(self, suffix: str) -> "RemotePath":
        """Another in the same folder."""
        return self.parent / PurePosixPath(self.name).with_suffix(suffix)

    def relative_to(self, folder: "RemotePath") -> PurePosixPath:
        """The path from a folder that it is below."""
        assert self.is_below(folder)
        return PurePosixPath(self.url[len(folder.url) + 1 :])

    def is_below(self, folder: "RemotePath") -> bool:
        """Whether it is in a folder, or deeper."""
        return self.url.startswith(f"{folder.url}/")

    def listed(self, stamp: FileStamp | None) -> "RemotePath":
        """The same, with what a listing says of it."""
        return RemotePath(self.url, stamp, is_listed=True)

    def look(self) -> FileStamp | None:
        """What a change of the object is seen by, or `None` where there is no object.

        Raises:
            StoreError: The store does not say.
        """
        if self.is_listed:
            return self.stamp
        with requests(self.url) as (store, path):
            try:
                return stamp(store.info(path))
            except FileNotFoundError:
                return None

    def exists(self) -> bool:
        """Whether there is such an object, see `look`."""
        return self.look() is not None

    def is_dir(self) -> bool:
        """Whether there is such a folder: whether objects are below it.

        Raises:
            StoreError: The store does not say.
        """
        if self.is_listed:
            return False
        with requests(self.url) as (store, path):
            return bool(store.isdir(path))

    def objects(self) -> dict[PurePosixPath, FileStamp]:
        """The objects below this folder by their paths from here, of one listing; none where it is not there.

        Raises:
            StoreError: It cannot be listed.
        """
        with requests(self.url) as (store, path):
            try:
                found = store.find(path, detail=True)
            except FileNotFoundError:
                return {}
            return dict(places(found, path))

    def glob(self) -> "list[RemotePath]":
        """The objects whose names match this as a pattern, as a shell has it, by name.

        Raises:
            StoreError: They cannot be listed.
        """
        parts = self.url.split("/")
        first = next(number for number, part in enumerate(parts) if not _WILDCARDS.isdisjoint(part))
        top = RemotePath("/".join(parts[:first]))
        with requests(self.url) as (store, path):
            found = store.glob(path, detail=True)
            listing = dict(places(found, path[: len(path) - len(self.url) + len(top.url)]))
        return [(top / place).listed(listing[place]) for place in sorted(listing) if not is_hidden(place)]

    def read(self) -> bytes | None:
        """The bytes of the object, or `None` where there is none.

        Raises:
            StoreError: They cannot be read.
        """
        with requests(self.url) as (store, path):
            try:
                return bytes(store.cat_file(path))
            except FileNotFoundError:
                return None

    def write(self, data: bytes) -> None:
        """Put bytes in the object's place.

        Raises:
            StoreError: They cannot be written; what was there is.
        """
        self._put(lambda store, path: store.pipe_file(path, data))

    def download(self, file: Path, stopped: Event) -> None:
        """Copy the object to a file; where it is `stopped`, the file is not whole.

        Raises:
            StoreError: It cannot be read, or there is no room for it.
            Interrupted: It was stopped.
        """
        with requests(self.url) as (store, path):
            try:
                store.get_file(path, str(file), callback=until(stopped))
            except OSError as error:
                if error.errno in (errno.ENOSPC, errno.EDQUOT):
                    raise StoreError(
                        f"{self}: {error.strerror} while it was copied to {file.parent}; set TMPDIR to a folder with "
                        "more space"
                    ) from error
                raise

    def upload(self, file: Path, stopped: Event) -> FileStamp:
        """Put a file in the object's place, whole or not at all, and say what a change of it is seen by.

        Raises:
            StoreError: It cannot be written.
            Interrupted: It was stopped.
        """
        return self._put(lambda store, path: store.put_file(str(file), path, callback=until(stopped)))

    def _put(self, write: Callable[[Any, str], None]) -> FileStamp:
        """Have a temporary object written beside this one, and move it; on failure neither is left."""
        with requests(self.url) as (store, path):
            temporary = f"{path.removesuffix(self.name)}.vae3d-{secrets.token_hex(8)}.part{self.suffix}"
            ours = [temporary]
            try:
                write(store, temporary)
                if not store.exists(path):
                    ours.append(path)
                move(store, temporary, path)
                return stamp(store.info(path))
            except BaseException:
                for each in ours:
                    with contextlib.suppress(Exception):
                        store.rm_file(each)
                raise


Location = Path | RemotePath
"""A file on this machine, or an object in a store."""


def is_url(text: str) -> bool:
    """Whether this names an object of a store that fsspec knows; `./` before it makes it a file's name."""
    match = _URL.fullmatch(text)
    if match is None or match[1] in _REFUSED:
        return False
    from fsspec.registry import known_implementations, registry

    return match[1] in known_implementations or match[1] in registry


def location(text: str) -> Location:
    """What a text names: an object if it is a URL, else a file.

    Raises:
        UsageError: See `RemotePath.parse`.
    """
    return RemotePath.parse(text) if is_url(text) else Path(text)


def stamp_of(path: Location) -> FileStamp:
    """What a change of a file or an object is seen by.

    Raises:
        InputError: The file is not there.
        StoreError: The object is not there, or the store does not say.
    """
    if isinstance(path, Path):
        return FileStamp.of(path)
    stamp = path.look()
    if stamp is None:
        raise StoreError(f"{path}: there is no such object; check the name")
    return stamp


def is_hidden(place: PurePosixPath) -> bool:
    """Whether a path from a folder on has a part that begins with a dot; that is so of those that lead up."""
    return any(part.startswith(".") for part in place.parts)
