"""Clips and photos to fit a model on."""

import re
from collections.abc import Collection
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from vae3d_cli.errors import VideoError
from vae3d_cli.video import VideoReader

CLIP_SUFFIXES = {".mp4", ".mkv", ".mov", ".webm"}
PHOTO_SUFFIXES = {".png", ".jpg", ".jpeg", ".webp"}


def scene_of(path: Path) -> str:
    """The recording that a clip was cut from: its name without the number of the cut, `street_2.mp4` -> `street`."""
    return re.sub(r"_[0-9]+$", "", path.stem)


def find_files(folder: Path, suffixes: set[str], held_out: Collection[str] = ()) -> list[Path]:
    """The files below a folder, without the scenes that are held out for validation.

    Raises:
        VideoError: There is none.
    """
    paths = [path for path in sorted(folder.rglob("*")) if path.suffix.lower() in suffixes]
    paths = [path for path in paths if scene_of(path) not in held_out]
    if not paths:
        raise VideoError(f"{folder}: no files with a suffix of {', '.join(sorted(suffixes))} in it")
    return paths


def read_pixels(path: Path) -> Tensor:
    """A short clip or a photo as pixels `[1, 3, T, H, W]` in [-1, 1], cut to multiples of 8 pixels."""
    with VideoReader(path) as video:
        frames = torch.from_numpy(np.stack([frame.rgb for frame in video], axis=1))
    height, width = (side // 8 * 8 for side in frames.shape[-2:])
    return frames[None, :, :, :height, :width].float() / 127.5 - 1
