"""Clips and photos to train a model on, decoded once."""

import hashlib
import logging
import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from vae3d_cli.errors import VideoError
from vae3d_cli.files import atomic_output
from vae3d_cli.video import VideoReader

logger = logging.getLogger(__name__)

CLIP_SUFFIXES = {".mp4", ".m4v", ".mkv", ".mov", ".webm", ".avi"}
PHOTO_SUFFIXES = {".png", ".jpg", ".jpeg", ".webp"}


def scene_of(path: Path) -> str:
    """The recording that a clip was cut from: its name without the number of the cut, `street_2.mp4` -> `street`."""
    return re.sub(r"_[0-9]+$", "", path.stem)


def find_files(sources: Sequence[Path], suffixes: set[str]) -> list[Path]:
    """The files with these suffixes among the sources, and below those that are folders.

    Raises:
        VideoError: A source is not there.
    """
    paths = []
    for source in sources:
        if not source.exists():
            raise VideoError(f"{source}: there is no such file or folder; check the name")
        found = sorted(source.rglob("*")) if source.is_dir() else [source]
        paths += [path for path in found if path.suffix.lower() in suffixes]
    return paths


def hold_out(clips: Sequence[Path], scenes: Collection[str]) -> tuple[list[Path], list[Path]]:
    """The clips to train on, and those of the held-out scenes.

    Raises:
        VideoError: There is no clip of a scene, or none is left.
    """
    for scene in scenes:
        if scene not in map(scene_of, clips):
            raise VideoError(f"{scene}: there is no clip of this scene to hold out; it is street for street_2.mp4")
    training = [path for path in clips if scene_of(path) not in scenes]
    if not training:
        raise VideoError("no clip is left to train on; hold out fewer scenes")
    return training, [path for path in clips if scene_of(path) in scenes]


def read_frames(path: Path) -> np.ndarray:
    """All frames of a clip or a photo, `[T, 3, H, W]`, uint8.

    Raises:
        VideoError: It cannot be read.
    """
    with VideoReader(path) as video:
        return np.stack([frame.rgb for frame in video])


def to_pixels(frames: np.ndarray) -> Tensor:
    """Frames `[T, 3, H, W]` as pixels `[1, 3, T, H, W]` in [-1, 1], cut to multiples of 8 pixels."""
    height, width = (side // 8 * 8 for side in frames.shape[-2:])
    cut = torch.from_numpy(np.array(frames[:, :, :height, :width].swapaxes(0, 1)))
    return cut[None].float() / 127.5 - 1


@dataclass(frozen=True)
class FrameCache:
    """A folder of decoded files, so that no file is decoded twice; they are mapped, so that memory holds what is used.

    An entry belongs to a path, a size and a time of change: a file that changes is decoded anew.
    """

    folder: Path

    def frames(self, path: Path) -> np.ndarray:
        """All frames of a clip or a photo, `[T, 3, H, W]`, uint8, read-only.

        Raises:
            VideoError: It cannot be read.
            OutputError: The disk has no room for them.
        """
        status = path.stat()
        key = f"{path.resolve()} {status.st_size} {status.st_mtime_ns}"
        entry = self.folder / f"{hashlib.sha256(key.encode()).hexdigest()[:32]}.npy"
        if not entry.exists():
            self.folder.mkdir(parents=True, exist_ok=True)
            decoded = read_frames(path)
            logger.info("%s: decoded, %d frames", path, len(decoded))
            with atomic_output(entry) as temporary, temporary.open("wb") as file:
                np.save(file, decoded)
        frames: np.ndarray = np.load(entry, mmap_mode="r")
        return frames
