"""HunyuanVideo's causal 3D VAE (arXiv 2412.03603, section 4.1): convolutions that look back, and one that attends.

Convolutions pad with copies of the edge: on all sides in space, in front only in time. So the first frame stands alone,
and nothing depends on later frames - but for `GroupNorm`, whose statistics run over the whole clip. Therefore the
network takes whole clips, and has no cache. The names of the attributes are those of the checkpoints.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vae3d_cli.config import HunyuanVideoConfig
from vae3d_cli.model.attention import attend
from vae3d_cli.model.normalization import GroupNorm

NORM_EPS = 1e-6
Size = tuple[int, int, int]


class CausalConv3d(nn.Module):
    """A cubic kernel over time, height and width that sees no later frame."""

    def __init__(self, in_channels: int, out_channels: int, kernel: int = 3, stride: Size = (1, 1, 1)) -> None:
        super().__init__()
        self.conv = nn.Conv3d(in_channels, out_channels, kernel, stride)

    def forward(self, x: Tensor) -> Tensor:
        """`[B, C, T, H, W]`; a stride of s leaves every s-th position, the first included."""
        kernel = self.conv.kernel_size[0]
        side = kernel // 2
        padding = (side, side, side, side, kernel - 1, 0)
        return self.conv(F.pad(x, padding, mode="replicate") if kernel > 1 else x)  # type: ignore[no-any-return]


class ResnetBlock(nn.Module):
    """Two normalised convolutions, added to their input."""

    def __init__(self, in_channels: int, out_channels: int, groups: int) -> None:
        super().__init__()
        self.norm1 = GroupNorm(groups, in_channels, NORM_EPS)
        self.conv1 = CausalConv3d(in_channels, out_channels)
        self.norm2 = GroupNorm(groups, out_channels, NORM_EPS)
        self.conv2 = CausalConv3d(out_channels, out_channels)
        self.conv_shortcut = CausalConv3d(in_channels, out_channels, 1) if in_channels != out_channels else None

    def forward(self, x: Tensor) -> Tensor:
        """`[B, C, T, H, W]` in and out, of another C where the widths differ."""
        hidden: Tensor = self.norm1(x)
        hidden = self.conv1(F.silu(hidden, inplace=True))
        hidden = self.norm2(hidden)  # a step a line: what is not needed any more is not held
        hidden = self.conv2(F.silu(hidden, inplace=True))
        return hidden.add_(x if self.conv_shortcut is None else self.conv_shortcut(x))


class CausalAttention(nn.Module):
    """One head over all positions, in which a frame sees itself and the frames before, added to its input."""

    def __init__(self, channels: int, groups: int) -> None:
        super().__init__()
        self.group_norm = GroupNorm(groups, channels, NORM_EPS)
        self.to_q = nn.Linear(channels, channels)
        self.to_k = nn.Linear(channels, channels)
        self.to_v = nn.Linear(channels, channels)
        self.to_out = nn.ModuleList([nn.Linear(channels, channels)])

    def forward(self, x: Tensor) -> Tensor:
        """`[B, C, T, H, W]` in and out.

        Frame by frame over the keys so far, which is what a mask would give, without the mask.
        """
        tokens = self.group_norm(x).flatten(2).transpose(1, 2)
        queries, keys, values = self.to_q(tokens), self.to_k(tokens), self.to_v(tokens)
        frame = x.shape[3] * x.shape[4]
        stops = range(frame, tokens.shape[1] + 1, frame)
        frames = [attend(queries[:, stop - frame : stop], keys[:, :stop], values[:, :stop]) for stop in stops]
        attended: Tensor = self.to_out[0](torch.cat(frames, dim=1))
        return x + attended.transpose(1, 2).reshape(x.shape)


class MidBlock(nn.Module):
    """Resnet, attention, resnet, at the smallest size."""

    def __init__(self, channels: int, groups: int, add_attention: bool) -> None:
        super().__init__()
        self.resnets = nn.ModuleList(ResnetBlock(channels, channels, groups) for _ in range(2))
        self.attentions = nn.ModuleList([CausalAttention(channels, groups)] if add_attention else [])

    @property
    def parts(self) -> list["Part"]:
        """The blocks in the order in which they run."""
        before, after = self.resnets
        return [before, *self.attentions, after]

    def forward(self, x: Tensor) -> Tensor:
        """`[B, C, T, H, W]` in and out."""
        for part in self.parts:
            x = part(x)
        return x


class Downsampler(nn.Module):
    """A strided convolution: 1 + 2n frames become 1 + n where the stride in time is 2."""

    def __init__(self, channels: int, stride: Size) -> None:
        super().__init__()
        self.conv = CausalConv3d(channels, channels, stride=stride)

    def forward(self, x: Tensor) -> Tensor:
        """`[B, C, T, H, W]` to a smaller T, H and W."""
        return self.conv(x)  # type: ignore[no-any-return]


class Upsampler(nn.Module):
    """Nearest neighbours and a convolution; the first frame is not repeated in time: 1 + n frames become 1 + 2n."""

    def __init__(self, channels: int, factors: Size) -> None:
        super().__init__()
        self.factors = factors
        self.conv = CausalConv3d(channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        """`[B, C, T, H, W]` to a greater T, H and W."""
        time, height, width = self.factors
        frames = (torch.arange(1 + (x.shape[2] - 1) * time, device=x.device) + time - 1) // time
        rows = torch.arange(x.shape[3] * height, device=x.device) // height
        columns = torch.arange(x.shape[4] * width, device=x.device) // width
        # One copy, of whole positions, which leaves the channels last.
        copies = x.permute(0, 2, 3, 4, 1)[:, frames[:, None, None], rows[:, None], columns]
        return self.conv(copies.permute(0, 4, 1, 2, 3))  # type: ignore[no-any-return]


class Stage(nn.Module):
    """Resnets of one width, and after them what changes the size, where there is something."""

    def __init__(self, in_channels: int, out_channels: int, layers: int, groups: int) -> None:
        super().__init__()
        widths = (in_channels, *(out_channels,) * (layers - 1))
        self.resnets = nn.ModuleList(ResnetBlock(width, out_channels, groups) for width in widths)

    @property
    def parts(self) -> list["Part"]:
        """The blocks in the order in which they run."""
        return [part for parts in self.children() for part in parts]  # type: ignore[attr-defined]

    def forward(self, x: Tensor) -> Tensor:
        """`[B, C, T, H, W]` to another C, T, H and W."""
        for part in self.parts:
            x = part(x)
        return x


class DownBlock(Stage):
    """A stage of the encoder, which ends with a downsampler unless it is the last."""

    def __init__(self, in_channels: int, out_channels: int, layers: int, groups: int, stride: Size | None) -> None:
        super().__init__(in_channels, out_channels, layers, groups)
        self.downsamplers = nn.ModuleList([Downsampler(out_channels, stride)] if stride else [])


class UpBlock(Stage):
    """A stage of the decoder, which ends with an upsampler unless it is the last."""

    def __init__(self, in_channels: int, out_channels: int, layers: int, groups: int, factors: Size | None) -> None:
        super().__init__(in_channels, out_channels, layers, groups)
        self.upsamplers = nn.ModuleList([Upsampler(out_channels, factors)] if factors else [])


Part = ResnetBlock | CausalAttention | Downsampler | Upsampler


class Encoder(nn.Module):
    """Pixels to moments, before `quant_conv`."""

    def __init__(self, config: HunyuanVideoConfig) -> None:
        super().__init__()
        widths, groups = config.block_out_channels, config.norm_num_groups
        strides = (*config.strides, None)
        self.conv_in = CausalConv3d(config.in_channels, widths[0])
        self.down_blocks = nn.ModuleList(
            DownBlock(before, width, config.layers_per_block, groups, stride)
            for before, width, stride in zip((widths[0], *widths), widths, strides, strict=False)
        )
        self.mid_block = MidBlock(widths[-1], groups, config.mid_block_add_attention)
        self.conv_norm_out = GroupNorm(groups, widths[-1], NORM_EPS)
        self.conv_out = CausalConv3d(widths[-1], 2 * config.latent_channels)

    def forward(self, pixels: Tensor) -> Tensor:
        """`[B, 3, 1 + 4k, H, W]` to `[B, 2C, 1 + k, H/8, W/8]`."""
        x = self.conv_in(pixels)
        for block in (*self.down_blocks, self.mid_block):
            x = block(x)
        return self.conv_out(F.silu(self.conv_norm_out(x), inplace=True))  # type: ignore[no-any-return]


class Decoder(nn.Module):
    """Latents, after `post_quant_conv`, to pixels."""

    def __init__(self, config: HunyuanVideoConfig) -> None:
        super().__init__()
        widths, groups = config.block_out_channels[::-1], config.norm_num_groups
        factors = (*config.strides, None)
        self.conv_in = CausalConv3d(config.latent_channels, widths[0])
        self.mid_block = MidBlock(widths[0], groups, config.mid_block_add_attention)
        self.up_blocks = nn.ModuleList(
            UpBlock(before, width, config.layers_per_block + 1, groups, factor)
            for before, width, factor in zip((widths[0], *widths), widths, factors, strict=False)
        )
        self.conv_norm_out = GroupNorm(groups, widths[-1], NORM_EPS)
        self.conv_out = CausalConv3d(widths[-1], config.out_channels)

    def forward(self, latents: Tensor) -> Tensor:
        """`[B, C, 1 + k, H/8, W/8]` to `[B, 3, 1 + 4k, H, W]`."""
        x = self.conv_in(latents)
        for block in (self.mid_block, *self.up_blocks):
            x = block(x)
        return self.conv_out(F.silu(self.conv_norm_out(x), inplace=True))  # type: ignore[no-any-return]


class HunyuanVideoVae(nn.Module):
    """Encoder and decoder of whole clips. Tensors come and go as fp32; inside they have the dtype of the weights."""

    def __init__(self, config: HunyuanVideoConfig) -> None:
        super().__init__()
        self.config = config
        self.encoder = Encoder(config)
        self.decoder = Decoder(config)
        self.quant_conv = nn.Conv3d(2 * config.latent_channels, 2 * config.latent_channels, 1)
        self.post_quant_conv = nn.Conv3d(config.latent_channels, config.latent_channels, 1)

    @property
    def decoder_context_latents(self) -> None:
        """A decoded frame depends on every latent frame of the clip, by the statistics of `GroupNorm`."""
        return None

    def set_compute_dtype(self, dtype: torch.dtype) -> None:
        """Run the network in `dtype`."""
        self.to(dtype)

    def encode(self, pixels: Tensor) -> Tensor:
        """Moments `[B, 2C, 1 + k, H/8, W/8]` of a clip's pixels `[B, 3, 1 + 4k, H, W]` in [-1, 1]."""
        moments: Tensor = self.quant_conv(self.encoder(self._prepared(pixels)))
        return moments.float()

    def decode(self, latents: Tensor) -> Tensor:
        """Pixels `[B, 3, 1 + 4k, H, W]`, about [-1, 1], of a clip's latents `[B, C, 1 + k, H/8, W/8]`."""
        pixels: Tensor = self.decoder(self.post_quant_conv(self._prepared(latents)))
        return pixels.float()

    def _prepared(self, x: Tensor) -> Tensor:
        """In the weights' dtype, channels last: convolutions then need no copy of their input."""
        return x.to(self.quant_conv.weight.dtype, memory_format=torch.channels_last_3d)
