"""Fit the linear codec of the embedded model: `python -m vae3d_cli.training.fit --help`."""

import argparse
from dataclasses import replace
from pathlib import Path

import torch

from vae3d_cli.config import TinyConfig
from vae3d_cli.errors import VideoError
from vae3d_cli.model.tiny import TinyVae
from vae3d_cli.training.data import CLIP_SUFFIXES, PHOTO_SUFFIXES, find_files, read_pixels
from vae3d_cli.training.klt import BlockStatistics, blocks_of, linear_weights
from vae3d_cli.weights import Checkpoint, write_checkpoint

# A clip counts as 1 whatever its length and size; a photo shows as much of space and nothing of time.
PHOTO_WEIGHT = 0.05


def fit(clips: list[Path], photos: list[Path], config: TinyConfig, seed: int) -> Checkpoint:
    """A model whose linear part is fitted on these files, and whose networks start as drawn from `seed`, adding 0.

    Photos count as first frames and as groups in which nothing moves.

    Raises:
        VideoError: A file cannot be read, or a clip is too short to hold a group.
    """
    ratio = config.temporal_compression_ratio
    first, rest = (BlockStatistics(3 * config.spatial_compression_ratio**2 * frames) for frames in (1, ratio))
    for path in clips:
        pixels = read_pixels(path)
        num_frames = pixels.shape[2]
        if num_frames <= ratio:
            raise VideoError(f"{path}: has {num_frames} frames, and a clip needs {1 + ratio}; take it away")
        starts = range(0, num_frames, 2 * ratio)
        first.add(torch.cat([blocks_of(pixels[:, :, start : start + 1], config) for start in starts]), 1.0)
        groups = torch.split(pixels[:, :, 1 : num_frames - (num_frames - 1) % ratio], ratio, dim=2)
        rest.add(torch.cat([blocks_of(group, config) for group in groups]), 1.0)
    for path in photos:
        pixels = read_pixels(path)
        first.add(blocks_of(pixels, config), PHOTO_WEIGHT)
        rest.add(blocks_of(pixels.expand(-1, -1, ratio, -1, -1), config), PHOTO_WEIGHT)
    torch.manual_seed(seed)
    weights = TinyVae(config).state_dict()
    weights.update(linear_weights(first.basis(config.latent_channels), rest.basis(config.latent_channels)))
    notes = {
        "training": f"linear: KLT of {len(clips)} clips and {len(photos)} photos; networks: untrained, seed {seed}",
    }
    return Checkpoint(config, {name: weight.half() for name, weight in weights.items()}, notes)


def main() -> None:
    """Read the folders and write the checkpoint."""
    parser = argparse.ArgumentParser(prog="python -m vae3d_cli.training.fit", description=__doc__)
    parser.add_argument("clips", type=Path, help="folder of short clips")
    parser.add_argument("photos", type=Path, help="folder of photos")
    parser.add_argument("-o", "--output", type=Path, required=True, help="checkpoint file to write")
    parser.add_argument(
        "--latent-space",
        required=True,
        metavar="NAME",
        help="what the new latents are called: no other model reads them",
    )
    parser.add_argument(
        "--hold-out",
        nargs="*",
        default=[],
        metavar="SCENE",
        help="scenes kept for validation: street for street_2.mp4",
    )
    parser.add_argument("--seed", type=int, default=0, help="of the networks' start (default: 0)")
    options = parser.parse_args()
    clips = find_files(options.clips, CLIP_SUFFIXES, options.hold_out)
    photos = find_files(options.photos, PHOTO_SUFFIXES, options.hold_out)
    checkpoint = fit(clips, photos, TinyConfig(latent_space=options.latent_space), options.seed)
    notes = {**checkpoint.notes, "held_out_scenes": ", ".join(options.hold_out)}
    write_checkpoint(options.output, replace(checkpoint, notes=notes))


if __name__ == "__main__":
    main()
