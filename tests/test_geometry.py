"""Sizes, for any clip."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vae3d_cli.config import HunyuanVideoConfig, TinyConfig, VaeConfig
from vae3d_cli.geometry import (
    Chunk,
    FrameRange,
    Slab,
    TileAxis,
    TileSizes,
    conv_reach,
    latent_frame_of,
    latent_size,
    latents_shape,
    num_decoded_frames,
    num_latent_frames,
    padded_num_frames,
    padded_size_px,
    plan_chunks,
    plan_slabs,
    tile_borders,
)

CONFIG = TinyConfig()
configs = st.builds(
    lambda temporal, spatial: VaeConfig(
        latent_space="x", temporal_compression_ratio=temporal, spatial_compression_ratio=spatial
    ),
    st.sampled_from([1, 2, 4, 8]),
    st.sampled_from([4, 8, 16, 32]),
)
counts = st.integers(1, 10_000)


@pytest.mark.parametrize(("frames", "latents"), [(1, 1), (2, 2), (5, 2), (6, 3), (9, 3), (83, 22), (129, 33)])
def test_one_and_4k_frames_become_one_and_k(frames: int, latents: int) -> None:
    assert num_latent_frames(frames, CONFIG) == latents


@given(counts, configs)
def test_padding_is_the_least_that_gives_one_and_4k(frames: int, config: VaeConfig) -> None:
    padded = padded_num_frames(frames, config)
    ratio = config.temporal_compression_ratio
    assert frames <= padded < frames + ratio
    assert (padded - 1) % ratio == 0
    assert padded_num_frames(padded, config) == padded
    assert num_decoded_frames(num_latent_frames(frames, config), config) == padded


@given(counts, configs)
def test_sides_are_padded_to_the_next_whole_latent(side: int, config: VaeConfig) -> None:
    ratio = config.spatial_compression_ratio
    assert side <= padded_size_px(side, config) < side + ratio
    assert padded_size_px(side, config) == latent_size(side, config) * ratio


@given(counts, counts, st.none() | counts, configs)
def test_chunks_cover_the_clip_once_and_in_order(size: int, start: int, length: int | None, config: VaeConfig) -> None:
    stop = start + (length or 1)
    chunks = list(plan_chunks(size, stop, start))
    assert [chunk.start for chunk in chunks] == [start, *(chunk.stop for chunk in chunks[:-1])]
    assert chunks[-1].stop == stop
    first_frame = chunks[0].first_frame(config)
    assert sum(chunk.num_frames(config) for chunk in chunks) == num_decoded_frames(stop, config) - first_frame


def test_a_plan_of_unknown_length_goes_on() -> None:
    plan = plan_chunks(2)
    assert [next(plan) for _ in range(3)] == [Chunk(0, 2), Chunk(2, 4), Chunk(4, 6)]


@given(st.integers(0, 10_000), configs)
def test_a_frame_lies_in_the_chunk_of_its_latent_frame(frame: int, config: VaeConfig) -> None:
    latent = latent_frame_of(frame, config)
    chunk = Chunk(latent, latent + 1)
    assert chunk.first_frame(config) <= frame < chunk.first_frame(config) + chunk.num_frames(config)


def test_shape_of_the_sample_in_the_interface() -> None:
    assert latents_shape(83, 480, 854, CONFIG) == (16, 22, 60, 107)


@given(st.integers(0, 50), st.none() | st.integers(1, 50), st.integers(1, 40))
def test_a_range_selects_what_a_slice_would(start: int, stop: int | None, num_frames: int) -> None:
    selected = FrameRange(start, stop).within(num_frames)
    assert list(selected) == list(range(num_frames))[start:stop]


def test_a_clip_has_at_least_one_frame() -> None:
    with pytest.raises(ValueError, match="at least one frame"):
        num_latent_frames(0, CONFIG)
    with pytest.raises(ValueError, match="at least one latent frame"):
        next(plan_chunks(0))


@pytest.mark.parametrize(
    ("kernel", "stride", "padding", "size"), [(3, 1, 2, 9), (3, 2, 2, 9), (3, 2, 1, 12), (1, 1, 0, 5)]
)
def test_the_reach_of_a_convolution_is_what_it_reads(kernel: int, stride: int, padding: int, size: int) -> None:
    padded = [max(0, min(size - 1, index - padding)) for index in range(size + 2 * padding)]
    num_outputs = -(-size // stride)
    for start in range(num_outputs):
        for stop in range(start + 1, num_outputs + 1):
            reach = conv_reach(start, stop, size, kernel=kernel, stride=stride, padding=padding)
            read = [reach.start] * reach.before + [*range(reach.start, reach.stop)] + [reach.stop - 1] * reach.after
            assert read == padded[start * stride : (stop - 1) * stride + kernel]


@given(st.integers(1, 40), st.integers(1, 40), st.integers(1, 9), st.integers(1, 50))
def test_slabs_cover_a_clip_once_and_in_order(num_frames: int, height: int, slab_frames: int, slab_rows: int) -> None:
    slabs = plan_slabs(num_frames, height, slab_frames, slab_rows)
    covered = [(n, row) for slab in slabs for n in range(slab.start, slab.stop) for row in range(slab.top, slab.bottom)]
    every = [(n, row) for n in range(num_frames) for row in range(height)]
    assert sorted(covered) == every
    if slab_frames == 1 or slab_rows >= height:
        assert covered == every
    assert all(slab.stop - slab.start <= slab_frames and slab.bottom - slab.top <= slab_rows for slab in slabs)
    assert slabs == sorted(slabs, key=lambda slab: (slab.start, slab.top))


def test_a_slab_is_halved_down_to_a_row() -> None:
    assert Slab(0, 3, 0, 5).halves() == (Slab(0, 1, 0, 5), Slab(1, 3, 0, 5))
    assert Slab(2, 3, 0, 5).halves() == (Slab(2, 3, 0, 2), Slab(2, 3, 2, 5))
    assert Slab(2, 3, 4, 5).halves() == (Slab(2, 3, 4, 5),)


def test_a_border_of_tiles_is_where_one_comes_in_and_where_it_has_taken_over() -> None:
    assert tile_borders(600, TileSizes()) == [192, 256, 384, 448, 576]
    assert tile_borders(192, TileSizes()) == []
    assert tile_borders(32, TileSizes(tile_px=16, tile_overlap_px=0)) == [16]


def test_tiles_are_counted_in_the_units_of_each_side() -> None:
    config = HunyuanVideoConfig()
    sizes = TileSizes()
    assert sizes.encoder_axes(config) == (TileAxis(256, 192, 24, 8), TileAxis(64, 48, 12, 4))
    assert sizes.decoder_axes(config) == (TileAxis(32, 24, 192, 64), TileAxis(16, 12, 48, 16))
