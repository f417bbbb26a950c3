"""Check that no output of a run overwrites one of its inputs or another output."""

import os
import stat
from collections.abc import Hashable, Iterable, Iterator, Sequence

from vae3d_cli.batch.manifest import NAME
from vae3d_cli.batch.planning import Clip
from vae3d_cli.errors import UsageError
from vae3d_cli.files import STDIN_FD, STDOUT_FD
from vae3d_cli.latents import musubi_names, musubi_pattern
from vae3d_cli.remote import Location, RemotePath
from vae3d_cli.remote.store import FILES

Use = tuple[str, Location | None]
"""Name of a file in messages, such as "the list", and its path; `None` is standard input or output."""


def refuse_collisions(reads: Iterable[Use], writes: Iterable[Use]) -> None:
    """Refuse an output that is also an input or another output, under any name (links, hard links, `..`, case).

    Files are compared by device and inode or, before they exist, by resolved path: a few system calls each.

    Raises:
        UsageError: An output is an input or another output.
    """
    identities = _Identities()
    known: dict[Hashable, tuple[Use, bool]] = {}
    for read in reads:
        for key in identities.of_read(read[1]):
            known.setdefault(key, (read, False))
    for write in writes:
        key = identities.of(write[1], STDOUT_FD)
        if key is None:
            continue
        other, is_output = known.setdefault(key, (write, True))
        if other is write:
            continue
        name, path = write[0], "-" if write[1] is None else write[1]
        also = "" if str(other[1]) == str(path) else f" ({'-' if other[1] is None else other[1]})"
        if is_output:
            raise UsageError(
                f"{path}: {other[0]}{also} and {name} would both be written to this file; give them different names"
            )
        raise UsageError(f"{path}: {name} would overwrite {other[0]}{also}; name another output")


def check_apart(clips: Sequence[Clip], also_read: Iterable[Use]) -> None:
    """Check the clips of a run and the manifests of their folders with `refuse_collisions`.

    Raises:
        UsageError: An output is an input or another output.
    """
    roots = dict.fromkeys(clip.root for clip in clips if clip.root is not None)
    manifests = [("the manifest", root / NAME) for root in roots]
    outputs = [(f"the output of {clip.name}", clip.output) for clip in clips]
    refuse_collisions([*also_read, *(("the input", clip.source) for clip in clips)], [*manifests, *outputs])


class _Identities:
    """Keys that are equal where two names lead to one file. Folders are resolved once: 50,000 clips lie in few."""

    def __init__(self) -> None:
        self._folders: dict[str, str] = {}

    def of(self, path: Location | None, stream: int) -> Hashable:
        """Key of a file or an object; `None` for a standard stream that is not a file."""
        if path is None:
            status = os.fstat(stream)
            return (status.st_dev, status.st_ino) if stat.S_ISREG(status.st_mode) else None
        name = str(path)
        if isinstance(path, RemotePath):
            scheme, _, rest = name.partition("://")
            if scheme not in FILES:
                return name
            name = rest
        try:
            status = os.stat(name)  # noqa: PTH116 - 100,000 of them
        except (OSError, ValueError):
            return self._resolved(name)
        return (status.st_dev, status.st_ino) if status.st_ino else self._resolved(name)

    def of_read(self, path: Location | None) -> Iterator[Hashable]:
        """Keys of an input; one named like a musubi-tuner cache also has the keys of the planned caches it could be."""
        key = self.of(path, STDIN_FD)
        if key is not None:
            yield key
        if path is not None and not isinstance(path, RemotePath):
            for stem, start in musubi_names(path.name):
                yield self._resolved(str(path.with_name(musubi_pattern(stem, start))))

    def _resolved(self, name: str) -> str:
        if os.path.islink(name):  # noqa: PTH114
            return os.path.realpath(name)
        folder, base = os.path.split(name)
        if folder not in self._folders:
            self._folders[folder] = os.path.realpath(folder)
        return os.path.join(self._folders[folder], base)  # noqa: PTH118
