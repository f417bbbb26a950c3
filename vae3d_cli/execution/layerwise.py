"""Layer by layer over the whole clip, in slabs: exact, with no more on the device than its budget.

`GroupNorm` takes its statistics over the whole clip, so a layer must be done everywhere before the next can begin. They
are gathered when its input is written. A slab reads two frames more of the past and a row more on each side. An
activation rests where there is room; the output of a residual block takes the place of its input.
"""

from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import pairwise
from math import prod

import torch
import torch.nn.functional as F
from torch import Tensor

from vae3d_cli.execution.activation import Activation, to_channels_first, to_channels_last
from vae3d_cli.execution.layers import SAME, AttentionLayer, ConvLayer, Layer
from vae3d_cli.execution.memory import Memory
from vae3d_cli.execution.slabs import Progress, SlabLoop, slab_bytes
from vae3d_cli.geometry import Reach, Slab, plan_slabs
from vae3d_cli.kernels import UPSAMPLE, WINOGRAD, upsampling, winograd
from vae3d_cli.model.attention import MAX_SCORES, attend, attend_in_blocks
from vae3d_cli.model.hunyuanvideo import Size
from vae3d_cli.model.normalization import Statistics

_LEAST_SLAB = Slab(0, 1, 0, 1)


def run_layerwise(
    layers: list[Layer], source: Activation, memory: Memory, dtype: torch.dtype, progress: Progress
) -> Iterator[Tensor]:
    """Outputs `[1, C, t, H, W]` of the last layer in fp32, in the order of time; `source` is freed on the way.

    Raises:
        MemoryLimitError: A single row does not fit the budget.
        OutputError: There is no room on the disk for what does not fit.
    """
    layers = _fitting(layers, source.size, memory, dtype)
    run = _LayerwiseRun(SlabLoop(layers, source.size, memory, dtype, progress))
    x, kept, statistics = source, None, Statistics()
    for layer, following in pairwise(layers):
        gathered = Statistics() if following.norm is not None else None
        if isinstance(layer, AttentionLayer):
            run.attend(layer, x, statistics, gathered)
        else:
            target = run.target(layer, x, kept)
            in_order = kept is not None and target.buffer is kept.buffer and target.channels < kept.channels
            for slab, values in run.convolve(layer, x, statistics, kept, in_order=in_order):
                target.write(slab, values)
                if gathered is not None:
                    gathered.add(values)
                del values  # else it would live on beside the next
            if layer.opens:
                kept = x
            else:
                x.buffer.free()
            if layer.closes and kept is not None:
                if kept.buffer is not target.buffer:
                    kept.buffer.free()
                kept = None
            x = target
        statistics = gathered or Statistics()
    last = layers[-1]
    assert isinstance(last, ConvLayer)
    yield from _whole_frames(run.convolve(last, x, statistics, None, in_order=True), last.out_size(x.size)[1])
    x.buffer.free()


