"""What stands on this machine for the objects of a clip while it is encoded."""

import tempfile
from dataclasses import replace
from pathlib import Path
from threading import Event

from vae3d_cli.batch.planning import Clip
from vae3d_cli.codec import EncodeResult
from vae3d_cli.errors import StoreError
from vae3d_cli.files import FileStamp
from vae3d_cli.latents import MUSUBI
from vae3d_cli.remote import Location, RemotePath
from vae3d_cli.temporary import TemporaryFolder

_SOURCE, _OUTPUT, _EXISTING = "source", "output", "existing"


class Staging:
    """The files that `encode_video` takes for a clip: its own or, for objects, copies in a folder that `close` removes.

    Copies keep the last part of their names. Transfers end where they are `stopped`.
    """

    def __init__(self, clip: Clip, stopped: Event) -> None:
        self._clip, self._stopped = clip, stopped
        self._folder = TemporaryFolder()
        self._names: dict[str, str] = {}
        self.source = self._stand_in(clip.source, _SOURCE)
        self.output = self._stand_in(clip.output, _OUTPUT)
        if self.output is not None and clip.options.format == MUSUBI:
            self.output = self.output.parent
        self._existing = self._stand_in(clip.output, _EXISTING)

    def close(self) -> None:
        """Remove the copies."""
        if self._names:
            self._folder.close()

    def fetch(self, path: Location) -> Path:
        """The source of the clip, or the output that is there already, as a file; it is downloaded once.

        Raises:
            StoreError: It cannot be read, or there is no room for it.
        """
        if isinstance(path, Path):
            return path
        copy = self.source if path == self._clip.source else self._existing
        assert copy is not None
        if not copy.exists():
            self._make_folder(path, copy.parent)
            path.download(copy, self._stopped)
        return copy

    def prepare_output(self) -> None:
        """Make the folder that an output is written to before it is uploaded."""
        if isinstance(self._clip.output, RemotePath) and self.output is not None:
            self._make_folder(self._clip.output, self.output.parent)

    def upload(self) -> FileStamp | None:
        """Put what was written in its place, if that is in a store, and say what a change of it is seen by.

        Raises:
            StoreError: It cannot be written.
        """
        if not isinstance(self._clip.output, RemotePath):
            return None
        assert self.output is not None
        return self._clip.output.upload(self.output, self._stopped)

    def renamed(self, result: EncodeResult) -> EncodeResult:
        """The same, of the objects and not of their copies."""
        notes = tuple(map(self._rename, result.notes))
        return replace(result, input=self._rename(result.input), output=self._rename(result.output), notes=notes)

    def rename_in(self, error: Exception) -> None:
        """Have an error name the objects and not their copies."""
        error.args = tuple(self._rename(part) if isinstance(part, str) else part for part in error.args)

    def _rename(self, text: str) -> str:
        for name, url in self._names.items():
            text = text.replace(name, url)
        return text

    def _stand_in(self, path: Location | None, folder: str) -> Path | None:
        if not isinstance(path, RemotePath):
            return path
        copy = self._folder.path / folder / path.name
        self._names[str(copy)] = path.url
        return copy

    def _make_folder(self, path: RemotePath, folder: Path) -> None:
        try:
            self._folder.make()
            folder.mkdir(exist_ok=True)
        except OSError as error:
            raise StoreError(
                f"{path}: {error.strerror} in {tempfile.gettempdir()}, where it is copied; set TMPDIR to another folder"
            ) from error
