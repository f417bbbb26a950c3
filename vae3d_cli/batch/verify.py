"""Whether latents files are whole: read to their end, and compared with the manifest of their folder."""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from vae3d_cli.batch.finding import is_folder
from vae3d_cli.batch.manifest import NAME, read_manifest
from vae3d_cli.config import TinyConfig
from vae3d_cli.errors import InputError, LatentsError, OutputError, Vae3dError
from vae3d_cli.files import check_input, check_regular, sha256_of
from vae3d_cli.geometry import latents_shape
from vae3d_cli.latents import SUFFIXES, LatentsReader, Owner, owner_of


@dataclass(frozen=True, slots=True)
class Stored:
    """A file to look at, its SHA-256 where a manifest knows it, and whether it was found or is an input itself."""

    path: Path
    sha256: str | None = None
    found: bool = False


@dataclass(frozen=True, slots=True)
class Verdict:
    """What came of a file: whole, wrong (`error`), or none of ours (`foreign`), which was not looked at."""

    path: Path
    error: Vae3dError | None = None
    foreign: bool = False


def find_latents(path: Path) -> list[Stored | Verdict]:
    """The file itself, or those of latents below a folder, and what its manifests list; that none is there is wrong."""
    if not is_folder(path):
        return [Stored(path)]
    known: dict[Path, str | None] = {}
    found: list[Stored | Verdict] = []

    def fail(error: OSError) -> None:
        found.append(Verdict(Path(error.filename), InputError(f"{error.filename}: {error.strerror}; it was left out")))

    paths = set()
    for folder, folders, names in os.walk(path, onerror=fail):
        folders.sort()
        if NAME in names:
            try:
                entries = read_manifest(Path(folder))
            except OutputError as error:
                found.append(Verdict(Path(folder) / NAME, error))
            else:
                known |= {Path(folder) / output: entry.latents.sha256 for output, entry in entries.items()}
        # What is hidden is half written, or left by a run that was killed.
        shown = (name for name in names if not name.startswith("."))
        paths |= {Path(folder) / name for name in shown if name.endswith(tuple(SUFFIXES.values()))}
    found += [Stored(each, known.get(each), found=True) for each in sorted(paths | known.keys())]
    return found or [Verdict(path, InputError(f"{path}: there are no latents files in it; check the name"))]


def verify(files: list[Stored | Verdict]) -> Iterator[Verdict]:
    """Read one file after the other, and say what came of each."""
    for file in files:
        if isinstance(file, Verdict):
            yield file
            continue
        try:
            check_input(file.path)
            if file.found:
                check_regular(file.path)
            if file.found and file.sha256 is None and owner_of(file.path) is Owner.OTHERS:
                yield Verdict(file.path, foreign=True)
                continue
            _check(file)
        except Vae3dError as error:
            yield Verdict(file.path, error)
        except OSError as error:
            yield Verdict(file.path, InputError(f"{file.path}: {error.strerror}; move it out of the folder"))
        else:
            yield Verdict(file.path)


def _check(file: Stored) -> None:
    """See that a file is whole.

    Raises:
        LatentsError: It is not.
        InputError: It cannot be read.
    """
    with LatentsReader(file.path) as latents:
        said = latents.said
        # Channels are the model's own; the sizes are the same for all.
        sizes = latents_shape(said.num_frames, said.height, said.width, TinyConfig())[1:]
        if latents.shape[1:] != sizes:
            raise LatentsError(
                f"{file.path}: has the sizes {list(latents.shape[1:])}, and {said.num_frames} frames of "
                f"{said.width}x{said.height} have {list(sizes)}; encode the clip again"
            )
        latents.check()
    if file.sha256 is not None and sha256_of(file.path) != file.sha256:
        raise LatentsError(f"{file.path}: is not what the manifest says was written; encode the clip again")
