"""The original, what came back, and their difference, side by side."""

from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

GAIN = 8
"""How often the difference is amplified."""


class Comparison:
    """Makes frames of three panels of `height` x `width`, each with its label."""

    def __init__(self, height: int, width: int, model_name: str) -> None:
        self._size = height, width
        self._texts = ("original", model_name, f"difference x{GAIN}")

    @cached_property
    def _labels(self) -> list[NDArray[Any]]:
        return [_label(text, *self._size) for text in self._texts]

    def frame(self, original: NDArray[Any], other: NDArray[Any]) -> NDArray[Any]:
        """`[3, H, 3W]` of two frames `[3, H, W]`, all uint8; the difference is absolute, black where there is none."""
        panels = [original.copy(), other.copy(), amplified_difference(original, other)]
        for panel, letters in zip(panels, self._labels, strict=True):
            corner = panel[:, : letters.shape[0], : letters.shape[1]]
            np.maximum(corner // 3, letters, out=corner)
        return np.concatenate(panels, axis=2)


def amplified_difference(original: NDArray[Any], other: NDArray[Any]) -> NDArray[np.uint8]:
    """`GAIN` times the absolute difference of two uint8 frames, clipped to 255."""
    difference = np.abs(original.astype(np.int16) - other)
    amplified: NDArray[np.uint8] = np.minimum(difference * GAIN, 255).astype(np.uint8)
    return amplified


def _label(text: str, height: int, width: int) -> NDArray[Any]:
    """The letters that lie in the upper left corner of a panel, `[h, w]`: white on black."""
    from PIL import Image, ImageDraw, ImageFont

    font = ImageFont.load_default(max(10.0, height / 24))
    margin = max(2, height // 96)
    _, _, right, bottom = font.getbbox(text)
    image = Image.new("L", (int(right) + 2 * margin, int(bottom) + 2 * margin))
    ImageDraw.Draw(image).text((margin, margin), text, fill=255, font=font)
    return np.asarray(image)[:height, :width]
