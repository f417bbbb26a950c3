"""What a run trains on, and what it is measured on."""

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from torch import Tensor

from vae3d_cli.config import VaeConfig
from vae3d_cli.errors import UsageError, VideoError
from vae3d_cli.training.batches import Batches, BatchShape
from vae3d_cli.training.data import CLIP_SUFFIXES, PHOTO_SUFFIXES, FrameCache, find_files, hold_out, printable, scene_of
from vae3d_cli.training.options import TrainOptions
from vae3d_cli.training.validation import validation_pixels

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Sources:
    """The files of a run: clips and photos to train on, and clips for validation."""

    clips: list[Path]
    photos: list[Path]
    held_out: list[Path]


@dataclass(frozen=True, kw_only=True)
class Material:
    """Clips and photos, the batches made of them, and the held-out clips `[1, 3, T, H, W]` for validation."""

    clips: list[Path]
    photos: list[Path]
    batches: Batches
    validation: list[Tensor]

    @property
    def description(self) -> str:
        """What a checkpoint says of it: numbers, and the names of the scenes."""
        scenes = sorted({printable(scene_of(path)) for path in self.clips})
        return f"{len(self.clips)} clips of {', '.join(scenes)}; {len(self.photos)} photos"


def check_crops(options: TrainOptions, config: VaeConfig) -> None:
    """See that a model of this config can take such crops.

    Raises:
        UsageError: It cannot.
    """
    temporal, spatial = config.temporal_compression_ratio, config.spatial_compression_ratio
    if (options.num_frames - 1) % temporal or options.num_frames <= temporal:
        raise UsageError(f"--frames {options.num_frames}: give 1 + {temporal}k, such as {1 + 2 * temporal}")
    if options.size_px % spatial:
        raise UsageError(f"--crop {options.size_px}: give a multiple of {spatial}")


def find_sources(options: TrainOptions) -> Sources:
    """Find clips and photos, before any work.

    Raises:
        VideoError: A source is not there, or no clip is left to train on.
    """
    found = find_files(options.sources, CLIP_SUFFIXES)
    if not found:
        where = ", ".join(map(str, options.sources))
        raise VideoError(f"{where}: no clips there; those are {', '.join(sorted(CLIP_SUFFIXES))}")
    clips, held_out = hold_out(found, options.held_out)
    return Sources(clips=clips, photos=find_files(options.sources, PHOTO_SUFFIXES), held_out=held_out)


def gather(sources: Sources, options: TrainOptions, cache: FrameCache, config: VaeConfig) -> Material:
    """Decode clips and photos, and leave out what cannot be read or is smaller than a crop.

    Raises:
        VideoError: No clip is left to train on, or to validate on where scenes are held out.
        OutputError: There is no room for the decoded frames.
    """
    ratio = config.temporal_compression_ratio
    validation = [validation_pixels(frames, ratio) for _, frames in _readable(sources.held_out, cache)]
    if sources.held_out and not validation:
        raise VideoError("none of the clips that are held out can be read; hold out another scene")
    clips = _large_enough(sources.clips, cache, options.num_frames, options.size_px)
    if not clips:
        raise VideoError("no clip is left to train on; give longer or larger ones, or train on smaller crops")
    photos = _large_enough(sources.photos, cache, 1, options.size_px)
    shape = BatchShape(batch_size=options.batch_size, num_frames=options.num_frames, size_px=options.size_px)
    return Material(
        clips=clips,
        photos=photos,
        batches=Batches(clips, photos, cache, shape, options.seed),
        validation=validation,
    )


def _large_enough(paths: list[Path], cache: FrameCache, num_frames: int, size_px: int) -> list[Path]:
    kept = []
    too_small = 0
    for path, frames in _readable(paths, cache):
        count, _, height, width = frames.shape
        if count >= num_frames and min(height, width) >= size_px:
            kept.append(path)
        else:
            too_small += 1
            logger.info("%s: left out, %d frames of %dx%d", path, count, width, height)
    if too_small:
        logger.warning("%d of %d files are smaller than a crop and left out", too_small, len(paths))
    return kept


def _readable(paths: list[Path], cache: FrameCache) -> Iterator[tuple[Path, np.ndarray]]:
    """The files that can be read, with their frames; each other file is named in a warning."""
    for path in paths:
        try:
            frames = cache.frames(path)
        except VideoError as error:
            # Errors advise options that train does not have.
            logger.warning("%s; it is left out", str(error).rpartition("; ")[0] or error)
        else:
            yield path, frames
