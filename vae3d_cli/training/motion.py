"""Crops of clips, and photos set in motion: what a model is trained on.

All is drawn from a `numpy` generator, and a crop comes as `[T, 3, S, S]`, fp32, in codes of 8 bits.
"""

import math

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

FRAME_STEPS = (1, 1, 2, 3)
# Downscaling removes codec noise and multiplies the scales that are seen.
MAX_DOWNSCALE = 3.0
# A photo is seen through a window that moves over a larger piece of it.
PIECE_MARGIN = 1.6
MAX_PHOTO_DOWNSCALE = 2.2
MEAN_SPEED_PX = 2.5
STATIC_SHARE, SECOND_LAYER_SHARE, CUT_SHARE = 0.15, 0.4, 0.05


def crop_clip(frames: np.ndarray, num_frames: int, size_px: int, random: np.random.Generator) -> Tensor:
    """A square of a clip `[T, 3, H, W]`, downscaled, at one to three times its speed, forwards or backwards."""
    total = len(frames)
    step = min(int(random.choice(FRAME_STEPS)), (total - 1) // (num_frames - 1))
    span = (num_frames - 1) * step + 1
    start = int(random.integers(total - span + 1))
    piece = _square(frames[start : start + span : step], size_px, MAX_DOWNSCALE, 1.0, random)
    crop = _resized(piece, size_px)
    return crop.flip(0) if random.random() < 0.5 else crop


def moving_photo(
    first: np.ndarray, second: np.ndarray, num_frames: int, size_px: int, random: np.random.Generator
) -> Tensor:
    """A photo `[1, 3, H, W]` that pans, turns and zooms, or stands; sometimes another moves before it, or cuts in."""
    scene = _moving_layer(first, num_frames, size_px, 0.0 if random.random() < STATIC_SHARE else 1.0, random)
    kind = random.random()
    if kind < SECOND_LAYER_SHARE:
        mask = _moving_ellipse(num_frames, size_px, random)
        scene = torch.lerp(scene, _moving_layer(second, num_frames, size_px, 1.0, random), mask)
    elif kind < SECOND_LAYER_SHARE + CUT_SHARE and num_frames > 1:
        cut = int(random.integers(1, num_frames))
        scene = torch.cat((scene[:cut], _moving_layer(second, num_frames, size_px, 1.0, random)[cut:]))
    return scene


def jittered(crop: Tensor, random: np.random.Generator) -> Tensor:
    """A crop mirrored, transposed, and of slightly other brightness and contrast."""
    if random.random() < 0.5:
        crop = crop.flip(3)
    if random.random() < 0.5:
        crop = crop.transpose(2, 3)
    return ((crop - 127.5) * random.uniform(0.85, 1.1) + 127.5 + random.uniform(-8, 8)).clamp(0, 255)


def _square(
    frames: np.ndarray, size_px: int, max_downscale: float, margin: float, random: np.random.Generator
) -> Tensor:
    """A square piece of `[T, 3, H, W]` that holds `margin` times the crop, at a drawn scale."""
    shorter = min(frames.shape[2:])
    scale = math.exp(random.uniform(0, math.log(max(1.0, min(max_downscale, shorter / size_px)))))
    side = min(int(size_px * scale * margin), shorter)
    top, left = (int(random.integers(length - side + 1)) for length in frames.shape[2:])
    piece = torch.from_numpy(np.array(frames[:, :, top : top + side, left : left + side])).float()
    return _resized(piece, max(size_px, round(side / scale)))


def _resized(piece: Tensor, size_px: int) -> Tensor:
    if piece.shape[-1] == size_px:
        return piece
    return F.interpolate(piece, size=(size_px, size_px), mode="bilinear", antialias=True)


def _moving_layer(
    photo: np.ndarray, num_frames: int, size_px: int, speed: float, random: np.random.Generator
) -> Tensor:
    """A photo `[1, 3, H, W]` seen by a camera that pans, turns and zooms."""
    canvas = _square(photo, size_px, MAX_PHOTO_DOWNSCALE, PIECE_MARGIN, random)
    side = canvas.shape[-1]
    time = torch.arange(num_frames) - (num_frames - 1) / 2
    shift = speed * _path(num_frames, random) * 2 / side
    angle = speed * random.normal(0, 0.01) * time + (random.normal(0, 0.1) if random.random() < 0.5 else 0.0)
    zoom = torch.exp(speed * random.normal(0, 0.008) * time) * size_px / side
    cosine, sine = torch.cos(angle) * zoom, torch.sin(angle) * zoom
    rows = (torch.stack((cosine, -sine, shift[0]), dim=1), torch.stack((sine, cosine, shift[1]), dim=1))
    grid = F.affine_grid(torch.stack(rows, dim=1), [num_frames, 3, size_px, size_px], align_corners=False)
    layers = canvas.expand(num_frames, -1, -1, -1)
    layer: Tensor = F.grid_sample(layers, grid, mode="bicubic", padding_mode="reflection", align_corners=False)
    return layer


def _moving_ellipse(num_frames: int, size_px: int, random: np.random.Generator) -> Tensor:
    """A mask `[T, 1, S, S]` in [0, 1] of an ellipse that moves, with an edge of about a pixel."""
    x, y = (_path(num_frames, random) + torch.from_numpy(random.uniform(0, size_px, (2, 1))).float())[..., None, None]
    width, height = random.uniform(0.12 * size_px, 0.4 * size_px, 2)
    across = torch.arange(size_px, dtype=torch.float32)
    distance = ((across[None, None, :] - x) / width) ** 2 + ((across[None, :, None] - y) / height) ** 2
    mask: Tensor = ((1 - distance) * min(width, height) / 2 + 0.5).clamp(0, 1)
    return mask[:, None]


def _path(num_frames: int, random: np.random.Generator) -> Tensor:
    """Offsets `[2, T]` in pixels, horizontal and vertical, of something that moves at a drawn velocity."""
    time = torch.arange(num_frames) - (num_frames - 1) / 2
    speed, direction = random.exponential(MEAN_SPEED_PX), random.uniform(0, 2 * math.pi)
    way = speed * (time + random.normal(0, 0.1) * time * time / num_frames)
    return torch.stack((math.cos(direction) * way, math.sin(direction) * way))
