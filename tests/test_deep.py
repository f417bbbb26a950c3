"""More than 8 bits: nothing is lost that was in them."""

from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from numpy.typing import NDArray

from tests.clips import NTSC, moving_frames, write_clip
from tests.test_color import LUMA
from vae3d_cli.video import ColorTags, PngWriter, ReadOptions, Timing, VideoWriter, is_deep, open_clip
from vae3d_cli.video.deep import deep_pix_fmt, from_rgb16, to_8_bit, to_16_bit, to_rgb16


def deep_frame(width: int = 64, height: int = 48) -> NDArray[np.uint16]:
    """Smooth colours with noise in the lower 8 bits, `[3, H, W]`, well within the gamut."""
    smooth = moving_frames(1, width, height)[0].astype(np.float64) * 257
    return (smooth + np.random.default_rng(0).uniform(-300, 300, smooth.shape)).astype(np.uint16)


def planes_of(frame: av.VideoFrame) -> list[NDArray[np.int64]]:
    """What is stored, without line padding."""
    planes = []
    for plane in frame.planes:
        buffer: Any = plane
        rows = np.frombuffer(buffer, "<u2").reshape(-1, plane.line_size // 2)
        planes.append(rows[: plane.height, : plane.width].astype(np.int64))
    return planes


@pytest.mark.parametrize("bits", [10, 12, 16])
@pytest.mark.parametrize("sampling", ["420", "422", "444"])
@pytest.mark.parametrize("matrix", [1, 2, 6, 9])
@pytest.mark.parametrize("full", [False, True])
@pytest.mark.parametrize("size", [(64, 48), (33, 17)])
def test_yuv_through_rgb_and_back_is_exact(
    bits: int, sampling: str, matrix: int, full: bool, size: tuple[int, int]
) -> None:
    pix_fmt, tags = f"yuv{sampling}p{bits}le", ColorTags(matrix, 2 if full else 1, 1, 1)
    frame = from_rgb16(deep_frame(*size), pix_fmt, tags)
    again = from_rgb16(to_rgb16(frame, tags), pix_fmt, tags)
    for before, after in zip(planes_of(frame), planes_of(again), strict=True):
        assert np.array_equal(before, after)


@pytest.mark.parametrize("pix_fmt", ["yuv420p10le", "yuv422p10le", "yuv444p10le"])
@pytest.mark.parametrize(("matrix", "full"), [(1, False), (9, False), (6, True)])
def test_a_lossless_file_goes_through_the_reader_and_back_bit_for_bit(
    tmp_path: Path, pix_fmt: str, matrix: int, full: bool
) -> None:
    tags = ColorTags(matrix, 2 if full else 1, 1, 1)
    colorspace = {1: "bt709", 6: "smpte170m", 9: "bt2020nc"}[matrix]
    made = [from_rgb16(deep_frame(), pix_fmt, tags) for _ in range(3)]
    options = {"qp": "0", "colorspace": colorspace, "color_range": "pc" if full else "tv"}
    path = write_clip(tmp_path / "a.mp4", 3, 64, 48, pix_fmt=pix_fmt, frames=made, options=options)
    with av.open(str(path)) as container:
        stored = [planes_of(frame) for frame in container.decode(video=0)]
    with open_clip(path) as video:
        assert (video.info.color.matrix, video.info.color.range) == (matrix, tags.range)
        back = [planes_of(from_rgb16(frame.rgb, pix_fmt, video.info.color)) for frame in video]
    for before, after in zip(stored, back, strict=True):
        assert all(np.array_equal(*planes) for planes in zip(before, after, strict=True))


@pytest.mark.parametrize("matrix", LUMA)
@pytest.mark.parametrize("full", [False, True])
def test_rgb_is_what_the_standard_says(matrix: int, full: bool) -> None:
    rng = np.random.default_rng(0)
    frame = av.VideoFrame(64, 48, "yuv444p10le")
    for plane in frame.planes:
        plane.update(rng.integers(200, 800, plane.buffer_size // 2, dtype=np.uint16).tobytes())
    kr, kb = LUMA[matrix]
    y, b, r = (plane.astype(np.float64) for plane in planes_of(frame))
    if full:
        y, b, r = y / 1023, (b - 512) / 1023, (r - 512) / 1023
    else:
        y, b, r = (y - 64) / 876, (b - 512) / 896, (r - 512) / 896
    red, blue = y + 2 * (1 - kr) * r, y + 2 * (1 - kb) * b
    expected = np.stack((red, (y - kr * red - kb * blue) / (1 - kr - kb), blue)).clip(0, 1) * 65535
    rgb = to_rgb16(frame, ColorTags(matrix, 2 if full else 1, 1, 1))
    assert np.abs(rgb - expected).max() <= 0.51  # of 65535: the interface asks for 1/1023


@pytest.mark.parametrize("white", [True, False])
def test_white_is_white_and_black_is_black(white: bool) -> None:
    value = 65535 if white else 0
    rgb = np.full((3, 8, 8), value, np.uint16)
    for pix_fmt in ("yuv420p10le", "yuv444p12le", "rgb48be"):
        for limited in (1, 2):
            tags = ColorTags(1, limited, 1, 1)
            assert (to_rgb16(from_rgb16(rgb, pix_fmt, tags), tags) == value).all()


def test_p010_is_read_like_yuv420p10() -> None:
    tags = ColorTags(1, 1, 1, 1)
    planar = from_rgb16(deep_frame(), "yuv420p10le", tags)
    y, blue, red = planes_of(planar)
    packed = av.VideoFrame(64, 48, "p010le")
    for index, samples in enumerate((y, np.stack((blue, red), axis=-1).reshape(24, 64))):
        plane: Any = packed.planes[index]
        np.frombuffer(plane, "<u2").reshape(-1, plane.line_size // 2)[: len(samples), :64] = samples << 6
    assert np.array_equal(to_rgb16(packed, tags), to_rgb16(planar, tags))


@pytest.mark.parametrize(("codec", "pix_fmt", "suffix"), [("png", "rgb48be", ".png"), ("ffv1", "gbrp16le", ".mkv")])
def test_rgb_of_16_bits_is_read_bit_for_bit(tmp_path: Path, codec: str, pix_fmt: str, suffix: str) -> None:
    rgb = deep_frame(32, 24)
    if pix_fmt == "rgb48be":
        frame = from_rgb16(rgb, pix_fmt, ColorTags(0))
    else:
        frame = av.VideoFrame(32, 24, pix_fmt)
        for index, channel in enumerate((1, 2, 0)):
            plane: Any = frame.planes[index]
            np.frombuffer(plane, "<u2").reshape(-1, plane.line_size // 2)[:24, :32] = rgb[channel]
    container = "rawvideo" if suffix == ".png" else None
    path = write_clip(
        tmp_path / f"a{suffix}", 1, codec=codec, pix_fmt=pix_fmt, container=container, frames=iter([frame])
    )
    with open_clip(path) as video:
        (back,) = list(video)
        assert video.notes == ()
    assert np.array_equal(back.rgb, rgb)
    if suffix == ".png":
        PngWriter(tmp_path / "b.png").write(rgb)
        with open_clip(tmp_path / "b.png") as video:
            assert video.info.pix_fmt == "rgb48be"
            assert np.array_equal(next(iter(video)).rgb, rgb)


@pytest.mark.parametrize(("pix_fmt", "top"), [("gray10le", 1023), ("gray12le", 4095), ("gray16le", 65535)])
def test_grey_of_more_bits_has_its_full_scale(pix_fmt: str, top: int) -> None:
    frame = av.VideoFrame(16, 8, pix_fmt)
    plane: Any = frame.planes[0]
    samples = np.frombuffer(plane, "<u2").reshape(-1, plane.line_size // 2)
    samples[:8, :16] = np.linspace(0, top, 16).round()
    expected = np.linspace(0, 65535, 16)
    assert np.abs(to_rgb16(frame, ColorTags()) - expected).max() <= 65535 / top
    unit = (top + 1) // 256
    samples[0, :3] = [16 * unit, (16 + 73) * unit, 235 * unit]
    assert to_rgb16(frame, ColorTags(range=1))[:, 0, :3].tolist() == [[0, 21845, 65535]] * 3


def test_the_scales_meet_at_every_code() -> None:
    codes = np.arange(256, dtype=np.uint8)
    assert np.array_equal(to_8_bit(to_16_bit(codes)), codes)
    deep = np.arange(65536, dtype=np.uint16)
    assert np.abs(to_8_bit(deep) - deep / 257).max() <= 0.5


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("yuv420p10le", "yuv420p10le"),
        ("yuv422p12le", "yuv422p10le"),
        ("yuv444p16le", "yuv444p10le"),
        ("p010le", "yuv420p10le"),
        ("gray16le", "yuv420p10le"),
        ("rgb48be", "yuv420p10le"),
    ],
)
def test_h264_is_10_bit_in_the_subsampling_of_the_source(tmp_path: Path, source: str, expected: str) -> None:
    assert is_deep(source)
    assert deep_pix_fmt(source, odd=True) == "yuv444p10le"
    frames = [deep_frame(), deep_frame()]
    path = tmp_path / "a.mp4"
    tags = ColorTags(9, 1, 9, 16)
    with VideoWriter(
        path,
        ".mp4",
        width=64,
        height=48,
        num_frames=2,
        timing=Timing(NTSC),
        color=tags,
        source_pix_fmt=source,
    ) as writer:
        for rgb in frames:
            writer.write(rgb)
    with open_clip(path) as video:
        assert video.info.pix_fmt == expected
        assert video.info.color == tags
        back = [frame.rgb for frame in video]
        assert ["HDR" in note for note in video.notes] == [True]
    assert back[0].dtype == np.uint16
    assert np.abs(back[0].astype(int) - frames[0]).mean() < 4 * 257


def test_a_deep_video_is_resized_and_turned_in_its_bits(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "a.mkv", 2, 64, 48, codec="ffv1", pix_fmt="yuv420p10le")
    with open_clip(path, ReadOptions(size=(20, 30), deinterlace=True)) as video:
        frames = [frame.rgb for frame in video]
    assert [(frame.shape, frame.dtype) for frame in frames] == [((3, 30, 20), np.dtype(np.uint16))] * 2


@pytest.mark.parametrize("pix_fmt", ["yuv420p", "gbrp", "rgb24", "gray", "pal8", "nv12", "yuvj420p", None, "nonsense"])
def test_8_bit_formats_are_not_deep(pix_fmt: str | None) -> None:
    assert not is_deep(pix_fmt)
