"""The kernels, each against its plain form in fp64."""

import pytest
import torch
import torch.nn.functional as F

from tests.hunyuanvideo import deviation
from vae3d_cli.kernels import upsampling, winograd


@pytest.mark.parametrize("taps", [1, 3])
@pytest.mark.parametrize(("frames", "height", "width"), [(1, 4, 4), (3, 8, 20), (5, 24, 16), (200, 4, 8)])
def test_winograd_is_a_convolution(taps: int, frames: int, height: int, width: int) -> None:
    torch.manual_seed(0)
    values = torch.randn(frames + taps - 1, height + 2, width + 2, 12)
    weight, bias = torch.randn(20, 12, taps, 3, 3), torch.randn(20)
    expected = F.conv3d(values.permute(3, 0, 1, 2)[None].double(), weight.double(), bias.double())
    outputs = winograd.convolve(values, winograd.prepare(weight), bias)
    assert deviation(outputs.double(), expected[0].permute(1, 2, 3, 0)) < 5e-6


@pytest.mark.parametrize(("taps", "factor"), [(1, 1), (3, 1), (3, 2)])
@pytest.mark.parametrize(("start", "stop"), [(0, 1), (0, 7), (1, 4), (2, 5), (5, 7)])
@pytest.mark.parametrize("width", [7, 600])
def test_the_upsampled_values_need_not_exist(taps: int, factor: int, start: int, stop: int, width: int) -> None:
    torch.manual_seed(0)
    clip = torch.randn(1, 6, 7, 5, width)
    weight, bias = torch.randn(4, 6, taps, 3, 3), torch.randn(4)
    frames = torch.tensor([upsampling.source_frame(index, factor) for index in range(stop)])
    whole = clip[:, :, frames].repeat_interleave(2, 3).repeat_interleave(2, 4).double()
    padded = F.pad(whole, (1, 1, 1, 1, taps - 1, 0), mode="replicate")
    expected = F.conv3d(padded, weight.double(), bias.double())[:, :, start:]

    first = upsampling.source_frame(start, factor) - (1 if factor == 2 else taps - 1)
    last = upsampling.source_frame(stop - 1, factor)
    near = clip[:, :, torch.arange(first, last + 1).clamp(min=0)]
    values = F.pad(near, (1, 1, 1, 1, 0, 0), mode="replicate")
    assert deviation(upsampling.plain(values, weight, bias, factor, start, stop).double(), expected) < 1e-6
    channels_last = values[0].permute(1, 2, 3, 0).contiguous()
    outputs = upsampling.convolve(channels_last, upsampling.prepare(weight, factor), bias, start, stop)
    assert deviation(outputs.permute(3, 0, 1, 2)[None].double(), expected) < 1e-6
