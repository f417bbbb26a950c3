"""Frozen descriptions of the models: what a checkpoint says of itself."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class VaeConfig:
    """What every causal video VAE of this kind has: its ratios and its latent space.

    A clip of `1 + temporal_compression_ratio * k` frames becomes `1 + k` latent frames.
    """

    latent_space: str
    latent_channels: int = 16
    temporal_compression_ratio: int = 4
    spatial_compression_ratio: int = 8
    scaling_factor: float = 1.0


@dataclass(frozen=True, kw_only=True)
class TinyConfig(VaeConfig):
    """The embedded model: a linear codec (KLT) and two networks that correct it.

    `block_out_channels` are the widths at 1/2, 1/4 and 1/8 of the input's size; the layers count the blocks there.
    """

    latent_space: str = "tiny/1"
    block_out_channels: tuple[int, int, int] = (48, 96, 192)
    encoder_layers: tuple[int, int, int] = (1, 2, 2)
    decoder_layers: tuple[int, int, int] = (2, 4, 6)


@dataclass(frozen=True, kw_only=True)
class HunyuanVideoConfig(VaeConfig):
    """HunyuanVideo's causal 3D VAE (arXiv 2412.03603); the defaults are those of the released weights.

    `block_out_channels` are the widths of the encoder's blocks, first to last; the decoder's are the reverse, with one
    layer more in each.
    """

    latent_space: str = "hunyuanvideo"
    scaling_factor: float = 0.476986
    in_channels: int = 3
    out_channels: int = 3
    block_out_channels: tuple[int, ...] = (128, 256, 512, 512)
    layers_per_block: int = 2
    norm_num_groups: int = 32
    mid_block_add_attention: bool = True

    @property
    def strides(self) -> tuple[tuple[int, int, int], ...]:
        """Time, height and width: what each block but the last shrinks by, and the decoder's block grows by."""
        return ((1, 2, 2), (2, 2, 2), (2, 2, 2))
