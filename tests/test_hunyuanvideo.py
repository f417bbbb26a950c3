"""HunyuanVideo's network: the reference's numbers, and what its parts promise."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from tests.hunyuanvideo import (
    SMALL,
    UNEVEN,
    deviation,
    moments_of,
    ours,
    pixels_of,
    random_latents,
    random_pixels,
    reference,
    whole_clips,
)
from vae3d_cli.config import HunyuanVideoConfig
from vae3d_cli.model.attention import attend, attend_in_blocks
from vae3d_cli.model.hunyuanvideo import CausalAttention, CausalConv3d, HunyuanVideoVae, Upsampler
from vae3d_cli.model.normalization import FEW_POSITIONS, GroupNorm


@pytest.mark.parametrize("config", [SMALL, UNEVEN], ids=["small", "uneven"])
@pytest.mark.parametrize(("num_frames", "height", "width"), [(1, 32, 24), (5, 40, 72), (17, 21, 35), (33, 32, 32)])
def test_moments_and_pixels_are_those_of_diffusers(
    config: HunyuanVideoConfig, num_frames: int, height: int, width: int
) -> None:
    theirs = whole_clips(reference(config))
    pixels = random_pixels(num_frames, height, width)
    moments = moments_of(theirs, pixels)
    assert deviation(ours(config).encode(pixels), moments) < 1e-5
    latents = moments[:, : config.latent_channels]
    assert deviation(ours(config).decode(latents), pixels_of(theirs, latents)) < 1e-5


def test_the_full_size_network_has_the_numbers_of_diffusers() -> None:
    config = HunyuanVideoConfig()
    with torch.device("meta"):
        network = HunyuanVideoVae(config)
    assert len(network.state_dict()) == 248
    assert sum(parameter.numel() for parameter in network.parameters()) == 246_478_803
    theirs = whole_clips(reference.__wrapped__(config))  # not kept: a gigabyte
    network.load_state_dict(theirs.state_dict(), strict=True, assign=True)
    pixels = random_pixels(9, 64, 64)
    with torch.no_grad():
        moments = moments_of(theirs, pixels)
        assert deviation(network.encode(pixels), moments) < 1e-4
        assert deviation(network.decode(moments[:, :16]), pixels_of(theirs, moments[:, :16])) < 1e-4


@pytest.mark.parametrize("stride", [(1, 1, 1), (2, 2, 2), (1, 2, 2)])
def test_a_convolution_sees_no_later_frame(stride: tuple[int, int, int]) -> None:
    conv = CausalConv3d(3, 4, stride=stride)
    pixels, changed = random_pixels(9, 8, 8), random_pixels(9, 8, 8)
    changed[:, :, 5:] = 0
    a, b = conv(pixels), conv(changed)
    first = -(-5 // stride[0])
    assert torch.equal(a[:, :, :first], b[:, :, :first])
    assert not torch.equal(a[:, :, first], b[:, :, first])


def test_the_first_frame_is_not_repeated_by_upsampling() -> None:
    upsampler = Upsampler(1, (2, 2, 2))
    nn.init.zeros_(upsampler.conv.conv.weight)
    upsampler.conv.conv.weight.data[0, 0, 2, 1, 1] = 1  # the position itself
    upsampler.conv.conv.bias = None
    frames = torch.arange(4.0).view(1, 1, 4, 1, 1)
    assert upsampler(frames)[0, 0, :, 0, 0].tolist() == [0, 1, 1, 2, 2, 3, 3]
    assert upsampler(frames).shape == (1, 1, 7, 2, 2)


def test_attention_sees_no_later_frame_but_for_the_statistics() -> None:
    torch.manual_seed(0)
    attention = CausalAttention(8, groups=4)
    attention.group_norm = nn.Identity()  # type: ignore[assignment]
    x = torch.randn(1, 8, 4, 3, 5)
    changed = x.clone()
    changed[:, :, 2:] += 1
    assert torch.equal(attention(x)[:, :, :2], attention(changed)[:, :, :2])
    assert not torch.equal(attention(x)[:, :, 2], attention(changed)[:, :, 2])


@pytest.mark.parametrize("max_scores", [1, 700, 1 << 20])
@pytest.mark.parametrize("block", [1, 7, 90])
def test_any_blocks_give_the_same_attention(max_scores: int, block: int) -> None:
    torch.manual_seed(0)
    queries, keys, values = torch.randn(2, 50, 16) * 3, torch.randn(2, 90, 16) * 3, torch.randn(2, 90, 16)
    expected = torch.softmax(queries @ keys.transpose(1, 2) / 4, dim=2) @ values
    assert deviation(attend(queries, keys, values, max_scores), expected) < 1e-6
    blocks = zip(torch.split(keys, block, dim=1), torch.split(values, block, dim=1), strict=True)
    assert deviation(attend_in_blocks(queries, blocks, max_scores), expected) < 1e-6


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_attention_in_blocks_overflows_in_no_dtype(dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    queries, keys = (torch.randn(1, count, 512) * 12 for count in (8, 40))
    values = torch.randn(1, 40, 512) * 2000
    expected = torch.softmax(queries @ keys.transpose(1, 2) / 512**0.5, dim=2) @ values
    blocks = [(keys[:, :20].to(dtype), values[:, :20].to(dtype)), (keys[:, 20:].to(dtype), values[:, 20:].to(dtype))]
    assert deviation(attend_in_blocks(queries.to(dtype), blocks).float(), expected) < 0.3


@pytest.mark.parametrize(("dtype", "most"), [(torch.bfloat16, 0.1), (torch.float16, 0.02)])
def test_less_precision_is_close(dtype: torch.dtype, most: float) -> None:
    config = UNEVEN
    network = HunyuanVideoVae(config)
    network.load_state_dict(ours(config).state_dict())
    network.requires_grad_(False).set_compute_dtype(dtype)
    pixels, latents = random_pixels(5, 32, 32), random_latents(2, 4, 4, 16)
    assert network.encode(pixels).dtype == torch.float32
    assert deviation(network.encode(pixels), ours(config).encode(pixels)) < most
    assert deviation(network.decode(latents), ours(config).decode(latents)) < most


@pytest.mark.parametrize("num_frames", [1, 6])
def test_normalization_of_many_positions_is_exact(num_frames: int) -> None:
    norm = GroupNorm(4, 8)
    for parameter in norm.parameters():
        nn.init.normal_(parameter.requires_grad_(False))
    x = torch.randn(1, 8, num_frames, 160, 240).to(memory_format=torch.channels_last_3d) + 30
    assert x[0, 0].numel() >= FEW_POSITIONS
    expected = F.group_norm(x.double(), 4, norm.weight.double(), norm.bias.double(), norm.eps)
    assert deviation(norm(x).double(), expected) < 3e-6  # 30 times the mantissa
    assert deviation(norm(x[:, :, :, :20]), F.group_norm(x[:, :, :, :20], 4, norm.weight, norm.bias, norm.eps)) == 0
    pair = torch.cat((x, 2 * x))
    assert deviation(norm(pair), F.group_norm(pair, 4, norm.weight, norm.bias, norm.eps)) == 0
