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


def fit(clips: Sequence[Path], photos: Sequence[Path], cache: FrameCache, config: TinyConfig, seed: int) -> TinyVae:
    """A network whose linear part is fitted on these files, and whose other parts start as drawn from `seed`, adding 0.

    Photos count as first frames and as groups in which nothing moves.

    Raises:
        VideoError: A file cannot be read, or a clip is too short to hold a group.
    """
    ratio = config.temporal_compression_ratio
    first, rest = (BlockStatistics(3 * config.spatial_compression_ratio**2 * frames) for frames in (1, ratio))
    for path in clips:
        pixels = to_pixels(cache.frames(path))
        num_frames = pixels.shape[2]
        if num_frames <= ratio:
            raise VideoError(f"{path}: has {num_frames} frames, and a clip needs {1 + ratio}; take it away")
        starts = range(0, num_frames, 2 * ratio)
        first.add(torch.cat([blocks_of(pixels[:, :, start : start + 1], config) for start in starts]), 1.0)
        groups = torch.split(pixels[:, :, 1 : num_frames - (num_frames - 1) % ratio], ratio, dim=2)
        rest.add(torch.cat([blocks_of(group, config) for group in groups]), 1.0)
    for path in photos:
        pixels = to_pixels(cache.frames(path))
        first.add(blocks_of(pixels, config), PHOTO_WEIGHT)
        rest.add(blocks_of(pixels.expand(-1, -1, ratio, -1, -1), config), PHOTO_WEIGHT)
    torch.manual_seed(seed)
    network = TinyVae(config)
    linear = linear_weights(first.basis(config.latent_channels), rest.basis(config.latent_channels))
    network.load_state_dict(network.state_dict() | linear)
    return network
