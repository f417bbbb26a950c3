"""The caches of musubi-tuner that are there: how the name of one ends is known only once its clip is encoded."""

import os
from collections import defaultdict
from dataclasses import replace
from pathlib import Path

from vae3d_cli.batch.planning import Clip
from vae3d_cli.codec import EncodeResult
from vae3d_cli.errors import OutputError
from vae3d_cli.latents import MUSUBI, musubi_names

# The names in a folder by their stem and first frame, which is `None` for images.
_Names = dict[tuple[str, int | None], list[str]]


class Caches:
    """Finds the caches of clip after clip, and lists each folder once: 50,000 clips lie in few of them."""

    def __init__(self) -> None:
        self._folders: dict[Path, _Names] = {}

    def located(self, clip: Clip) -> Clip:
        """The clip with what is there of its caches, the first of which is the output that exists.

        Those are the caches of its stem and its first frame or, where there are none, of an image of its stem.
        """
        if clip.options.format != MUSUBI or clip.source is None or not isinstance(clip.output, Path):
            return clip
        folder, stem = clip.output.parent, clip.source.stem
        if folder not in self._folders:
            self._folders[folder] = _listed(folder)
        names = self._folders[folder]
        found = names.get((stem, clip.options.frames.start)) or names.get((stem, None)) or []
        caches = tuple(folder / name for name in sorted(found))
        return replace(clip, output=caches[0], caches=caches) if caches else clip


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
