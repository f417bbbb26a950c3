"""Convolutions with 3x3 taps in space by Winograd's minimal filtering: a quarter of the multiplications.

F(4x4, 3x3) of Lavin and Gray (arXiv 1509.09308): four by four outputs come from 36 products instead of 144. Tiles of
6x6 inputs, the taps and the products are each transformed by small fixed matrices; the products of all tiles and
channels are 36 matrix products. In time the taps are added up as they are. In fp32 the result is off by about 2e-6 of
its norm, where a direct convolution is off by 1e-6.
"""

from functools import cache

import torch
from torch import Tensor

TILE = 4
# Outputs that go through a matrix product together: enough for its full rate, few enough to stay in the cache.
_ROWS = 192


def prepare(weight: Tensor, room: Tensor) -> Tensor:
    """Transformed taps `[36, t, C, N]` of a convolution's weight `[N, C, t, 3, 3]`, made in `room` for them.

    In memory N comes before C, as in weights whose channels are last: turning them would take longer than the rest.
    """
    out_channels, in_channels, taps = weight.shape[:3]
    _, matrix, _ = _matrices()
    points, copies = room.view(36 + 9, taps, out_channels, in_channels).split_with_sizes((36, 9))
    copies.view(3, 3, taps, out_channels, in_channels).copy_(weight.permute(3, 4, 2, 0, 1))
    torch.mm(matrix, copies.view(9, -1), out=points.view(36, -1))
    return points.transpose(2, 3)


def prepared_values(taps: int, in_channels: int, out_channels: int) -> int:
    """How many values of room `prepare` takes: for what it makes, and a copy of the taps."""
    return (36 + 9) * taps * in_channels * out_channels


def convolve(values: Tensor, weights: Tensor, bias: Tensor) -> Tensor:
    """Outputs `[T, H, W, N]` of inputs `[T + t - 1, H + 2, W + 2, C]`, both channels last, by what `prepare` made.

    H and W are multiples of `TILE`.
    """
    _, taps, in_channels, out_channels = weights.shape
    frames, height, width = values.shape[0] - taps + 1, values.shape[1] - 2, values.shape[2] - 2
    forward, _, inverse = _matrices()
    outputs = values.new_empty(frames, height, width, out_channels)
    tiles = outputs.view(frames, height // TILE, TILE, width // TILE, TILE, out_channels)
    windows = values.unfold(1, TILE + 2, TILE).unfold(2, TILE + 2, TILE)  # [T, tile row, tile column, C, 6, 6]
    rows, columns = _block(frames, height // TILE, width // TILE)
    for top in range(0, height // TILE, rows):
        for left in range(0, width // TILE, columns):
            window = windows[:, top : top + rows, left : left + columns]
            _, tall, wide = window.shape[:3]
            points = (forward @ window.permute(4, 5, 0, 1, 2, 3).reshape(36, -1)).view(36, -1, in_channels)
            step = tall * wide
            products = torch.bmm(points[:, : frames * step], weights[:, 0])
            for tap in range(1, taps):
                products.baddbmm_(points[:, tap * step : (tap + frames) * step], weights[:, tap])
            mixed = (inverse @ products.view(36, -1)).view(TILE, TILE, frames, tall, wide, out_channels)
            out = tiles[:, top : top + tall, :, left : left + wide]
            torch.add(mixed.permute(2, 3, 0, 4, 1, 5), bias, out=out)
    return outputs


def values_held(frames: int, height: int, width: int, taps: int, in_channels: int, out_channels: int) -> int:
    """How many values are live beside inputs and outputs while so many frames of outputs are made."""
    rows, columns = _block(frames, -(-height // TILE), -(-width // TILE))
    points = 36 * (frames + taps - 1) * rows * columns * in_channels
    products = 36 * frames * rows * columns * out_channels
    return 2 * points + 2 * products


def _block(frames: int, tall: int, wide: int) -> tuple[int, int]:
    """How many rows and columns of tiles to take at a time."""
    count = max(1, _ROWS // frames)
    return max(1, min(tall, count // wide)), min(wide, count)


@cache
def _matrices() -> tuple[Tensor, Tensor, Tensor]:
    """What transforms inputs `[36, 36]`, taps `[36, 9]` and products `[16, 36]`, for the points 0, 1, -1, 2, -2."""
    inputs = torch.tensor(
        [
            [4, 0, -5, 0, 1, 0],
            [0, -4, -4, 1, 1, 0],
            [0, 4, -4, -1, 1, 0],
            [0, -2, -1, 2, 1, 0],
            [0, 2, -1, -2, 1, 0],
            [0, 4, 0, -5, 0, 1],
        ]
    )
    taps = torch.tensor([[6, 0, 0], [-4, -4, -4], [-4, 4, -4], [1, 2, 4], [1, -2, 4], [0, 0, 24]], dtype=torch.float64)
    outputs = torch.tensor([[1, 1, 1, 1, 1, 0], [0, 1, -1, 2, -2, 0], [0, 1, 1, 4, 4, 0], [0, 1, -1, 8, -8, 1]])
    inputs, taps, outputs = (torch.kron(matrix, matrix) for matrix in (inputs, taps / 24, outputs))
    return inputs.float(), taps.float(), outputs.float()
