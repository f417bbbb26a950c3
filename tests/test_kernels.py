"""The kernels, each against its plain form in fp64, and where `layerwise` uses them."""

from collections import Counter
from dataclasses import replace
from itertools import combinations
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from tests.hunyuanvideo import (
    WIDE,
    deviation,
    moments_of,
    ours,
    pixels_of,
    random_latents,
    random_pixels,
    reference,
    whole_clips,
)
from tests.test_execution import KIB, LAYERWISE, MIB, LiveBytes, decode, encode
from vae3d_cli.errors import UsageError
from vae3d_cli.execution import StrategyOptions, check_strategy, decode_chunks
from vae3d_cli.execution.layers import ConvLayer, Layer, decoder_layers
from vae3d_cli.execution.slabs import SlabLoop
from vae3d_cli.geometry import Slab, plan_slabs
from vae3d_cli.kernels import KERNELS, STILL, UPSAMPLE, WINOGRAD, upsampling, winograd
from vae3d_cli.model.hunyuanvideo import Size


@pytest.fixture
def used(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """How often each kernel ran; a plain convolution of a single frame has nothing added up if it has one tap."""
    counts: Counter[str] = Counter()

    def watch(kernel: str, module: Any, name: str) -> None:
        convolve = getattr(module, name)

        def spy(*arguments: Any) -> Tensor:
            counts[kernel] += kernel != STILL or arguments[1].shape[-1] > 1
            outputs: Tensor = convolve(*arguments)
            return outputs

        monkeypatch.setattr(module, name, spy)

    watch(WINOGRAD, winograd, "convolve")
    watch(UPSAMPLE, upsampling, "convolve")
    watch(STILL, F, "conv2d")
    return counts


@pytest.mark.parametrize("taps", [1, 3])
@pytest.mark.parametrize(("frames", "height", "width"), [(1, 4, 4), (3, 8, 20), (5, 24, 16), (200, 4, 8)])
def test_winograd_is_a_convolution(taps: int, frames: int, height: int, width: int) -> None:
    torch.manual_seed(0)
    values = torch.randn(frames + taps - 1, height + 2, width + 2, 12)
    weight, bias = torch.randn(20, 12, taps, 3, 3), torch.randn(20)
    expected = F.conv3d(values.permute(3, 0, 1, 2)[None].double(), weight.double(), bias.double())
    room = torch.empty(winograd.prepared_values(taps, 12, 20))
    outputs = winograd.convolve(values, winograd.prepare(weight, room), bias)
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
    room = torch.empty(upsampling.prepared_values(factor, taps, 6, 4))
    outputs = upsampling.convolve(channels_last, upsampling.prepare(weight, factor, room), bias, start, stop)
    assert deviation(outputs.permute(3, 0, 1, 2)[None].double(), expected) < 1e-6


@pytest.mark.parametrize("budget", [None, 12 * MIB, 3 * MIB])
@pytest.mark.parametrize("kernels", [*combinations(KERNELS, 1), KERNELS])
@pytest.mark.parametrize(("num_frames", "height", "width"), [(1, 104, 72), (9, 72, 104)])
def test_kernels_give_what_whole_gives_over_any_slabs(
    budget: int | None, kernels: tuple[str, ...], num_frames: int, height: int, width: int, used: Counter[str]
) -> None:
    options = replace(LAYERWISE, memory_bytes=budget, kernels=frozenset(kernels))
    pixels = random_pixels(num_frames, height, width)
    moments = moments_of(whole_clips(reference(WIDE)), pixels)
    latents = moments[:, :4]
    expected = pixels_of(whole_clips(reference(WIDE)), latents)
    used.clear()
    with LiveBytes() as live:
        actual = encode(pixels, options, WIDE), decode(latents, options, WIDE)
    assert deviation(actual[0], moments) < 1e-5
    assert deviation(actual[1], expected) < 1e-5
    assert budget is None or live.peak <= budget + actual[0].nbytes + actual[1].nbytes
    assert {kernel for kernel, count in used.items() if count} == set(kernels) - ({STILL} if num_frames > 1 else set())


@pytest.mark.parametrize("kernels", [(), KERNELS])
@pytest.mark.parametrize(("slab_frames", "slab_rows"), [(1, 1), (2, 3), (3, 6), (4, 13)])
def test_any_slabs_give_the_same(
    kernels: tuple[str, ...], slab_frames: int, slab_rows: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    def plan(_loop: SlabLoop, layer: Layer, size: Size, *, in_order: bool = False) -> list[Slab]:
        frames, height, _ = layer.out_size(size)
        return plan_slabs(frames, height, 1 if in_order else slab_frames, slab_rows)

    latents = random_latents(3, 7, 11, 4)
    expected = ours(WIDE).decode(latents)
    monkeypatch.setattr(SlabLoop, "plan", plan)
    assert deviation(decode(latents, replace(LAYERWISE, kernels=frozenset(kernels)), WIDE), expected) < 1e-5


def test_a_kernel_whose_weights_do_not_fit_is_left_out(used: Counter[str]) -> None:
    latents = random_latents(3, 9, 13, 4)
    expected = ours(WIDE).decode(latents)
    used.clear()
    options = replace(LAYERWISE, memory_bytes=700 * KIB)
    assert deviation(decode(latents, options, WIDE), expected) < 1e-5
    with LiveBytes() as live:
        for _ in decode_chunks(ours(WIDE), [latents], options).chunks:
            pass
    assert live.peak <= 700 * KIB
    assert WINOGRAD not in used


def test_a_kernel_is_taken_where_it_pays_and_may_be_used() -> None:
    for kernels in (frozenset[str](), frozenset(KERNELS)):
        layers = [layer for layer in decoder_layers(ours(WIDE), kernels) if isinstance(layer, ConvLayer)]
        upsamplers = {layer.kernel((2, 16, 16)) for layer in layers if layer.factors != (1, 1, 1)}
        others = {layer.kernel((9, 72, 104)) for layer in layers if layer.factors == (1, 1, 1)}
        small = {layer.kernel((2, 12, 16)) for layer in layers if layer.factors == (1, 1, 1)}
        assert (upsamplers, others, small) == (({"upsample"}, {"winograd", None}, {None}) if kernels else ({None},) * 3)


def test_kernels_are_for_fp32_and_never_for_whole(used: Counter[str]) -> None:
    latents = random_latents(1, 16, 16, 4)
    decode(latents, StrategyOptions(name="whole"), WIDE)
    assert not used.total()
    network = type(ours(WIDE))(WIDE).requires_grad_(False)
    network.set_compute_dtype(torch.bfloat16)
    list(decode_chunks(network, [latents], LAYERWISE).chunks)
    assert not used.total()


def test_a_kernel_that_does_not_exist_is_called_wrong() -> None:
    with pytest.raises(UsageError, match="there is no fft; use some of winograd, upsample, still"):
        check_strategy(StrategyOptions(kernels=frozenset({"fft", "still"})))
