"""What a run trains on, and what it is measured on."""

from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from vae3d_cli.config import VaeConfig
from vae3d_cli.errors import UsageError, VideoError
from vae3d_cli.training.batches import Batches, BatchShape
from vae3d_cli.training.data import CLIP_SUFFIXES, PHOTO_SUFFIXES, FrameCache, find_files, hold_out
from vae3d_cli.training.options import TrainOptions
from vae3d_cli.training.validation import validation_pixels


@dataclass(frozen=True, kw_only=True)
class Material:
    """Clips and photos, the batches made of them, and the held-out clips `[1, 3, T, H, W]` for validation."""

    clips: list[Path]
    photos: list[Path]
    batches: Batches
    validation: list[Tensor]


def gather(options: TrainOptions, cache: FrameCache, config: VaeConfig) -> Material:
    """Find and decode clips and photos.

    Raises:
        UsageError: A model of this config cannot take such crops.
        VideoError: A source is not there or cannot be read, or no clip is left to train on.
        OutputError: There is no room for the decoded frames.
    """
    temporal, spatial = config.temporal_compression_ratio, config.spatial_compression_ratio
    if (options.num_frames - 1) % temporal or options.num_frames <= temporal:
        raise UsageError(f"--frames {options.num_frames}: give 1 + {temporal}k, such as {1 + 2 * temporal}")
    if options.size_px % spatial:
        raise UsageError(f"--crop {options.size_px}: give a multiple of {spatial}")
    found = find_files(options.sources, CLIP_SUFFIXES)
    if not found:
        where = ", ".join(map(str, options.sources))
        raise VideoError(f"{where}: no clips there; those are {', '.join(sorted(CLIP_SUFFIXES))}")
    clips, held_out = hold_out(found, options.held_out)
    photos = find_files(options.sources, PHOTO_SUFFIXES)
    shape = BatchShape(batch_size=options.batch_size, num_frames=options.num_frames, size_px=options.size_px)
    return Material(
        clips=clips,
        photos=photos,
        batches=Batches(clips, photos, cache, shape, options.seed),
        validation=[validation_pixels(cache.frames(path), temporal) for path in held_out],
    )