class _LayerwiseRun:
    """The two kinds of layer."""

    def __init__(self, loop: SlabLoop) -> None:
        self._loop = loop
        self._memory = loop.memory

    def target(self, layer: ConvLayer, x: Activation, kept: Activation | None) -> Activation:
        """Where the output of a layer goes: over the input that its residual kept, if that is as wide.

        A slab is read before it is written; in the order of the buffer, a narrower output never overtakes what is read.
        """
        size = layer.out_size(x.size)
        if layer.closes and kept is not None and layer.out_channels <= kept.channels:
            return Activation(kept.buffer, size, layer.out_channels)
        return self._allocate(size, layer.out_channels)

    def convolve(
        self, layer: ConvLayer, x: Activation, statistics: Statistics, kept: Activation | None, *, in_order: bool
    ) -> Iterator[tuple[Slab, Tensor]]:
        """The output of a layer, slab by slab."""
        size = x.size
        normalized = None if layer.norm is None else layer.norm.given(statistics, self._memory.device)
        columns = layer.reach(2, 0, layer.out_size(size)[2], size)

        def compute(slab: Slab) -> Tensor:
            frames = layer.reach(0, slab.start, slab.stop, size)
            rows = layer.reach(1, slab.top, slab.bottom, size)
            values = x.read(frames, rows)
            if normalized is not None:
                values = F.silu(normalized(values), inplace=True)
            values = _padded(values, frames, rows, columns)
            values = convolution(values, slab)
            if layer.closes and kept is not None:
                residual = kept.read_slab(slab)
                values.add_(residual if layer.shortcut is None else layer.shortcut(residual))
            return values

        counts = layer.prepared_values(size)
        scratch = self._memory.scratch(sum(counts), slab_bytes(layer, size, _LEAST_SLAB, self._loop.dtype))
        convolution = _convolution(layer, size, *torch.split(scratch, list(counts)))
        yield from self._loop.each(layer, size, self._loop.plan(layer, size, in_order=in_order), compute)

    def attend(self, layer: AttentionLayer, x: Activation, statistics: Statistics, gathered: Statistics | None) -> None:
        """Add the attention of each frame over the frames so far to `x`, in place."""
        attention, width = layer.attention, layer.out_channels
        normalized = layer.norm.given(statistics, self._memory.device)
        keys, values = (self._allocate(x.size, width) for _ in range(2))

        def tokens_of(slab: Slab) -> Tensor:
            return to_channels_last(normalized(x.read_slab(slab))).view(1, -1, width)

        def project(slab: Slab) -> Tensor:
            tokens = tokens_of(slab)
            for projection, target in ((attention.to_k, keys), (attention.to_v, values)):
                target.write(slab, _as_slab(projection(tokens), slab, x.size[2]))
            return tokens

        def mix(slab: Slab) -> Tensor:
            attended = self._attended(attention.to_q(tokens_of(slab)), keys, values, slab.stop)
            return _as_slab(attention.to_out[0](attended), slab, x.size[2]) + x.read_slab(slab)

        slabs = self._loop.plan(layer, x.size)
        for _ in self._loop.each(layer, x.size, slabs, project, share=0.0):
            pass
        single = plan_slabs(x.size[0], x.size[1], 1, slabs[0].bottom - slabs[0].top)
        for slab, mixed in self._loop.each(layer, x.size, single, mix):
            x.write(slab, mixed)
            if gathered is not None:
                gathered.add(mixed)
            del mixed
        keys.buffer.free()
        values.buffer.free()

    def _attended(self, queries: Tensor, keys: Activation, values: Activation, num_frames: int) -> Tensor:
        """Queries `[1, Q, C]` over the keys and values of so many frames: at once where they fit, else in blocks."""
        _, height, width = keys.size
        channels, itemsize, total = keys.channels, self._loop.dtype.itemsize, num_frames * height * width
        near = keys.buffer.on_device and values.buffer.on_device
        token_bytes = 2 * channels * (itemsize + 4)  # a key and a value, and both in fp32
        reserved = 10 * queries.shape[1] * channels * itemsize
        room = reserved + self._memory.left_bytes // 2
        count = total if near else min(total, max(1, room // token_bytes))
        max_scores = min(MAX_SCORES, max(count, self._memory.left_bytes // 32))

        def tokens(source: Activation, start: int) -> Tensor:
            stop = min(start + count, total)
            return source.buffer.read(start * channels, stop * channels).view(1, -1, channels)

        with self._memory.held(0 if near else max(0, count * token_bytes - reserved)):
            if count == total:
                return attend(queries, tokens(keys, 0), tokens(values, 0), max_scores)
            blocks = ((tokens(keys, start), tokens(values, start)) for start in range(0, total, count))
            return attend_in_blocks(queries, blocks, max_scores)

    def _allocate(self, size: Size, channels: int) -> Activation:
        return Activation(self._memory.allocate(prod(size) * channels, self._loop.dtype), size, channels)


def _fitting(layers: list[Layer], size: Size, memory: Memory, dtype: torch.dtype) -> list[Layer]:
    """The layers, without their kernels where those need more than is kept free for a slab."""
    fitting: list[Layer] = []
    for layer in layers:
        fits = layer
        if isinstance(layer, ConvLayer):
            needed = 4 * sum(layer.prepared_values(size)) + slab_bytes(layer, size, _LEAST_SLAB, dtype)
            fits = layer if needed <= memory.slab_bytes else replace(layer, kernels=frozenset())
        fitting.append(fits)
        size = layer.out_size(size)
    return fitting


def _convolution(layer: ConvLayer, size: Size, summed: Tensor, prepared: Tensor) -> Callable[[Tensor, Slab], Tensor]:
    """The convolution of a layer: what a slab reads, padded, `[1, C, t, h, w]` to its output `[1, N, t, h, W]`.

    `summed` and `prepared` are room for `layer.prepared_values`.
    """
    weight, bias, width = layer.weight(size, summed), layer.conv.bias, layer.out_size(size)[2]
    kernel, factor = layer.kernel(size), layer.factor(size)
    if kernel is None and layer.factors == SAME:
        if size[0] == weight.shape[2] == 1:  # in three dimensions torch has no fast kernel for that
            stride = layer.conv.stride[1:]
            return lambda values, _slab: F.conv2d(values[:, :, 0], weight[:, :, 0], bias, stride)[:, :, None]
        return lambda values, _slab: F.conv3d(values, weight, bias, layer.conv.stride)
    assert bias is not None
    if kernel == WINOGRAD:
        points = winograd.prepare(weight, prepared)

        def by_winograd(values: Tensor, slab: Slab) -> Tensor:
            outputs = winograd.convolve(_channels_last(values), points, bias)
            return _channels_first(outputs[:, : slab.bottom - slab.top, :width])

        return by_winograd
    taps = upsampling.prepare(weight, factor, prepared) if kernel == UPSAMPLE else None

    def upsampled(values: Tensor, slab: Slab) -> Tensor:
        if taps is None:
            outputs = upsampling.plain(values, weight, bias, factor, slab.start, slab.stop)
        else:
            outputs = _channels_first(upsampling.convolve(_channels_last(values), taps, bias, slab.start, slab.stop))
        top = slab.top % 2  # pairs of rows are made, of which the first may not be asked for
        return outputs[:, :, :, top : top + slab.bottom - slab.top]

    return upsampled


def _padded(values: Tensor, frames: Reach, rows: Reach, columns: Reach) -> Tensor:
    """`[1, C, t, h, W]` with the copies of the edge, channels last, which `F.pad` would not leave."""
    _, channels, *sizes = values.shape
    time, height, width = (
        slice(reach.before, reach.before + size) for reach, size in zip((frames, rows, columns), sizes, strict=True)
    )
    lengths = [size + reach.before + reach.after for size, reach in zip(sizes, (frames, rows, columns), strict=True)]
    padded = torch.empty(
        (1, channels, *lengths), dtype=values.dtype, device=values.device, memory_format=torch.channels_last_3d
    )
    padded[:, :, time, height, width] = values
    for axis, inner, outer in ((4, width, (time, height)), (3, height, (time,)), (2, time, ())):
        whole = padded[:, :, *outer]
        first, last = whole.narrow(axis, inner.start, 1), whole.narrow(axis, inner.stop - 1, 1)
        whole.narrow(axis, 0, inner.start).copy_(first.expand_as(whole.narrow(axis, 0, inner.start)))
        after = whole.narrow(axis, inner.stop, whole.shape[axis] - inner.stop)
        after.copy_(last.expand_as(after))
    return padded


def _channels_last(values: Tensor) -> Tensor:
    return values[0].permute(1, 2, 3, 0)


def _channels_first(values: Tensor) -> Tensor:
    return values.permute(3, 0, 1, 2)[None]


def _as_slab(tokens: Tensor, slab: Slab, width: int) -> Tensor:
    """Tokens `[1, N, C]` of a slab as `[1, C, t, h, W]`."""
    return to_channels_first(tokens.reshape(-1), slab.stop - slab.start, slab.bottom - slab.top, width)


def _whole_frames(slabs: Iterator[tuple[Slab, Tensor]], height: int) -> Iterator[Tensor]:
    """Bands of rows joined to frames, as fp32."""
    bands: list[Tensor] = []
    for slab, values in slabs:
        bands.append(values.float())
        if slab.bottom == height:
            yield torch.cat(bands, dim=3) if len(bands) > 1 else bands[0]
            bands = []
