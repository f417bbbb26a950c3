"""Batches by step: the same step of the same run always gives the same batch, so that a run can be resumed."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from vae3d_cli.training.data import FrameCache, scene_of
from vae3d_cli.training.motion import crop_clip, jittered, moving_photo

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
        """Clips and photos that are all large enough for a crop."""
        self._shape, self._seed, self._cache = shape, seed, cache
        self._photos = photos
        self._scenes: dict[str, list[Path]] = {}
        for path in clips:
            self._scenes.setdefault(scene_of(path), []).append(path)
        # Cuts of one recording look alike: a scene of four weighs twice as much as one of one.
        weights = np.sqrt([len(cuts) for cuts in self._scenes.values()])
        self._weights = weights / weights.sum()

    def __getitem__(self, step: int) -> Tensor:
        """The batch of a step."""
        random = np.random.default_rng((self._seed, step))
        crops = [jittered(self._crop(random), random) for _ in range(self._shape.batch_size)]
        return torch.stack(crops).transpose(1, 2) / 127.5 - 1

    def _crop(self, random: np.random.Generator) -> Tensor:
        num_frames, size_px = self._shape.num_frames, self._shape.size_px
        if self._photos and random.random() < PHOTO_SHARE:
            # Mapped when they are drawn: what workers are sent is names.
            first, second = (
                self._cache.frames(self._photos[int(index)]) for index in random.integers(len(self._photos), size=2)
            )
            return moving_photo(first, second, num_frames, size_px, random)
        cuts = list(self._scenes.values())[int(random.choice(len(self._scenes), p=self._weights))]
        frames = self._cache.frames(cuts[int(random.integers(len(cuts)))])
        return crop_clip(frames, num_frames, size_px, random)
