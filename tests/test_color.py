"""Colour: nothing is lost, and the numbers are the standards'."""

import av
import numpy as np
import pytest
from av.video.reformatter import VideoReformatter
from numpy.typing import NDArray

from tests.clips import moving_frames
from vae3d_cli.errors import VideoError
from vae3d_cli.video.color import BT709, ColorTags, from_rgb, to_rgb

# Kr and Kb of ITU-R BT.601, BT.709 and BT.2020, by H.273 code.
LUMA = {6: (0.299, 0.114), 1: (0.2126, 0.0722), 9: (0.2627, 0.0593)}


def rgb_by_the_standard(planes: list[NDArray[np.uint8]], matrix: int, full: bool) -> NDArray[np.float64]:
    """4:4:4 Y'CbCr to R'G'B' in float64, straight from the definition."""
    kr, kb = LUMA[matrix]
    luma, blue, red = (plane.astype(np.float64) for plane in planes)
    if full:
        y, b, r = luma / 255, (blue - 128) / 255, (red - 128) / 255
    else:
        y, b, r = (luma - 16) / 219, (blue - 128) / 224, (red - 128) / 224
    out_red, out_blue = y + 2 * (1 - kr) * r, y + 2 * (1 - kb) * b
    green = (y - kr * out_red - kb * out_blue) / (1 - kr - kb)
    return np.stack((out_red, green, out_blue)).clip(0, 1) * 255


def planes_of(frame: av.VideoFrame) -> list[NDArray[np.uint8]]:
    return [np.array(np.from_dlpack(plane)) for plane in frame.planes]


@pytest.mark.parametrize("matrix", LUMA)
@pytest.mark.parametrize("full", [False, True])
def test_rgb_is_what_the_standard_says_within_one_code(matrix: int, full: bool) -> None:
    rng = np.random.default_rng(0)
    frame = av.VideoFrame(64, 48, "yuv444p")
    for plane in frame.planes:
        plane.update(rng.integers(40, 216, plane.buffer_size, dtype=np.uint8).tobytes())
    tags = ColorTags(matrix, 2 if full else 1, 1, 1)
    tags.put_on(frame)
    error = to_rgb(frame, VideoReformatter()) - rgb_by_the_standard(planes_of(frame), matrix, full)
    assert np.abs(error).max() <= 1
    assert abs(error.mean()) < 0.1  # truncation would leave -0.5 and more


@pytest.mark.parametrize("pix_fmt", ["yuv420p", "yuv422p", "yuv444p"])
@pytest.mark.parametrize("matrix", [1, 2, 6, 9])
def test_yuv_through_rgb_and_back_is_exact(pix_fmt: str, matrix: int) -> None:
    reformatter, tags = VideoReformatter(), ColorTags(matrix, 1, 1, 1)
    frame = from_rgb(moving_frames(1, 64, 48)[0], pix_fmt, tags, reformatter)
    again = from_rgb(to_rgb(frame, reformatter), pix_fmt, tags, reformatter)
    for before, after in zip(planes_of(frame), planes_of(again), strict=True):
        assert np.array_equal(before, after)


@pytest.mark.parametrize("pix_fmt", ["yuv420p", "yuv422p", "yuv444p"])
@pytest.mark.parametrize("tags", [BT709, ColorTags(1, 2, 1, 1), ColorTags(6, 1, 6, 6)], ids=["709", "full", "601"])
@pytest.mark.parametrize(("width", "height"), [(64, 48), (33, 17), (1, 1), (35, 48), (64, 7)])
def test_full_range_and_odd_sizes_come_back_within_a_code(
    pix_fmt: str, tags: ColorTags, width: int, height: int
) -> None:
    reformatter = VideoReformatter()
    frame = from_rgb(moving_frames(1, width, height)[0], pix_fmt, tags, reformatter)
    assert (frame.width, frame.height) == (width, height)
    again = from_rgb(to_rgb(frame, reformatter), pix_fmt, tags, reformatter)
    for before, after in zip(planes_of(frame), planes_of(again), strict=True):
        assert np.abs(before.astype(int) - after).max() <= (1 if tags.range == 2 else 0)


def test_rgb_through_444_and_back_is_within_two_codes() -> None:
    rgb, reformatter = moving_frames(1, 64, 48)[0], VideoReformatter()
    again = to_rgb(from_rgb(rgb, "yuv444p", BT709, reformatter), reformatter)
    assert np.abs(rgb.astype(int) - again).max() <= 2


def test_a_reserved_matrix_is_taken_as_untagged_and_ycgco_is_refused() -> None:
    assert ColorTags(3, 7, 1, 1).convertible() == ColorTags(2, 0, 1, 1)
    assert ColorTags(10, 1, 9, 14).convertible().matrix == 9
    with pytest.raises(VideoError, match="YCgCo"):
        ColorTags(8, 1, 1, 1).convertible()
