"""Whether clips can be read and their outputs written, before any work: a few system calls for each."""

import os
import stat
from pathlib import Path

from vae3d_cli.batch.planning import Clip
from vae3d_cli.errors import OutputError
from vae3d_cli.files import check_input, check_output, same_file


class Checks:
    """Checks clip after clip, and remembers folders: 50,000 clips lie in few of them."""

    def __init__(self, *, overwrite: bool) -> None:
        self._overwrite = overwrite
        self._folders: dict[Path, str | None] = {}

    def check(self, clip: Clip) -> bool:
        """Whether the output is there already.

        Raises:
            InputError: The input is not there.
            OutputError: The output cannot be written, or may not be overwritten.
        """
        check_input(clip.source)
        if clip.output is None:
            return False
        if clip.root is None:
            check_output(clip.output, overwrite=self._overwrite)
            exists = clip.output.exists()
        else:
            exists = self._check_below(clip.root, clip.output)
        if exists and clip.source is not None and same_file(clip.source, clip.output):
            raise OutputError(f"{clip.output}: is the input itself; name another output")
        return exists

    def _check_below(self, root: Path, output: Path) -> bool:
        """What `check_output` does, for a file in a folder that is made if need be; and whether it is there."""
        folder = output.parent
        if folder not in self._folders:
            self._folders[folder] = _reason_against(folder, root)
        if reason := self._folders[folder]:
            raise OutputError(f"{output}: {reason}")
        try:
            mode = output.stat().st_mode
        except FileNotFoundError:
            return False
        except OSError as error:
            raise OutputError(f"{output}: {error.strerror}; name another output") from error
        if stat.S_ISDIR(mode):
            raise OutputError(f"{output}: is a directory; name a file")
        if not self._overwrite:
            raise OutputError(
                f"{output}: exists already; overwrite it with --force, leave it with --skip-existing, or name another "
                "folder with -o"
            )
        return True


def _reason_against(folder: Path, root: Path) -> str | None:
    """Why no file can be written to `folder`, where it, `root` and all between them may be made."""
    existing, highest = folder, root.absolute().parent
    while not existing.exists() and existing.absolute() != highest:
        existing = existing.parent
    if not existing.exists():
        return f"there is no folder {existing}; make it first"
    if not existing.is_dir():
        return f"{existing} is no folder; name another with -o"
    if not os.access(existing, os.W_OK):
        return f"permission denied; the folder {existing} cannot be written to"
    return None
