"""HunyuanVideo's network as a list of layers, in the order in which a clip goes through them."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from math import prod

import torch
from torch import Tensor, nn

from vae3d_cli.geometry import Reach, Slab, conv_reach
from vae3d_cli.kernels import STILL, UPSAMPLE, WINOGRAD, upsampling, winograd
from vae3d_cli.model.hunyuanvideo import (
    CausalAttention,
    HunyuanVideoVae,
    MidBlock,
    ResnetBlock,
    Size,
    Stage,
    Upsampler,
)
from vae3d_cli.model.normalization import GroupNorm

SAME: Size = (1, 1, 1)
# Where Winograd's transforms pay, those of the weights too: on two AVX2 cores 512 positions of 512 channels took 36 ms,
# and 42 directly.
_WINOGRAD_CHANNELS, _WINOGRAD_POSITIONS = 32, 512


@dataclass(frozen=True)
class ConvLayer:
    """A convolution and what comes with it.

    Before it `norm` and SiLU, or nearest upsampling by `factors`. A layer that `opens` a residual has its input kept;
    the one that `closes` it adds what was kept, through `shortcut` where the widths differ. `kernels` may compute it.
    """

    conv: nn.Conv3d
    norm: GroupNorm | None = None
    factors: Size = SAME
    opens: bool = False
    closes: bool = False
    shortcut: nn.Conv3d | None = None
    kernels: frozenset[str] = frozenset()

    @property
    def in_channels(self) -> int:
        """Width of the input."""
        return self.conv.in_channels

    @property
    def out_channels(self) -> int:
        """Width of the output."""
        return self.conv.out_channels

    def upsampled_size(self, size: Size) -> Size:
        """Frames, height and width of what the convolution itself sees of a clip of `size`."""
        time, height, width = self.factors
        return (1 + (size[0] - 1) * time, size[1] * height, size[2] * width)

    def out_size(self, size: Size) -> Size:
        """Frames, height and width of the output."""
        frames, height, width = (
            -(-count // stride) for count, stride in zip(self.upsampled_size(size), self.conv.stride, strict=True)
        )
        return (frames, height, width)

    def kernel(self, size: Size) -> str | None:
        """What computes it for a clip of `size`; nothing is the library's own convolution."""
        if self.factors != SAME:
            return UPSAMPLE if UPSAMPLE in self.kernels else None
        pays = (
            min(self.in_channels, self.out_channels) >= _WINOGRAD_CHANNELS and prod(size) >= _WINOGRAD_POSITIONS
        ) and (self.conv.kernel_size, self.conv.stride) == ((3, 3, 3), SAME)
        return WINOGRAD if pays and WINOGRAD in self.kernels else None

    def weight(self, size: Size, room: Tensor) -> Tensor:
        """`[N, C, t, h, w]`; all taps in time meet the same frame of a clip of one, and are added up in `room`."""
        if not self._is_still(size):
            return self.conv.weight
        first, second, third = self.conv.weight.permute(2, 0, 3, 4, 1)
        sums = torch.add(first, second, out=room.view(first.shape)).add_(third)
        return sums.permute(0, 3, 1, 2)[:, :, None]

    def factor(self, size: Size) -> int:
        """Upsampling in time, which a single frame does not see."""
        return 1 if size[0] == 1 else self.factors[0]

    def prepared_values(self, size: Size) -> tuple[int, int]:
        """How many values of room `weight` takes, and how many more a kernel's weights."""
        kernel, widths = self.kernel(size), (self.in_channels, self.out_channels)
        summed = self.conv.weight[:, :, 0].numel() if self._is_still(size) else 0
        if kernel == WINOGRAD:
            return summed, winograd.prepared_values(self._taps(size), *widths)
        if kernel == UPSAMPLE:
            return summed, upsampling.prepared_values(self.factor(size), self._taps(size), *widths)
        return summed, 0

    def reach(self, axis: int, start: int, stop: int, size: Size) -> Reach:
        """What outputs `start` to `stop - 1` along an axis (0 is time) read of the input; a kernel may read more."""
        if self.factors != SAME:
            if axis > 0:
                return conv_reach(start // 2, -(-stop // 2), size[axis], kernel=3, stride=1, padding=1)
            factor = self.factor(size)
            taps = self._taps(size) if factor == 1 else 2
            first, last = (upsampling.source_frame(index, factor) for index in (start, stop - 1))
            return conv_reach(first, last + 1, size[0], kernel=taps, stride=1, padding=taps - 1)
        kernel = self.conv.kernel_size[axis] if axis > 0 else self._taps(size)
        padding = kernel // 2 if axis > 0 else kernel - 1
        reach = conv_reach(start, stop, size[axis], kernel=kernel, stride=self.conv.stride[axis], padding=padding)
        if axis > 0 and self.kernel(size) == WINOGRAD:
            return replace(reach, after=reach.after + (start - stop) % winograd.TILE)
        return reach

    def work(self, size: Size) -> int:
        """Multiplications, for a clip of `size`."""
        return prod(self.out_size(size)) * self.in_channels * self.out_channels * prod(self.conv.kernel_size)

    def values_held(self, size: Size, slab: Slab) -> int:
        """How many values are live at most while a slab of the output is made."""
        out_width = self.out_size(size)[2]
        frames, rows = slab.stop - slab.start, slab.bottom - slab.top
        reaches = (
            self.reach(0, slab.start, slab.stop, size),
            self.reach(1, slab.top, slab.bottom, size),
            self.reach(2, 0, out_width, size),
        )
        padded = self.in_channels * prod(reach.stop - reach.start + reach.before + reach.after for reach in reaches)
        kernel = self.kernel(size)
        is_upsampled = self.factors != SAME
        unit = winograd.TILE if kernel == WINOGRAD else 1
        tall, wide = (-(-count // unit) * unit for count in (rows, out_width))
        if is_upsampled:
            tall = 2 * (-(-slab.bottom // 2) - slab.top // 2)  # pairs of rows are made
        out = frames * tall * wide * self.out_channels
        if kernel == WINOGRAD:
            scratch = winograd.values_held(frames, tall, wide, self._taps(size), self.in_channels, self.out_channels)
        elif kernel == UPSAMPLE:
            scratch = upsampling.values_held(tall, wide, self.out_channels)
        elif is_upsampled:
            scratch = (frames + 2) * (tall + 2) * (wide + 2) * self.in_channels + out
        else:
            scratch = out
        kept = frames * rows * out_width
        added = kept * (self.out_channels if self.shortcut is None else self.out_channels + self.shortcut.in_channels)
        # Before and after the normalisation or the padding; then the output, and what makes it; the residual.
        return max(2 * padded, padded + out + scratch, out + added)

    def _is_still(self, size: Size) -> bool:
        return STILL in self.kernels and size[0] == 1 and self.conv.kernel_size[0] > 1

    def _taps(self, size: Size) -> int:
        return 1 if self._is_still(size) else self.conv.kernel_size[0]


@dataclass(frozen=True)
class AttentionLayer:
    """The attention of the mid block, which adds to its input."""

    attention: CausalAttention

    @property
    def norm(self) -> GroupNorm:
        """What its input is normalised by."""
        return self.attention.group_norm

    @property
    def out_channels(self) -> int:
        """Width of input and output."""
        return self.norm.num_channels

    def out_size(self, size: Size) -> Size:
        """The size that it leaves as it is."""
        return size

    def values_held(self, size: Size, slab: Slab) -> int:
        """How many values are live at most while a slab attends: half of them are its own, half keys and values."""
        return 20 * (slab.stop - slab.start) * (slab.bottom - slab.top) * size[2] * self.out_channels

    def work(self, size: Size) -> int:
        """Multiplications: four projections, and scores and sums over the frames so far."""
        frame, frames, width = size[1] * size[2], size[0], self.out_channels
        return 4 * frames * frame * width**2 + frames * (frames + 1) * frame**2 * width


Layer = ConvLayer | AttentionLayer


def encoder_layers(network: HunyuanVideoVae, kernels: frozenset[str] = frozenset()) -> list[Layer]:
    """Pixels to moments."""
    encoder = network.encoder
    layers: list[Layer] = [
        ConvLayer(encoder.conv_in.conv),
        *_layers_of([*encoder.down_blocks, encoder.mid_block]),
        ConvLayer(encoder.conv_out.conv, encoder.conv_norm_out),
        ConvLayer(network.quant_conv),
    ]
    return _given(layers, kernels)


def decoder_layers(network: HunyuanVideoVae, kernels: frozenset[str] = frozenset()) -> list[Layer]:
    """Latents to pixels."""
    decoder = network.decoder
    layers: list[Layer] = [
        ConvLayer(network.post_quant_conv),
        ConvLayer(decoder.conv_in.conv),
        *_layers_of([decoder.mid_block, *decoder.up_blocks]),
        ConvLayer(decoder.conv_out.conv, decoder.conv_norm_out),
    ]
    return _given(layers, kernels)


def _given(layers: list[Layer], kernels: frozenset[str]) -> list[Layer]:
    return [replace(layer, kernels=kernels) if isinstance(layer, ConvLayer) else layer for layer in layers]


def _layers_of(blocks: Iterable[MidBlock | Stage]) -> Iterator[Layer]:
    for block in blocks:
        for part in block.parts:
            if isinstance(part, ResnetBlock):
                shortcut = None if part.conv_shortcut is None else part.conv_shortcut.conv
                yield ConvLayer(part.conv1.conv, part.norm1, opens=True)
                yield ConvLayer(part.conv2.conv, part.norm2, closes=True, shortcut=shortcut)
            elif isinstance(part, CausalAttention):
                yield AttentionLayer(part)
            elif isinstance(part, Upsampler):
                yield ConvLayer(part.conv.conv, factors=part.factors)
            else:
                yield ConvLayer(part.conv.conv)
