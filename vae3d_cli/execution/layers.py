"""HunyuanVideo's network as a list of layers, in the order in which a clip goes through them."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from math import prod

from torch import nn

from vae3d_cli.geometry import Reach, Slab, conv_reach, nearest_source
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


@dataclass(frozen=True)
class ConvLayer:
    """A convolution and what comes with it.

    Before it `norm` and SiLU, or nearest upsampling by `factors`. A layer that `opens` a residual has its input kept;
    the one that `closes` it adds what was kept, through `shortcut` where the widths differ.
    """

    conv: nn.Conv3d
    norm: GroupNorm | None = None
    factors: Size = SAME
    opens: bool = False
    closes: bool = False
    shortcut: nn.Conv3d | None = None

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

    def reach(self, axis: int, start: int, stop: int, size: Size) -> Reach:
        """What outputs `start` to `stop - 1` along an axis (0 is time) read of the upsampled input."""
        kernel = self.conv.kernel_size[axis]
        return conv_reach(
            start,
            stop,
            self.upsampled_size(size)[axis],
            kernel=kernel,
            stride=self.conv.stride[axis],
            padding=kernel - 1 if axis == 0 else kernel // 2,
        )

    def source(self, axis: int, index: int) -> int:
        """The position of the input that the upsampled `index` is a copy of."""
        return nearest_source(index, self.factors[axis], keeps_first=axis == 0)

    def work(self, size: Size) -> int:
        """Multiplications, for a clip of `size`."""
        return prod(self.out_size(size)) * self.in_channels * self.out_channels * prod(self.conv.kernel_size)

    def values_held(self, size: Size, slab: Slab) -> int:
        """How many values are live at most while a slab of the output is made."""
        out_width = self.out_size(size)[2]
        frames, rows, columns = (
            self.reach(axis, start, stop, size)
            for axis, start, stop in ((0, slab.start, slab.stop), (1, slab.top, slab.bottom), (2, 0, out_width))
        )
        padded = self.in_channels * prod(
            reach.stop - reach.start + reach.before + reach.after for reach in (frames, rows, columns)
        )
        out = (slab.stop - slab.start) * (slab.bottom - slab.top) * out_width * self.out_channels
        added = out if self.shortcut is None else out + out // self.out_channels * self.shortcut.in_channels
        # Before and after the normalisation or the padding; then the output, and as much for the library; the residual.
        return max(2 * padded, padded + 2 * out, out + added)


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


def encoder_layers(network: HunyuanVideoVae) -> list[Layer]:
    """Pixels to moments."""
    encoder = network.encoder
    return [
        ConvLayer(encoder.conv_in.conv),
        *_layers_of([*encoder.down_blocks, encoder.mid_block]),
        ConvLayer(encoder.conv_out.conv, encoder.conv_norm_out),
        ConvLayer(network.quant_conv),
    ]


def decoder_layers(network: HunyuanVideoVae) -> list[Layer]:
    """Latents to pixels."""
    decoder = network.decoder
    return [
        ConvLayer(network.post_quant_conv),
        ConvLayer(decoder.conv_in.conv),
        *_layers_of([decoder.mid_block, *decoder.up_blocks]),
        ConvLayer(decoder.conv_out.conv, decoder.conv_norm_out),
    ]


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
