"""Batches by step: the same step of the same run always gives the same batch, so that a run can be resumed."""

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from vae3d_cli.errors import VideoError
from vae3d_cli.training.data import FrameCache, scene_of
from vae3d_cli.training.motion import crop_clip, jittered, moving_photo

logger = logging.getLogger(__name__)

# Photos have the variety, clips have real motion.
PHOTO_SHARE = 0.4


@dataclass(frozen=True, kw_only=True)
class BatchShape:
    """How many crops, of how many frames, and of what side in pixels."""

    batch_size: int
    num_frames: int
    size_px: int


class Batches(Dataset[Tensor]):
    """Batches `[B, 3, T, S, S]` in [-1, 1] of crops of clips and of photos in motion."""

    def __init__(
        self, clips: Sequence[Path], photos: Sequence[Path], cache: FrameCache, shape: BatchShape, seed: int
    ) -> None:
        """Decode what the cache does not hold yet, and leave out what is smaller than a crop.

        Raises:
            VideoError: A file cannot be read, or no clip is left.
        """
        self._shape, self._seed = shape, seed
        self._scenes: dict[str, list[np.ndarray]] = {}
        for path, frames in _large_enough(clips, cache, shape.num_frames, shape.size_px):
            self._scenes.setdefault(scene_of(path), []).append(frames)
        if not self._scenes:
            raise VideoError("no clip is left to train on; give longer or larger ones, or train on smaller crops")
        self._photos = [frames for _, frames in _large_enough(photos, cache, 1, shape.size_px)]
        # Cuts of one recording look alike: a scene of four weighs twice as much as one of one.
        weights = np.sqrt([len(cuts) for cuts in self._scenes.values()])
        self._weights = weights / weights.sum()

    def __len__(self) -> int:
        """As many as anyone can take."""
        return 1 << 62

    def __getitem__(self, step: int) -> Tensor:
        """The batch of a step."""
        random = np.random.default_rng((self._seed, step))
        crops = [jittered(self._crop(random), random) for _ in range(self._shape.batch_size)]
        return torch.stack(crops).transpose(1, 2) / 127.5 - 1

    def _crop(self, random: np.random.Generator) -> Tensor:
        num_frames, size_px = self._shape.num_frames, self._shape.size_px
        if self._photos and random.random() < PHOTO_SHARE:
            return moving_photo(self._photos, num_frames, size_px, random)
        cuts = list(self._scenes.values())[int(random.choice(len(self._scenes), p=self._weights))]
        return crop_clip(cuts[int(random.integers(len(cuts)))], num_frames, size_px, random)


def _large_enough(
    paths: Sequence[Path], cache: FrameCache, num_frames: int, size_px: int
) -> Iterator[tuple[Path, np.ndarray]]:
    num_small = 0
    for path in paths:
        frames = cache.frames(path)
        if len(frames) >= num_frames and min(frames.shape[2:]) >= size_px:
            yield path, frames
        else:
            num_small += 1
            logger.info("%s: left out, %d frames of %dx%d", path, len(frames), frames.shape[3], frames.shape[2])
    if num_small:
        logger.warning("%d of %d files are smaller than a crop and left out", num_small, len(paths))
