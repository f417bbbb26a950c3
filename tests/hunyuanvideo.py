"""HunyuanVideo's VAE at toy size, and diffusers' own with the same weights."""

from dataclasses import asdict
from functools import cache

import torch
from diffusers import AutoencoderKLHunyuanVideo
from torch import Tensor

from vae3d_cli.config import HunyuanVideoConfig
from vae3d_cli.model.hunyuanvideo import HunyuanVideoVae

# As small as the tests of diffusers, and one wide enough for all kernels, and one whose widths all differ.
SMALL = HunyuanVideoConfig(latent_channels=4, block_out_channels=(8, 8, 8, 8), layers_per_block=1, norm_num_groups=4)
WIDE = HunyuanVideoConfig(latent_channels=4, block_out_channels=(32, 32, 32, 32), layers_per_block=1, norm_num_groups=4)
UNEVEN = HunyuanVideoConfig(block_out_channels=(8, 16, 24, 32), norm_num_groups=8)


@cache
def reference(config: HunyuanVideoConfig) -> AutoencoderKLHunyuanVideo:
    """Diffusers' network with random weights; `whole_clips` or `tiles` must be called before it is used."""
    torch.manual_seed(0)
    names = ("in_channels", "out_channels", "latent_channels", "block_out_channels", "layers_per_block")
    fields = {name: value for name, value in asdict(config).items() if name in names}
    network = AutoencoderKLHunyuanVideo(**fields, norm_num_groups=config.norm_num_groups).eval().requires_grad_(False)
    for name, parameter in network.named_parameters():
        if "norm" in name:  # else a forgotten norm's weight would not show
            parameter += 0.2 * torch.randn_like(parameter)
    return network


@cache
def ours(config: HunyuanVideoConfig) -> HunyuanVideoVae:
    """Our network with the weights of `reference`."""
    with torch.device("meta"):
        network = HunyuanVideoVae(config)
    network.load_state_dict(reference(config).state_dict(), strict=True, assign=True)
    network.requires_grad_(False).to(memory_format=torch.channels_last_3d)  # type: ignore[call-overload]
    return network


def whole_clips(network: AutoencoderKLHunyuanVideo) -> AutoencoderKLHunyuanVideo:
    """Have diffusers take whole clips, which it does not do above 16 frames unless told."""
    network.disable_tiling()
    network.use_framewise_encoding = network.use_framewise_decoding = False
    return network


def tiles(
    network: AutoencoderKLHunyuanVideo, *, frames: tuple[int, int], px: tuple[int, int] | None
) -> AutoencoderKLHunyuanVideo:
    """Have diffusers take windows of (tile, stride) `frames`, and tiles of `px` if there are to be any."""
    network.disable_tiling()
    network.use_framewise_encoding = network.use_framewise_decoding = True
    network.tile_sample_min_num_frames, network.tile_sample_stride_num_frames = frames
    if px is not None:
        network.enable_tiling(
            tile_sample_min_height=px[0],
            tile_sample_min_width=px[0],
            tile_sample_stride_height=px[1],
            tile_sample_stride_width=px[1],
        )
    return network


def moments_of(network: AutoencoderKLHunyuanVideo, pixels: Tensor) -> Tensor:
    return network.encode(pixels).latent_dist.parameters  # type: ignore[no-any-return]


def pixels_of(network: AutoencoderKLHunyuanVideo, latents: Tensor) -> Tensor:
    return network.decode(latents).sample  # type: ignore[no-any-return]


def random_pixels(num_frames: int, height: int, width: int) -> Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.rand(1, 3, num_frames, height, width, generator=generator) * 2 - 1


def random_latents(num_latent_frames: int, height: int, width: int, channels: int) -> Tensor:
    generator = torch.Generator().manual_seed(2)
    return torch.randn(1, channels, num_latent_frames, height, width, generator=generator)


def deviation(a: Tensor, b: Tensor) -> float:
    """`||a - b|| / ||b||`."""
    assert a.shape == b.shape
    return float((a - b).norm() / b.norm())
