"""Nearest upsampling by 2 and a convolution with 3x3 taps in space, without the upsampled values.

Upsampled neighbours are copies, so along each axis of space a position i meets the taps in three products P0, P1, P2
only, of which two outputs are sums: P0[i - 1] + P1[i] + P2[i] and P0[i] + P1[i] + P2[i + 1]. In time, taps that meet
the same frame are added beforehand. A sixth of the multiplications for (2, 2, 2), a quarter for (1, 2, 2).
"""

import torch
import torch.nn.functional as F
from torch import Tensor

# Positions that go through a matrix product together: enough for its full rate, few enough to stay in the cache.
_ROWS = 1024


def prepare(weight: Tensor, factor: int, room: Tensor) -> Tensor:
    """Taps `[phases, t, 3, 3, C, N]` of a weight `[N, C, t, 3, 3]`, upsampled by `factor` 1 or 2 in time, in `room`.

    Upsampled by 2, odd and even frames see two frames of the input each, the earlier or the later with two taps.
    """
    taps = weight.permute(2, 3, 4, 0, 1)
    phases = room.view(factor, -1, *taps.shape[1:])  # not turned: see `winograd.prepare`
    if factor == 1:
        phases[0].copy_(taps)
    else:
        (odd_first, odd_second), (even_first, even_second) = phases
        torch.add(taps[0], taps[1], out=odd_first)
        odd_second.copy_(taps[2])
        even_first.copy_(taps[0])
        torch.add(taps[1], taps[2], out=even_second)
    return phases.transpose(-1, -2)


def prepared_values(factor: int, taps: int, in_channels: int, out_channels: int) -> int:
    """How many values of room `prepare` takes."""
    return 9 * (taps if factor == 1 else 4) * in_channels * out_channels


def convolve(values: Tensor, weights: Tensor, bias: Tensor, start: int, stop: int) -> Tensor:
    """Frames `start` to `stop - 1` `[stop - start, 2H, 2W, N]` of the output, by what `prepare` made.

    `values` `[T, H + 2, W + 2, C]` are, channels last, the rows and columns that are upsampled with one more on each
    side, and the frames that `source_frame` names.
    """
    factor, taps, out_channels = weights.shape[0], weights.shape[1], weights.shape[-1]
    height, width = values.shape[1] - 2, values.shape[2] - 2
    outputs = values.new_empty(stop - start, 2 * height, 2 * width, out_channels)
    rows = _block(height, width)
    for index in range(start, stop):
        first = source_frame(index, factor) - source_frame(start, factor)
        phase = weights[(index + 1) % factor]
        for top in range(0, height, rows):
            bottom = min(top + rows, height)
            before, middle, after = (
                _to_columns(values[first : first + taps, top + low : bottom + high], phase[:, row])
                for row, low, high in ((0, 0, 1), (1, 1, 1), (2, 1, 2))
            )
            middle += bias
            upper, lower = outputs[index - start].view(height, 2, width, 2, -1)[top:bottom].unbind(1)
            torch.add(middle, before[:-1], out=upper).add_(after[:-1])
            torch.add(middle, before[1:], out=lower).add_(after[1:])
    return outputs


def _to_columns(values: Tensor, weights: Tensor) -> Tensor:
    """Rows `[t, h, W + 2, C]` by taps `[t, 3, C, N]`, added up along the upsampled columns: `[h, W, 2, N]`."""
    _, height, padded, channels = values.shape
    products: Tensor | None = None
    for frame, taps in zip(values, weights, strict=True):
        positions = frame.reshape(1, -1, channels).expand(3, -1, -1)
        products = torch.bmm(positions, taps) if products is None else products.baddbmm_(positions, taps)
    assert products is not None
    before, middle, after = products.view(3, height, padded, -1)
    sums = values.new_empty(height, padded - 2, 2, weights.shape[-1])
    left, right = sums.unbind(2)
    torch.add(middle[:, 1:-1], before[:, :-2], out=left).add_(after[:, 1:-1])
    torch.add(middle[:, 1:-1], before[:, 1:-1], out=right).add_(after[:, 2:])
    return sums


def plain(values: Tensor, weight: Tensor, bias: Tensor | None, factor: int, start: int, stop: int) -> Tensor:
    """What `convolve` gives, as it is defined, of a weight `[N, C, t, 3, 3]`, for any device and dtype.

    `[1, C, T, H + 2, W + 2]` in, `[1, N, stop - start, 2H, 2W]` out.
    """
    first = start - weight.shape[2] + 1
    frames = torch.arange(first, stop) + factor - 1
    rows, columns = ((torch.arange(2 * size - 2) + 1) // 2 for size in values.shape[3:])
    indices = [index.to(values.device) for index in (frames // factor - frames[0] // factor, rows, columns)]
    # One copy, of whole positions, which leaves the channels last.
    copies = values.permute(0, 2, 3, 4, 1)[:, indices[0][:, None, None], indices[1][:, None], indices[2]]
    return F.conv3d(copies.permute(0, 4, 1, 2, 3), weight, bias)


def source_frame(index: int, factor: int) -> int:
    """The frame that an upsampled one is a copy of: the first is not repeated."""
    return -(-index // factor)


def values_held(height: int, width: int, out_channels: int) -> int:
    """How many values are live beside inputs and outputs while so many upsampled rows and columns are made."""
    width = -(-width // 2)
    rows = _block(-(-height // 2), width) + 1
    return (3 * (width + 2) + 6 * width) * rows * out_channels


def _block(height: int, width: int) -> int:
    """How many rows of the input to take at a time."""
    return max(1, min(height, _ROWS // width))
