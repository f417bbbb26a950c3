"""Which clips the inputs of a run name: files, folders and patterns."""

import glob
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePath, PurePosixPath

from vae3d_cli.errors import InputError, StoreError, UsageError, Vae3dError
from vae3d_cli.remote import Location, RemotePath, is_hidden

VIDEO_SUFFIXES = frozenset(
    [
        *(".3g2", ".3gp", ".asf", ".avi", ".divx", ".dv", ".f4v", ".flv", ".m2ts", ".m2v", ".m4v", ".mj2"),
        *(".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".mts", ".mxf", ".nut", ".ogv", ".qt", ".rm", ".rmvb", ".ts"),
        *(".vob", ".webm", ".wmv", ".y4m"),
    ]
)
PICTURE_SUFFIXES = frozenset(
    [
        *(".apng", ".avif", ".avifs", ".bmp", ".gif", ".heic", ".heif", ".hif", ".jfif", ".jp2", ".jpe", ".jpeg"),
        *(".jpg", ".jxl", ".png", ".tif", ".tiff", ".webp"),
    ]
)
_SUFFIXES = VIDEO_SUFFIXES | PICTURE_SUFFIXES
# Videos and pictures that nothing here reads: a folder of photos holds them beside what was made of them.
_UNREADABLE = frozenset(
    [".arw", ".cr2", ".cr3", ".dng", ".nef", ".orf", ".psd", ".raf", ".rw2", ".svg", ".swf", ".xcf", ".braw", ".r3d"]
)
_WILDCARDS = frozenset("*?[")


@dataclass(frozen=True, slots=True)
class Found:
    """An input, or a clip, and its `place` below an output folder: its own path there, whose suffix will be another.

    `folder` is the input that it was found in, where that is a folder. `output` and `options` are what a line of a
    list says of it, and `listed` is which: `clips.jsonl, line 3`.
    """

    path: Location
    place: PurePath
    folder: Location | None = None
    output: str | None = None
    options: dict[str, object] = field(default_factory=dict)
    listed: str = ""


@dataclass
class Findings:
    """The clips in the order of the inputs, and by name in a folder; and what could not be searched."""

    clips: list[Found] = field(default_factory=list)
    failures: list[tuple[str, Vae3dError]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def fail(self, path: Location, reason: str) -> None:
        """Add an error of an input, or of a folder in it."""
        self.failures.append((str(path), InputError(f"{path}: {reason}")))


def is_several(path: Location) -> bool:
    """Whether an input stands for any number of clips: a folder, or a pattern that is no file's name."""
    return is_folder(path) or _is_pattern(path)


def is_folder(path: Location) -> bool:
    """Whether this is a folder; a name that cannot be is none, nor is a URL with a clip's suffix, without asking."""
    try:
        if isinstance(path, RemotePath) and path.suffix.lower() in _SUFFIXES:
            return False
        return path.is_dir()
    except (OSError, ValueError):
        return False


def find_clips(inputs: Sequence[Found], *, recursive: bool, output: Location | None) -> Findings:
    """The clips that inputs are or hold; folders are searched if `recursive`, but not the folder `output` in them.

    No file is opened. Files and folders that are hidden are left out, and links to folders are not entered. In folders
    and patterns, a picture that has the name of a video in the same folder is left out as its thumbnail.

    Raises:
        UsageError: A folder has an output of its own.
    """
    findings = Findings()
    for given in inputs:
        before = len(findings.clips)
        try:
            for path in _matches(given, findings):
                if not is_folder(path):
                    place = given.place if given.listed else Path(path.name)
                    findings.clips.append(replace(given, path=path, place=place))
                elif given.output is not None:
                    raise UsageError(f"{given.listed}: {path} is a folder and has no output of its own; leave it out")
                elif recursive:
                    _search(path, given, output, findings)
                else:
                    findings.fail(path, "Is a directory; give -r to encode the clips in it")
        except StoreError as error:
            findings.failures.append((str(given.path), error))
        findings.clips[before:] = _without_thumbnails(given.path, findings.clips[before:], findings)
    return findings


def _without_thumbnails(given: Location, clips: list[Found], findings: Findings) -> list[Found]:
    """Leave out pictures that have the name of a video in the same folder; `clips` are those of one input."""
    pictures = [clip for clip in clips if clip.path.suffix.lower() in PICTURE_SUFFIXES]
    if not pictures or len(pictures) == len(clips):
        return clips
    videos = {(clip.path.parent, clip.path.stem) for clip in clips if clip.path.suffix.lower() in VIDEO_SUFFIXES}
    thumbnails = {id(clip) for clip in pictures if (clip.path.parent, clip.path.stem) in videos}
    if thumbnails:
        pictures_of = "picture that has" if len(thumbnails) == 1 else "pictures that have"
        findings.notes.append(
            f"{given}: left out {len(thumbnails)} {pictures_of} the name of a video in the same folder, as thumbnails; "
            "to encode them too, give them to another run"
        )
    return [clip for clip in clips if id(clip) not in thumbnails]


def _matches(given: Found, findings: Findings) -> Sequence[Location]:
    """What an input stands for: itself or, as in a shell, what matches it, and what does stands for itself."""
    if given.listed or not _is_pattern(given.path):
        return [given.path]
    # Path.glob would look for hidden files, too, and takes no absolute pattern.
    matches: Sequence[Location] = (
        given.path.glob()
        if isinstance(given.path, RemotePath)
        else [Path(text) for text in sorted(glob.glob(str(given.path), recursive=True))]  # noqa: PTH207
    )
    if not matches:
        findings.fail(given.path, "there is no such file, and none that matches it as a pattern; check the name")
    return matches


def _search(top: Location, given: Found, output: Location | None, findings: Findings) -> None:
    """Add the clips of a folder."""
    before = len(findings.clips) + len(findings.failures)
    walk = _walk_store(top, output) if isinstance(top, RemotePath) else _walk(top, _identity(output), findings)
    for path, place in walk:
        findings.clips.append(replace(given, path=path, place=given.place / place, folder=top))
    if len(findings.clips) + len(findings.failures) == before:
        findings.fail(top, "there are no videos or images in it; those are files with a suffix such as .mp4")


def _walk(top: Path, output: tuple[int, int] | None, findings: Findings) -> Iterator[tuple[Path, Path]]:
    """The paths of the clips below a folder, from here and from it, by name; what cannot be read is a failure."""
    pending = [Path()]
    links = 0
    passed_over = []
    while pending:
        below = pending.pop()
        try:
            with os.scandir(top / below) as entries:
                shown = sorted((entry for entry in entries if not entry.name.startswith(".")), key=lambda e: e.name)
        except OSError as error:
            findings.fail(top / below, f"{error.strerror}; what is in this folder is left out")
            continue
        inner = []
        for entry in shown:
            place = below / entry.name
            if _is_folder(entry):
                if entry.is_symlink():
                    links += 1
                elif output is None or entry.inode() != output[1] or _identity(top / place) != output:
                    inner.append(place)
            elif place.suffix.lower() in _SUFFIXES and _may_be_read(entry):
                yield top / place, place
            elif place.suffix.lower() in _SUFFIXES | _UNREADABLE:
                passed_over.append(top / place)
        pending += reversed(inner)
    if passed_over:
        findings.notes.append(
            f"{top}: {len(passed_over)} videos and images in it cannot be read and are left out, first {passed_over[0]}"
        )
    if links:
        findings.notes.append(
            f"{top}: {links} {'links to folders are' if links > 1 else 'link to a folder is'} not entered; "
            "give the folders as inputs"
        )


def _walk_store(top: RemotePath, output: Location | None) -> Iterator[tuple[RemotePath, PurePosixPath]]:
    """The same in a store, of one listing.

    Raises:
        StoreError: There is none.
    """
    inner = output if isinstance(output, RemotePath) else None
    found = top.objects()
    for place in sorted(found, key=lambda place: [*((1, part) for part in place.parts[:-1]), (0, place.name)]):
        path = top / place
        if (
            place.suffix.lower() in _SUFFIXES
            and not is_hidden(place)
            and not (inner is not None and inner.is_below(top) and path.is_below(inner))
        ):
            yield path.listed(found[place]), place


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a loop of links
        return False


def _may_be_read(entry: os.DirEntry[str]) -> bool:
    """Whether this is a file, or a link that leads nowhere, which is an error later on: pipes would never end."""
    try:
        return entry.is_file() or not Path(entry.path).exists()
    except OSError:
        return True


def _identity(path: Location | None) -> tuple[int, int] | None:
    """Device and number of a file, if it is there."""
    try:
        status = path.stat() if isinstance(path, Path) else None
    except OSError:
        return None
    return None if status is None else (status.st_dev, status.st_ino)


def _is_pattern(path: Location) -> bool:
    if _WILDCARDS.isdisjoint(str(path)):
        return False
    return not (path.exists() if isinstance(path, RemotePath) else os.path.lexists(path))
