"""Whether clips can be read and their outputs written, before any work: a few system calls for each.

Of objects it is seen only whether an output is there, by one listing: a request for each clip would take long.
"""

import os
import stat
from dataclasses import replace
from pathlib import Path, PurePosixPath

from vae3d_cli.batch.planning import Clip
from vae3d_cli.errors import OutputError
from vae3d_cli.files import FileStamp, check_input, check_output, why_no_folder
from vae3d_cli.remote import Location, RemotePath


class Checks:
    """Checks clip after clip, and remembers folders: 50,000 clips lie in few of them."""

    def __init__(self, *, overwrite: bool) -> None:
        self._overwrite = overwrite
        self._folders: dict[Path, str | None] = {}
        self._listings: dict[RemotePath, dict[PurePosixPath, FileStamp]] = {}

    def located(self, clip: Clip) -> Clip:
        """The clip with what is known of an output that is an object: a folder that outputs share is listed once.

        Raises:
            StoreError: The store does not say.
        """
        output, root = clip.output, clip.root
        if not isinstance(output, RemotePath):
            return clip
        if not isinstance(root, RemotePath):
            if output.is_dir():
                raise OutputError(f"{output}: is a folder; name an object, or the folder with a / behind it")
            return replace(clip, output=output.listed(output.look()))
        if root not in self._listings:
            self._listings[root] = root.objects()
        return replace(clip, output=output.listed(self._listings[root].get(output.relative_to(root))))

    def check(self, clip: Clip) -> bool:
        """Whether the output of a clip that is `located` is there already.

        Raises:
            InputError: The input is not there.
            OutputError: The output cannot be written, or may not be overwritten.
        """
        if not isinstance(clip.source, RemotePath):
            check_input(clip.source)
        if isinstance(clip.output, RemotePath):
            return self._check_object(clip.output)
        if clip.output is None:
            return False
        if isinstance(clip.root, Path):
            return self._check_below(clip.root, clip.output)
        check_output(clip.output, overwrite=self._overwrite, makes_folder=clip.makes_folder)
        return clip.output.exists()

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
        self._refuse_existing(output)
        return True

    def _check_object(self, output: RemotePath) -> bool:
        """The same, for an object."""
        if not output.exists():
            return False
        self._refuse_existing(output)
        return True

    def _refuse_existing(self, output: Location) -> None:
        if not self._overwrite:
            raise OutputError(
                f"{output}: exists already; overwrite it with --force, leave it with --skip-existing, or name another "
                "folder with -o"
            )


def _reason_against(folder: Path, root: Path) -> str | None:
    """Why no file can be written to `folder`, where it, `root` and all between them may be made."""
    existing, highest = folder, root.absolute().parent
    while not existing.exists() and existing.absolute() != highest:
        existing = existing.parent
    if not existing.is_dir():
        return why_no_folder(existing, root)
    if not os.access(existing, os.W_OK):
        return f"permission denied; the folder {existing} cannot be written to"
    return None
