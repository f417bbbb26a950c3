"""Clips and photos to train a model on, decoded once."""

import contextlib
import hashlib
import logging
import os
import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from vae3d_cli.errors import OutputError, VideoError
from vae3d_cli.files import atomic_output, check_regular, visible_files
from vae3d_cli.video import open_clip, to_8_bit

logger = logging.getLogger(__name__)

CLIP_SUFFIXES = {".mp4", ".m4v", ".mkv", ".mov", ".webm", ".avi"}
PHOTO_SUFFIXES = {".png", ".jpg", ".jpeg", ".webp"}


def scene_of(path: Path) -> str:
    """The recording that a clip was cut from: its name without the number of the cut, `street_2.mp4` -> `street`."""
    return re.sub(r"_[0-9]+$", "", path.stem)


def printable(name: str) -> str:
    """A name as metadata can hold it, which is UTF-8; a file name need not be."""
    return os.fsencode(name).decode(errors="replace")


def find_files(sources: Sequence[Path], suffixes: set[str]) -> list[Path]:
    """The files with these suffixes among the sources, and in folders among them, without hidden ones.

    Raises:
        VideoError: A source is not there, or a file that no name of a clip or a photo tells of.
    """
    paths = []
    for source in sources:
        if not source.exists():
            raise VideoError(f"{source}: there is no such file or folder; check the name")
        if source.is_file() and source.suffix.lower() not in CLIP_SUFFIXES | PHOTO_SUFFIXES:
            known = ", ".join(sorted(CLIP_SUFFIXES | PHOTO_SUFFIXES))
            raise VideoError(f"{source}: neither a clip nor a photo by its name; those are {known}")
        found = sorted(visible_files(source)) if source.is_dir() else [source]
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
        try:
            check_regular(path)
            status = path.stat()
            key = os.fsencode(f"{path.resolve()} {status.st_size} {status.st_mtime_ns}")
        except OSError as error:
            raise VideoError(f"{path}: {error.strerror}; take it away") from error
        entry = self.folder / f"{hashlib.sha256(key).hexdigest()[:32]}.npy"
        if (frames := _cached(entry)) is not None:
            return frames
        make_folder(self.folder, "--cache")
        with atomic_output(entry) as temporary:
            num_frames = _decode(path, temporary)
        logger.info("%s: decoded, %d frames", path, num_frames)
        decoded: np.ndarray = np.lib.format.open_memmap(entry, mode="r")
        return decoded


def make_folder(folder: Path, option: str) -> None:
    """Make a folder, and those above it, where it is not there yet; `option` is what names it.

    Raises:
        OutputError: It cannot be made or written to.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"{folder}: {error.strerror}; name another folder with {option}") from error
    if not os.access(folder, os.W_OK):
        raise OutputError(f"{folder}: permission denied; name another folder with {option}")


def _cached(entry: Path) -> np.ndarray | None:
    """The frames in an entry of the cache, or `None` where it is missing or damaged and must be made again.

    Raises:
        OutputError: There is something that is not a file.
    """
    try:
        check_regular(entry)
    except OSError as error:
        raise OutputError(f"{entry}: {error.strerror}; name another folder with --cache") from error
    if not entry.exists():
        return None
    with contextlib.suppress(Exception):  # a damaged array fails wherever its damage leads
        frames: np.ndarray = np.lib.format.open_memmap(entry, mode="r")
        if frames.dtype == np.uint8 and frames.ndim == 4 and frames.shape[1] == 3 and frames.size:
            return frames
    logger.warning("%s: the cached frames are damaged and made again", entry)
    return None


def _decode(path: Path, output: Path) -> int:
    """Write the frames of a clip or a photo, rounded to 8 bits, as an array of numpy's, and return their number."""
    count = 0
    with open_clip(path) as video, output.open("wb") as file:

        def write_header() -> None:
            # It leaves room for any number of frames, so that it can be written again when they are counted.
            shape = (count, 3, video.info.height, video.info.width)
            np.lib.format.write_array_header_1_0(file, {"descr": "|u1", "fortran_order": False, "shape": shape})

        write_header()
        for frame in video:
            file.write((to_8_bit(frame.rgb) if frame.rgb.dtype == np.uint16 else frame.rgb).tobytes())
            count += 1
        file.seek(0)
        write_header()
    return count
