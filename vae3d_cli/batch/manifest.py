"""The record of an output folder: a line of JSON for every clip that was tried, appended in one piece."""

import errno
import fcntl
import json
import os
from abc import ABC, abstractmethod
from dataclasses import asdict, dataclass
from pathlib import Path, PurePosixPath
from types import TracebackType
from typing import BinaryIO

from vae3d_cli.batch.planning import Clip
from vae3d_cli.errors import OutputError
from vae3d_cli.files import FileStamp, check_regular, is_path, sync
from vae3d_cli.remote import Location

NAME = "vae3d-manifest.jsonl"
FORMAT = "vae3d.manifest/1"
# How every line begins, and so what is left of one that was torn.
_BEGINNING = b'{"format": "vae3d.manifest/'


@dataclass(frozen=True, slots=True, kw_only=True)
class FileState:
    """What a file was when it was hashed."""

    stamp: FileStamp
    sha256: str | None

    def to_json(self) -> dict[str, object]:
        """As a line has it."""
        stamp = {name: value for name, value in asdict(self.stamp).items() if value is not None}
        return {**stamp, "sha256": self.sha256}

    @classmethod
    def from_json(cls, value: dict[str, object]) -> "FileState":
        """From a line."""
        size, mtime_ns, ctime_ns = (int(str(value[key])) for key in ("size", "mtime_ns", "ctime_ns"))
        tag, sha256 = (None if text is None else str(text) for text in (value.get("tag"), value["sha256"]))
        return cls(stamp=FileStamp(size, mtime_ns, ctime_ns, tag), sha256=sha256)


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """What is known of a latents file that was written: of what, as what, and the seconds that it took if known.

    `replaces` are the names of files beside it that were removed when it took their place.
    """

    source: FileState
    latents: FileState
    encoder_sha256: str
    settings: dict[str, object]
    model: str
    num_frames: int
    latents_shape: tuple[int, ...]
    seconds: float | None
    replaces: tuple[str, ...] = ()

    def to_json(self) -> dict[str, object]:
        """The part of a line behind the names."""
        return {
            "model": self.model,
            "encoder_sha256": self.encoder_sha256,
            "settings": self.settings,
            "num_frames": self.num_frames,
            "latents_shape": list(self.latents_shape),
            "source": self.source.to_json(),
            "latents": self.latents.to_json(),
            "seconds": self.seconds,
            **({"replaces": list(self.replaces)} if self.replaces else {}),
        }

    @classmethod
    def from_json(cls, line: dict[str, dict[str, object]]) -> "Entry":
        """From a line."""
        return cls(
            source=FileState.from_json(line["source"]),
            latents=FileState.from_json(line["latents"]),
            encoder_sha256=str(line["encoder_sha256"]),
            settings=dict(line["settings"]),
            model=str(line["model"]),
            num_frames=int(str(line["num_frames"])),
            latents_shape=tuple(int(str(size)) for size in line["latents_shape"]),
            seconds=None,
            replaces=tuple(str(name) for name in line.get("replaces", ())),
        )


class Record(ABC):
    """What a manifest knows, and what is told to it. The last line of an output that tells of no error counts."""

    def __init__(self) -> None:
        self._entries: dict[str, Entry] = {}

    def entry_of(self, clip: Clip) -> Entry | None:
        """What is known of the output of a clip."""
        return self._entries.get(self._name_of(clip))

    def add(self, clip: Clip, entry: Entry) -> None:
        """Write that the output of a clip is there."""
        self._write(clip, entry.to_json())
        self._entries[self._name_of(clip)] = entry

    def add_error(self, clip: Clip, error: Exception) -> None:
        """Write that a clip failed."""
        self._write(clip, {"error": str(error)})

    @abstractmethod
    def _name_of(self, clip: Clip) -> str:
        """The name of an output in the folder, which may be moved as a whole."""

    @abstractmethod
    def _append(self, line: bytes) -> None:
        """Write a line."""

    def _write(self, clip: Clip, facts: dict[str, object]) -> None:
        line = {"format": FORMAT, "path": str(clip.source), "output": self._name_of(clip), **facts}
        # ASCII: names that are no UTF-8 are escaped, and come back as they were.
        self._append(json.dumps(line).encode() + b"\n")


