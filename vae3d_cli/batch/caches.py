"""The caches of musubi-tuner that are there: how the name of one ends is known only once its clip is encoded."""

import os
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from vae3d_cli.batch.planning import Clip
from vae3d_cli.codec import EncodeResult
from vae3d_cli.errors import OutputError
from vae3d_cli.latents import MUSUBI, musubi_names

# The names in a folder by their stem and first frame, which is `None` for images.
_Names = dict[tuple[str, int | None], list[str]]


def locate_caches(clips: Sequence[Clip]) -> list[Clip]:
    """Add the existing caches to each clip; the first of them becomes its output.

    A clip's caches have its stem and first frame or, if none do, are those of an image of its stem. A cache that could
    belong to several clips is left to none of them, so that nothing replaces it.
    """
    folders: dict[Path, _Names] = {}
    found = [_caches_of(clip, folders) for clip in clips]
    counts = Counter(cache for caches in found for cache in caches)
    located = []
    for clip, caches in zip(clips, found, strict=True):
        own = tuple(cache for cache in caches if counts[cache] == 1)
        located.append(replace(clip, output=own[0], caches=own) if own else clip)
    return located


def _caches_of(clip: Clip, folders: dict[Path, _Names]) -> list[Path]:
    """List the caches that may belong to a clip; each folder is listed once, since 50,000 clips lie in few."""
    if clip.options.format != MUSUBI or clip.source is None or not isinstance(clip.output, Path):
        return []
    folder, stem = clip.output.parent, clip.source.stem
    if folder not in folders:
        folders[folder] = _listed(folder)
    names = folders[folder]
    return [
        folder / name for name in sorted(names.get((stem, clip.options.frames.start)) or names.get((stem, None)) or [])
    ]


def take_place(clip: Clip, result: EncodeResult) -> tuple[EncodeResult, tuple[str, ...]]:
    """Remove the caches of a clip whose place the one that was written takes, or musubi-tuner would train on each.

    Gives the result with a note of it, and their names.

    Raises:
        OutputError: One cannot be removed.
    """
    written = Path(result.output).name
    others = [cache for cache in clip.caches if cache.name != written]
    for cache in others:
        try:
            cache.unlink(missing_ok=True)
        except OSError as error:
            raise OutputError(f"{cache}: {error.strerror}; remove it, {written} takes its place") from error
    names = tuple(cache.name for cache in others)
    notes = (f"{result.output}: takes the place of {name}, which was removed" for name in names)
    return replace(result, notes=(*result.notes, *notes)), names


def _listed(folder: Path) -> _Names:
    """What is in a folder; one that cannot be searched is left to what checks that it can be written to."""
    names: _Names = defaultdict(list)
    try:
        for name in os.listdir(folder):  # noqa: PTH208 - of 50,000 names no paths are made
            for key in musubi_names(name):
                names[key].append(name)
    except OSError:
        pass
    return names
