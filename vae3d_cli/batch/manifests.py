"""The manifests of a run, of which those in stores are put as a whole: nothing can be appended to an object."""

import io
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from types import TracebackType

from vae3d_cli.batch.manifest import NAME, Manifest, Record, parse
from vae3d_cli.batch.planning import Clip
from vae3d_cli.errors import StoreError
from vae3d_cli.remote import Location, RemotePath

# Between two puts, and as often as one takes: that of 50,000 clips is large.
_SECONDS_BETWEEN = 5.0
_TIMES_BETWEEN = 20


class StoredManifest(Record):
    """The manifest of a folder in a store: its lines are kept, and the object is put every few seconds and at the end.

    Stores have no locks: of two runs at a time the one that ends last has its lines in it.

    Raises:
        StoreError: It cannot be read or written.
        OutputError: It is not one of this version.
    """

    def __init__(self, folder: RemotePath) -> None:
        super().__init__()
        self.path = folder / NAME
        self._folder = folder
        self._is_new = False
        self._next_put = 0.0

    def __enter__(self) -> "StoredManifest":
        """Read it, and see that it can be written."""
        data = self.path.read() or b""
        self._entries, end = parse(io.BytesIO(data), self.path)
        self._lines = bytearray(data[:end])
        self._put()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Put what is new."""
        if self._is_new:
            with suppress(*((StoreError,) if error else ())):  # what ended the run says more
                self._put()

    def _name_of(self, clip: Clip) -> str:
        assert isinstance(clip.output, RemotePath)
        return str(clip.output.relative_to(self._folder))

    def _append(self, line: bytes) -> None:
        self._lines += line
        self._is_new = True
        if time.monotonic() >= self._next_put:
            with suppress(StoreError):  # the next one has these lines, too, and the last one must succeed
                self._put()

    def _put(self) -> None:
        start = time.monotonic()
        try:
            self.path.write(bytes(self._lines))
            self._is_new = False
        finally:
            end = time.monotonic()
            self._next_put = end + max(_SECONDS_BETWEEN, _TIMES_BETWEEN * (end - start))


class Manifests:
    """The manifests of the folders that the clips of a run are written to."""

    def __init__(self, by_folder: dict[Location, Record]) -> None:
        self._by_folder = by_folder

    def of(self, clip: Clip) -> Record | None:
        """That of a clip's folder; an output that was placed by itself has none."""
        return None if clip.root is None else self._by_folder[clip.root]


@contextmanager
def open_manifests(clips: Sequence[Clip]) -> Iterator[Manifests]:
    """Open the manifests of all folders that clips are written to, and make those that are missing.

    Raises:
        OutputError: One cannot be opened.
        StoreError: One in a store cannot be read or written.
    """
    with ExitStack() as stack:
        folders = dict.fromkeys(clip.root for clip in clips if clip.root is not None)
        yield Manifests(
            {
                folder: stack.enter_context(Manifest(folder) if isinstance(folder, Path) else StoredManifest(folder))
                for folder in folders
            }
        )