class Manifest(Record):
    """The manifest of a folder, open for one run at a time; a line that a kill or a power cut tore is taken away.

    Raises:
        OutputError: It cannot be written, another run has it, or it is not one of this version.
    """

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self.path = folder / NAME
        self._folder = folder

    def __enter__(self) -> "Manifest":
        """Open and read it."""
        try:
            self._folder.mkdir(exist_ok=True)
            check_regular(self.path)
            self._file = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o666)
        except OSError as error:
            raise OutputError(f"{self.path}: {error.strerror}; name another folder with -o") from error
        try:
            self._lock()
            self._read()
        except BaseException:
            os.close(self._file)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close it, which lets the next run have it."""
        os.close(self._file)

    def _name_of(self, clip: Clip) -> str:
        assert isinstance(clip.output, Path)
        return clip.output.relative_to(self._folder).as_posix()

    def _append(self, line: bytes) -> None:
        """Write it in one piece, so that a kill leaves all of it, or none, or at worst the last one torn."""
        end = os.fstat(self._file).st_size
        try:
            if os.write(self._file, line) != len(line):
                os.ftruncate(self._file, end)
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            sync(self._file)
        except OSError as error:
            raise OutputError(f"{self.path}: {error.strerror}; the clip has no line in it") from error

    def _lock(self) -> None:
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)  # gone with the process, however it ends
        except BlockingIOError as error:
            raise OutputError(
                f"{self.path}: another run is writing to this folder; wait for its end, or name another with -o"
            ) from error
        except OSError as error:
            raise OutputError(
                f"{self.path}: cannot be locked ({error.strerror}), so that two runs could write to it; name a folder "
                "on another file system"
            ) from error

    def _read(self) -> None:
        with os.fdopen(os.dup(self._file), "rb") as file:
            file.seek(0)
            self._entries, end = parse(file, self.path)
        if end != os.fstat(self._file).st_size:
            os.ftruncate(self._file, end)


def read_manifest(folder: Path) -> dict[str, Entry]:
    """What the manifest of a folder knows of the outputs in it, by their paths from there; also while a run has it.

    Raises:
        OutputError: It cannot be read, or is not one of this version.
    """
    path = folder / NAME
    try:
        check_regular(path)
        with path.open("rb") as file:
            return parse(file, path)[0]
    except OSError as error:
        raise OutputError(f"{path}: {error.strerror}; the manifest cannot be read") from error


def parse(file: BinaryIO, path: Location) -> tuple[dict[str, Entry], int]:
    """What the lines of a manifest say, and where the last whole one ends."""
    entries: dict[str, Entry] = {}
    end = 0
    for number, text in enumerate(file, 1):
        damaged = OutputError(
            f"{path}: its line {number} is damaged; take the line away, or the manifest: latents files say themselves "
            "what they are"
        )
        if not text.endswith(b"\n"):
            if text.startswith(_BEGINNING) or _BEGINNING.startswith(text) or not text.strip(b"\0"):
                break  # torn; a power cut leaves zeros
            raise damaged
        try:
            line = json.loads(text)
            found = line["format"]
            if found == FORMAT and "error" not in line:
                entry, output = Entry.from_json(line), line["output"]
                if not is_path(output) or output.startswith("/") or ".." in PurePosixPath(output).parts:
                    raise ValueError("an output that is not in the folder")
                for name in entry.replaces:
                    entries.pop(str(PurePosixPath(output).with_name(name)), None)
                entries[output] = entry
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise damaged from error
        if found != FORMAT:
            raise OutputError(
                f"{path}: its line {number} is of the format {found!r} and this version writes {FORMAT!r}; name "
                "another folder with -o, or move the manifest away: latents files say themselves what they are"
            )
        end += len(text)
    return entries, end
