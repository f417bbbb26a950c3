"""Fit the linear codec of the embedded model: where training starts."""

from collections.abc import Sequence
from pathlib import Path

import torch

from vae3d_cli.config import TinyConfig
from vae3d_cli.errors import VideoError
from vae3d_cli.model.tiny import TinyVae
from vae3d_cli.training.data import FrameCache, to_pixels
from vae3d_cli.training.klt import BlockStatistics, blocks_of, linear_weights

# A clip counts as 1 whatever its length and size; a photo shows as much of space and nothing of time.
PHOTO_WEIGHT = 0.05
# Of a long clip so many groups are looked at, evenly spaced.
MAX_GROUPS = 64


def fit(clips: Sequence[Path], photos: Sequence[Path], cache: FrameCache, config: TinyConfig, seed: int) -> TinyVae:
    """A network whose linear part is fitted on these files, and whose other parts start as drawn from `seed`, adding 0.

    Photos count as first frames and as groups in which nothing moves.

    Raises:
        VideoError: A file cannot be read, or a clip is too short to hold a group.
    """
    ratio = config.temporal_compression_ratio
    first, rest = (BlockStatistics(3 * config.spatial_compression_ratio**2 * frames) for frames in (1, ratio))
    for path in clips:
        frames = cache.frames(path)
        if len(frames) <= ratio:
            raise VideoError(f"{path}: has {len(frames)} frames, and a clip needs {1 + ratio}; take it away")
        num_groups = (len(frames) - 1) // ratio
        starts = range(1, len(frames) - ratio + 1, ratio * -(-num_groups // MAX_GROUPS))
        for start in starts:
            first.add(blocks_of(to_pixels(frames[start - 1 : start]), config), 1 / len(starts))
            rest.add(blocks_of(to_pixels(frames[start : start + ratio]), config), 1 / len(starts))
    for path in photos:
        pixels = to_pixels(cache.frames(path))
        first.add(blocks_of(pixels, config), PHOTO_WEIGHT)
        rest.add(blocks_of(pixels.expand(-1, -1, ratio, -1, -1), config), PHOTO_WEIGHT)
    torch.manual_seed(seed)
    network = TinyVae(config)
    linear = linear_weights(first.basis(config.latent_channels), rest.basis(config.latent_channels))
    network.load_state_dict(network.state_dict() | linear)
    return network
