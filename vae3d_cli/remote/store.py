"""What is asked of fsspec, which is imported where a URL is given; so is the package that speaks to its store."""

import contextlib
import secrets
from collections.abc import Iterator
from datetime import datetime
from pathlib import PurePosixPath
from threading import Event
from typing import Any

from vae3d_cli.errors import Interrupted, StoreError, UsageError, Vae3dError
from vae3d_cli.files import FileStamp

# What stores say of an object that is another for another content; where one says nothing of the kind, its times.
_TAGS = ("ETag", "etag", "md5Hash", "blob_id")
_TIMES = ("mtime", "created", "ino", "modified", "last_modified", "LastModified")
# Those of files, which workers may look for from another folder.
FILES = frozenset(["file", "local"])


def connect(url: str) -> tuple[Any, str]:
    """The file system of a URL, and the path in it; fsspec keeps one for each thread."""
    from fsspec.core import url_to_fs

    scheme = url.partition("://")[0]
    try:
        # Stores have no folders to make; file systems make them by themselves but for this one.
        store, path = url_to_fs(url, **({"auto_mkdir": True} if scheme in FILES else {}))
    except ImportError as error:
        package = getattr(error.__cause__, "name", None) or str(error)
        raise UsageError(f"{scheme}:// needs the package {package}; pip install {package}") from error
    except Exception as error:
        raise StoreError(
            f"{url}: {_text(error)}; see what {scheme}:// needs to be told in fsspec's documentation"
        ) from error
    store.invalidate_cache()  # others write to it, too
    return store, str(path)


@contextlib.contextmanager
def requests(url: str) -> Iterator[tuple[Any, str]]:
    """The file system and the path in it, to make requests; what goes wrong, in whatever way, is named."""
    try:
        yield connect(url)
    except (Vae3dError, Interrupted):
        raise
    except FileNotFoundError as error:
        raise StoreError(f"{url}: there is no such object, or no such bucket; check the name") from error
    except PermissionError as error:
        raise StoreError(f"{url}: permission denied ({_text(error)}); check the credentials of the store") from error
    except Exception as error:
        raise StoreError(
            f"{url}: {_text(error)}; check the network, and the address and credentials of the store"
        ) from error


def _text(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__


def until(stopped: Event) -> Any:
    """What has a transfer end between two pieces."""
    from fsspec.callbacks import Callback

    def check(*_: object, **__: object) -> None:
        if stopped.is_set():
            raise Interrupted("a transfer was stopped")

    return Callback(hooks={"stopped": check})


def move(store: Any, source: str, target: str) -> None:
    """Give an object another name; what has no way to is copied, without taking names for patterns as `mv` does."""
    from fsspec import AbstractFileSystem

    if type(store).mv is AbstractFileSystem.mv:
        store.cp_file(source, target)
        store.rm_file(source)
    else:
        store.mv(source, target)


def places(found: dict[str, dict[str, Any]], top: str) -> Iterator[tuple[PurePosixPath, FileStamp]]:
    """The objects of a listing, by their paths from `top`."""
    for name, info in found.items():
        place = name.removeprefix(top).strip("/")
        if place and info["type"] != "directory":
            yield PurePosixPath(place), stamp(info)


def stamp(info: dict[str, Any]) -> FileStamp:
    """Of what a store says of an object; where that tells no versions apart, it is as if it had changed."""
    tag = next((str(info[key]) for key in _TAGS if info.get(key)), None)
    times = " ".join(_time(info[key]) for key in _TIMES if info.get(key))
    return FileStamp(int(info.get("size") or 0), 0, 0, tag or times or secrets.token_hex(8))


def _time(value: object) -> str:
    """A time, which some listings have as a number and some objects do not."""
    return str(value.timestamp() if isinstance(value, datetime) else value)
