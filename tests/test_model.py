"""The embedded network: causal, streamable, and a codec from the start."""

import itertools

import pytest
import torch
from torch import Tensor

from tests.conftest import SMALL_CONFIG
from vae3d_cli.model.cache import TemporalCache
from vae3d_cli.model.posterior import Posterior
from vae3d_cli.model.tiny import TinyVae


def clip(num_frames: int, height: int = 24, width: int = 32, seed: int = 1) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(1, 3, num_frames, height, width, generator=generator) * 2 - 1


def encode(network: TinyVae, pixels: Tensor, sizes: list[int]) -> Tensor:
    cache = TemporalCache()
    return torch.cat([network.encode(chunk, cache) for chunk in torch.split(pixels, sizes, dim=2)], dim=2)


def decode(network: TinyVae, latents: Tensor, sizes: list[int]) -> Tensor:
    cache = TemporalCache()
    return torch.cat([network.decode(chunk, cache) for chunk in torch.split(latents, sizes, dim=2)], dim=2)


@pytest.mark.parametrize("num_frames", [1, 5, 9, 13])
def test_one_and_4k_frames_become_one_and_k_latents_and_come_back(small_network: TinyVae, num_frames: int) -> None:
    moments = encode(small_network, clip(num_frames), [num_frames])
    assert moments.shape == (1, 32, 1 + (num_frames - 1) // 4, 3, 4)
    pixels = decode(small_network, moments[:, :16], [moments.shape[2]])
    assert pixels.shape == (1, 3, num_frames, 24, 32)


def test_any_chunk_plan_gives_the_same_bits(small_network: TinyVae) -> None:
    pixels = clip(17)
    whole_moments = encode(small_network, pixels, [17])
    whole_pixels = decode(small_network, whole_moments[:, :16], [5])
    # Every way to cut five latent frames into chunks.
    for cuts in itertools.product([False, True], repeat=4):
        bounds = [0, *(index for index, cut in enumerate(cuts, 1) if cut), 5]
        latents = [stop - start for start, stop in itertools.pairwise(bounds)]
        frames = [4 * size for size in latents]
        frames[0] -= 3
        assert torch.equal(encode(small_network, pixels, frames), whole_moments)
        assert torch.equal(decode(small_network, whole_moments[:, :16], latents), whole_pixels)


def test_no_latent_depends_on_a_later_frame(small_network: TinyVae) -> None:
    pixels, changed = clip(13), clip(13)
    changed[:, :, 5:] = clip(8, seed=2)
    a, b = (encode(small_network, frames, [13]) for frames in (pixels, changed))
    assert torch.equal(a[:, :, :2], b[:, :, :2])
    assert not torch.equal(a[:, :, 2], b[:, :, 2])


def test_no_frame_depends_on_a_later_latent(small_network: TinyVae) -> None:
    latents = torch.randn(1, 16, 4, 3, 4, generator=torch.Generator().manual_seed(3))
    changed = latents.clone()
    changed[:, :, 2:] += 1
    a, b = (decode(small_network, values, [4]) for values in (latents, changed))
    assert torch.equal(a[:, :, :5], b[:, :, :5])
    assert not torch.equal(a[:, :, 5:9], b[:, :, 5:9])


def test_a_latent_depends_on_the_group_before(small_network: TinyVae) -> None:
    pixels, changed = clip(9), clip(9)
    changed[:, :, :1] = clip(1, seed=2)
    a, b = (encode(small_network, frames, [9]) for frames in (pixels, changed))
    assert not torch.equal(a[:, :, 1], b[:, :, 1])


def test_the_first_frame_is_the_same_as_an_image(small_network: TinyVae) -> None:
    pixels = clip(9)
    assert torch.equal(encode(small_network, pixels, [9])[:, :, :1], encode(small_network, pixels[:, :, :1], [1]))


def test_streams_do_not_mix(small_network: TinyVae) -> None:
    clips = [clip(9, seed=seed) for seed in (1, 2)]
    alone = [encode(small_network, pixels, [9]) for pixels in clips]
    caches = [TemporalCache(), TemporalCache()]
    interleaved: list[list[Tensor]] = [[], []]
    for start, stop in ((0, 5), (5, 9)):
        for index, pixels in enumerate(clips):
            interleaved[index].append(small_network.encode(pixels[:, :, start:stop], caches[index]))
    for index in range(2):
        assert torch.equal(torch.cat(interleaved[index], dim=2), alone[index])


def test_decoding_may_start_as_early_as_the_context_says(small_network: TinyVae) -> None:
    latents = torch.randn(1, 16, 9, 3, 4, generator=torch.Generator().manual_seed(3))
    whole = decode(small_network, latents, [9])[:, :, -4:]
    context = small_network.decoder_context_latents
    late = small_network.decode(latents[:, :, 8 - context :], TemporalCache(8 - context))
    assert torch.equal(late[:, :, -4:], whole)
    too_late = small_network.decode(latents[:, :, 9 - context :], TemporalCache(9 - context))
    assert not torch.equal(too_late[:, :, -4:], whole)


@pytest.mark.parametrize(("started", "num_frames"), [(False, 0), (False, 4), (False, 3), (True, 5), (True, 0)])
def test_a_chunk_of_another_length_is_refused(small_network: TinyVae, started: bool, num_frames: int) -> None:
    cache = TemporalCache()
    if started:
        small_network.encode(clip(1), cache)
    with pytest.raises(ValueError, match="frames are not"):
        small_network.encode(clip(num_frames), cache)


def test_an_untrained_network_adds_nothing_to_the_linear_codec() -> None:
    network = TinyVae(SMALL_CONFIG)
    pixels = clip(5)
    moments = encode(network, pixels, [5])
    group = pixels[:, :, 1:].flatten(1, 2)
    assert torch.equal(moments[:, :, 1], network.encoder.linear(group))
    frames = decode(network, moments[:, :16], [2])
    assert torch.equal(frames[:, :, 1:].flatten(1, 2), network.decoder.linear(moments[:, :16, 1], False))


def test_the_mean_is_the_mode_and_logvar_is_clamped() -> None:
    moments = torch.cat((torch.ones(1, 2, 1, 1, 1), torch.full((1, 2, 1, 1, 1), 50.0)), dim=1)
    posterior = Posterior.from_moments(moments)
    assert torch.equal(posterior.mode(), torch.ones(1, 2, 1, 1, 1))
    assert float(posterior.logvar.max()) == 20.0


def test_samples_have_the_mean_and_the_variance_and_ignore_the_cut() -> None:
    mean, logvar = torch.full((1, 4, 8, 40, 40), 3.0), torch.full((1, 4, 8, 40, 40), -1.0)
    whole = Posterior(mean, logvar).sample(torch.Generator().manual_seed(5))
    assert abs(float(whole.mean()) - 3) < 0.01
    assert abs(float(whole.var()) - torch.exp(torch.tensor(-1.0))) < 0.01
    generator = torch.Generator().manual_seed(5)
    parts = [Posterior(mean[:, :, a:b], logvar[:, :, a:b]).sample(generator) for a, b in ((0, 3), (3, 8))]
    assert torch.equal(torch.cat(parts, dim=2), whole)


def test_the_linear_part_keeps_its_values_when_the_networks_lose_precision() -> None:
    network = TinyVae(SMALL_CONFIG)
    before = network.encoder.linear.first.weight.clone()
    network.set_compute_dtype(torch.bfloat16)
    assert torch.equal(network.encoder.linear.first.weight, before)
    assert network.encoder.conv_in.weight.dtype == torch.bfloat16
    assert encode(network, clip(5), [5]).dtype == torch.float32
