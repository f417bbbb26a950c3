"""How videos are read: upright, in time, at another rate or size, damaged."""

import os
import struct
import zlib
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from av.codec.context import Flags
from av.filter import Graph
from av.video.stream import VideoStream
from numpy.typing import NDArray

from tests.clips import NTSC, moving_frames, write_clip
from vae3d_cli.codec.memory import peak_memory_bytes
from vae3d_cli.errors import VideoError
from vae3d_cli.video import ColorTags, Frame, ReadOptions, VideoInfo, open_clip
from vae3d_cli.video.conversion import Conversion
from vae3d_cli.video.deep import from_rgb16, to_16_bit
from vae3d_cli.video.filters import at_rate
from vae3d_cli.video.timing import Stamps

ONE = 1 << 16
# (a, b, c, d) of a display matrix: a pixel (x, y) is shown at (ax + cy, bx + dy).
EIGHT = [(1, 0, 0, 1), (-1, 0, 0, 1), (1, 0, 0, -1), (-1, 0, 0, -1), (0, 1, 1, 0), (0, 1, -1, 0), (0, -1, 1, 0)]
EIGHT += [(0, -1, -1, 0)]


def read(path: Path, **options: object) -> tuple[list[Frame], VideoInfo, tuple[str, ...]]:
    with open_clip(path, ReadOptions(**options)) as video:  # type: ignore[arg-type]
        return list(video), video.info, video.notes


def rgb_frames(frames: list[NDArray[np.uint8]]) -> Iterator[av.VideoFrame]:
    for rgb in frames:
        yield av.VideoFrame.from_ndarray(np.ascontiguousarray(rgb.transpose(1, 2, 0)), format="rgb24")


def write_timed(
    path: Path, base: Fraction, stamps: list[int], durations: list[int], matrix: tuple[int, ...] = (), aspect: int = 1
) -> Path:
    """A lossless clip of moving colours, 32x24, without B-frames."""
    with av.open(str(path), "w", container_options={"movie_timescale": str(base.denominator)}) as output:
        stream = output.add_stream("libx264rgb", rate=30, options={"qp": "0", "bf": "0"})
        assert isinstance(stream, VideoStream)
        stream.width, stream.height, stream.pix_fmt = 32, 24, "rgb24"
        stream.codec_context.time_base = base
        stream.codec_context.sample_aspect_ratio = Fraction(aspect)
        stream.codec_context.flags |= Flags.frame_duration
        if matrix:
            stream.set_display_matrix(matrix)
        frames = rgb_frames(moving_frames(len(stamps), 32, 24))
        for frame, pts, duration in zip(frames, stamps, durations, strict=True):
            frame.pts, frame.time_base, frame.duration = pts, base, duration
            output.mux(stream.encode(frame))
        output.mux(stream.encode(None))
    return path


def shown(rgb: NDArray[np.uint8], a: int, b: int, c: int, d: int) -> NDArray[np.uint8]:
    """Where a display matrix puts every pixel, one by one."""
    _, height, width = rgb.shape
    y, x = np.mgrid[:height, :width]
    to_x, to_y = a * x + c * y, b * x + d * y
    to_x, to_y = to_x - to_x.min(), to_y - to_y.min()
    out = np.zeros((3, to_y.max() + 1, to_x.max() + 1), rgb.dtype)
    out[:, to_y, to_x] = rgb
    return out


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".mov"])
@pytest.mark.parametrize("signs", EIGHT)
def test_every_turn_and_flip_is_applied(tmp_path: Path, suffix: str, signs: tuple[int, int, int, int]) -> None:
    a, b, c, d = signs
    matrix = (a * ONE, b * ONE, 0, c * ONE, d * ONE, 0, 0, 0, 1 << 30)
    path = write_timed(tmp_path / f"a{suffix}", Fraction(1, 30), [0, 1], [1, 1], matrix, aspect=2)
    frames, info, notes = read(path)
    for frame, rgb in zip(frames, moving_frames(2, 32, 24), strict=True):
        assert np.array_equal(frame.rgb, shown(rgb, a, b, c, d))
    assert (info.width, info.height) == ((32, 24) if a else (24, 32))
    assert info.sample_aspect_ratio == (2 if a else Fraction(1, 2))
    assert notes == ()


def test_another_angle_is_left_with_a_note(tmp_path: Path) -> None:
    matrix = (46341, 46341, 0, -46341, 46341, 0, 0, 0, 1 << 30)
    path = write_timed(tmp_path / "a.mp4", Fraction(1, 30), [0, 1], [1, 1], matrix)
    frames, info, notes = read(path)
    assert np.array_equal(frames[0].rgb, moving_frames(1, 32, 24)[0])
    assert (info.width, info.height) == (32, 24)
    assert len(notes) == 1
    assert "no quarter turn" in notes[0]


def test_the_orientation_of_a_photo_is_applied(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "a.jpg", 1, codec="mjpeg", pix_fmt="yuvj444p", container="rawvideo")
    (lying,), _, _ = read(path)
    tag = struct.pack("<HHII", 0x112, 3, 1, 6)  # turn it clockwise
    exif = b"Exif\0\0II*\0" + struct.pack("<IH", 8, 1) + tag + struct.pack("<I", 0)
    data = path.read_bytes()
    path.write_bytes(data[:2] + b"\xff\xe1" + struct.pack(">H", len(exif) + 2) + exif + data[2:])
    (frame,), info, _ = read(path)
    assert (info.width, info.height) == (24, 32)
    assert np.array_equal(frame.rgb, np.rot90(lying.rgb, -1, axes=(1, 2)))


def test_time_stamps_and_the_last_duration_are_those_of_the_file(tmp_path: Path) -> None:
    base, stamps = Fraction(1, 90000), [12345, 15345, 18345, 18346, 40000]
    path = write_timed(tmp_path / "a.mp4", base, stamps, [3000, 3000, 1, 21654, 63000])
    frames, info, _ = read(path)
    assert [frame.pts * info.time_base for frame in frames] == [stamp * base for stamp in stamps]
    assert frames[-1].duration * info.time_base == Fraction(7, 10)


@pytest.mark.parametrize("codec", ["libx264", "mpeg4"])
def test_the_frames_of_an_avi_with_b_frames_come_at_its_rate(tmp_path: Path, codec: str) -> None:
    path = write_clip(tmp_path / "a.avi", 30, codec=codec, options={"bf": "3"})
    frames, info, notes = read(path)
    assert [frame.pts * info.time_base for frame in frames] == [n / NTSC for n in range(30)]
    assert notes == ()


def test_stamps_that_go_back_or_are_impossible_are_mended() -> None:
    stamps = Stamps(Fraction(30), Fraction(1, 90000))
    assert [stamps.next(pts) for pts in (5, 3000, 3000, 2, 1 << 60, None, 20000)] == [
        *(5, 3000, 3001, 3002, 6002, 9002, 20000)
    ]
    assert stamps.notes == ["2 time stamps did not increase and were mended"]


@pytest.mark.parametrize(("container", "rate"), [("h264", NTSC), ("h264", Fraction(24))])
def test_a_raw_stream_comes_at_its_rate(tmp_path: Path, container: str, rate: Fraction) -> None:
    path = write_clip(tmp_path / f"a.{container}", 9, rate=rate, container=container)
    frames, info, _ = read(path)
    times = [frame.pts * info.time_base for frame in frames]
    assert max(abs(time - n / rate) for n, time in enumerate(times)) < Fraction(1, 10**4)


def fps_filter(stamps: list[int], base: Fraction, rate: Fraction, durations: list[int]) -> list[tuple[int, int]]:
    """Time stamp and source frame of what FFmpeg's filter gives."""
    graph = Graph()
    source = graph.add_buffer(width=16, height=16, format=av.VideoFormat("gray", 16, 16), time_base=base)
    fps, sink = graph.add("fps", f"fps={rate}"), graph.add("buffersink")
    source.link_to(fps)
    fps.link_to(sink)
    graph.configure()
    found = []

    def pull() -> None:
        while True:
            try:
                frame = graph.pull()
            except (av.error.BlockingIOError, av.error.EOFError):
                return
            assert isinstance(frame, av.VideoFrame)
            assert frame.pts is not None
            found.append((frame.pts, int(frame.to_ndarray()[0, 0])))

    for n, (pts, duration) in enumerate(zip(stamps, durations, strict=True)):
        frame = av.VideoFrame.from_ndarray(np.full((16, 16), n, np.uint8), format="gray")
        frame.pts, frame.time_base, frame.duration = pts, base, duration
        graph.push(frame)
        pull()
    graph.push(None)
    pull()
    return found


@pytest.mark.parametrize("rate", [Fraction(24), Fraction(60), NTSC, Fraction(25, 2), Fraction(7)])
@pytest.mark.parametrize("start", [0, 12345, -700])
def test_resampling_in_time_shows_the_frames_that_ffmpeg_shows(rate: Fraction, start: int) -> None:
    base = Fraction(1, 90000)
    rng = np.random.default_rng(0)
    durations = [int(step) for step in rng.integers(1, 9000, 40)]
    stamps = [start + sum(durations[:n]) for n in range(40)]
    frames = [
        Frame(np.full(1, n, np.uint8), pts, duration)
        for n, (pts, duration) in enumerate(zip(stamps, durations, strict=True))
    ]
    ours = [(frame.pts, int(frame.rgb[0])) for frame in at_rate(frames, base, Fraction(20), rate)]
    theirs = fps_filter(stamps, base, rate, durations)
    assert ours == theirs


def test_a_gap_that_no_video_has_is_not_filled() -> None:
    frames = [Frame(np.zeros(1, np.uint8), pts) for pts in (0, 1 << 50)]
    with pytest.raises(VideoError, match="leave --fps out"):
        list(at_rate(frames, Fraction(1, 1000), Fraction(25), Fraction(30)))


def test_a_rate_and_a_size_of_ones_own(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "a.mp4", 30, 64, 48, rate=Fraction(30))
    frames, info, _ = read(path, rate=Fraction(12), size=(31, 17))
    assert [frame.pts for frame in frames] == list(range(12))
    assert {frame.rgb.shape for frame in frames} == {(3, 17, 31)}
    assert (info.width, info.height, info.rate, info.time_base) == (31, 17, Fraction(12), Fraction(1, 12))
    assert info.estimated_num_frames == 12
    assert info.sample_aspect_ratio == Fraction(64 * 17, 48 * 31)  # the picture keeps its shape


@pytest.mark.parametrize(("codec", "pix_fmt", "dtype"), [("png", "rgb24", np.uint8), ("png", "rgb48be", np.uint16)])
def test_resizing_keeps_flat_colours_and_removes_what_would_alias(
    tmp_path: Path, codec: str, pix_fmt: str, dtype: type
) -> None:
    flat = np.empty((3, 48, 64), np.uint8)
    flat[:] = np.array([200, 3, 77])[:, None, None]
    stripes = np.zeros((3, 48, 64), np.uint8)
    stripes[..., ::2] = 255
    white = np.iinfo(dtype).max
    for rgb, expected in ((flat, flat[:, :1, :1] / 255), (stripes, 0.5)):
        path = tmp_path / "a.png"
        write_clip(path, 1, 64, 48, codec=codec, pix_fmt=pix_fmt, container="rawvideo", frames=rgb_frames([rgb]))
        (frame,), _, _ = read(path, size=(16, 12))
        assert frame.rgb.dtype == dtype
        inner = frame.rgb[:, 2:-2, 2:-2] / white
        assert np.abs(inner - expected).max() < 0.01


def combed_frames(num_frames: int) -> list[NDArray[np.uint8]]:
    """An edge that moves on between the two fields of a frame."""
    frames = []
    for n in range(num_frames):
        rgb = np.zeros((3, 64, 96), np.uint8)
        for field in range(2):
            rgb[:, field::2, : 8 + 8 * n + 4 * field] = 200
        frames.append(rgb)
    return frames


def test_interlaced_video_is_noted_and_made_whole_on_request(tmp_path: Path) -> None:
    path = write_clip(
        tmp_path / "a.mkv",
        8,
        96,
        64,
        frames=rgb_frames(combed_frames(8)),
        options={"x264-params": "tff=1:colormatrix=bt709:range=tv", "qp": "0"},
    )
    combed, info, notes = read(path)
    whole, other_info, other_notes = read(path, deinterlace=True)
    assert info == other_info
    assert info.color.matrix == 1
    assert ["interlaced" in note for note in notes] == [True]
    assert other_notes == ()
    assert [frame.pts for frame in whole] == [frame.pts for frame in combed]

    def combing(frames: list[Frame]) -> float:
        return float(np.mean([np.abs(np.diff(frame.rgb.astype(int), axis=1)).mean() for frame in frames]))

    assert combing(whole) < combing(combed) / 4


def test_a_single_interlaced_frame_is_not_lost(tmp_path: Path) -> None:
    path = write_clip(
        tmp_path / "a.mkv", 1, 96, 64, frames=rgb_frames(combed_frames(1)), options={"x264-params": "tff=1"}
    )
    assert len(read(path, deinterlace=True)[0]) == 1


def test_transparency_is_noted_once(tmp_path: Path) -> None:
    rgba = np.full((24, 32, 4), 90, np.uint8)
    frames = [av.VideoFrame.from_ndarray(rgba, format="rgba") for _ in range(3)]
    path = write_clip(tmp_path / "a.mov", 3, codec="png", pix_fmt="rgba", frames=frames)
    back, _, notes = read(path)
    assert [frame.rgb.min() for frame in back] == [90] * 3  # not blended with anything
    assert ["transparency" in note for note in notes] == [True]
    opaque = write_clip(tmp_path / "b.mov", 3, codec="png", pix_fmt="rgba")
    assert read(opaque)[2] == ()


@pytest.mark.parametrize(
    ("params", "words"),
    [("colormatrix=bt2020c", "taken as BT.2020"), ("transfer=smpte2084", "PQ"), ("transfer=arib-std-b67", "HLG")],
)
def test_reserved_matrices_and_hdr_are_noted_once(tmp_path: Path, params: str, words: str) -> None:
    if "transfer" in params:
        params += ":colormatrix=bt2020nc:colorprim=bt2020"
    path = write_clip(tmp_path / "a.mkv", 2, options={"x264-params": params})
    _, info, notes = read(path)
    assert info.color.matrix == 9  # that which it was converted with, so that it is written back with it
    assert [words in note for note in notes] == [True]


def test_tags_that_nobody_knows_are_taken_as_untagged() -> None:
    frame = av.VideoFrame(32, 24, "yuv420p")
    ColorTags(3, 2, 1, 1).put_on(frame)
    conversion = Conversion(frame, None)
    assert conversion.color == ColorTags(2, 2, 1, 1)
    assert ["reserved (matrix 3" in note for note in conversion.notes] == [True]
    assert conversion.rgb(frame).shape == (3, 24, 32)


def test_grey_and_palettes_are_read(tmp_path: Path) -> None:
    ramp = np.tile(np.arange(32, dtype=np.uint8) * 7 + 16, (24, 1))
    frame = av.VideoFrame.from_ndarray(ramp, format="gray")
    ColorTags(range=1).put_on(frame)
    path = write_clip(tmp_path / "a.mkv", 1, codec="ffv1", pix_fmt="gray", frames=[frame])
    (full,), info, _ = read(path)
    expected = ramp if info.color.range != 1 else ((ramp.astype(float) - 16) * 255 / 219).round().clip(0, 255)
    assert np.array_equal(full.rgb, np.repeat(expected[None], 3, axis=0))
    gif = write_clip(tmp_path / "a.gif", 4, codec="gif", pix_fmt="rgb8", rate=Fraction(10))
    assert len(read(gif)[0]) == 4


def lossy_clip(path: Path, **options: str) -> Path:
    suffix = path.suffix
    codec = {".webm": "libvpx-vp9", ".y4m": "wrapped_avframe", ".avi": "mpeg4"}.get(suffix, "libx264")
    return write_clip(path, 60, 128, 96, codec=codec, container_options=options)


def hole(path: Path, size: int = 600) -> Path:
    data = path.read_bytes()
    middle = len(data) // 2
    path.write_bytes(data[:middle] + bytes(size) + data[middle + size :])
    return path


def cut(path: Path, share: float) -> Path:
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])
    return path


FAST = {"movflags": "faststart"}


@pytest.mark.parametrize("share", [0.5, 0.9])
@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".webm", ".ts", ".y4m", ".nut", ".avi"])
def test_a_cut_video_is_an_error_or_what_is_left_of_it(tmp_path: Path, suffix: str, share: float) -> None:
    path = cut(lossy_clip(tmp_path / f"a{suffix}", **(FAST if suffix == ".mp4" else {})), share)
    with pytest.raises(VideoError, match=r"a\..*: the video is damaged: .* after [0-9]+ frames; .*--allow-damaged"):
        read(path)
    frames, _, notes = read(path, allow_damaged=True)
    assert 0 < len(frames) < 60
    assert [f"damaged (" in note and f"{len(frames)} frames came" in note for note in notes] == [True]  # noqa: F541


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".ts"])
def test_frames_after_a_hole_are_kept_where_they_are_damage_that_is_allowed(tmp_path: Path, suffix: str) -> None:
    path = hole(lossy_clip(tmp_path / f"a{suffix}", **(FAST if suffix == ".mp4" else {})))
    with pytest.raises(VideoError, match="damaged"):
        read(path)
    assert len(read(path, allow_damaged=True)[0]) > 10


def test_a_damaged_av1_video_goes_on_after_the_bad_packets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SVT_LOG", "1")
    path = write_clip(tmp_path / "a.mp4", 40, 128, 96, codec="libsvtav1", container_options=FAST, options={"g": "10"})
    whole = read(path)[0]
    path = hole(path, 30)
    with pytest.raises(VideoError, match="damaged"):
        read(path)
    frames, _, _ = read(path, allow_damaged=True)
    assert 10 < len(frames) < 40
    assert np.array_equal(frames[-1].rgb, whole[-1].rgb)


@pytest.mark.parametrize(("suffix", "codec", "pix_fmt"), [(".png", "png", "rgb24"), (".jpg", "mjpeg", "yuvj444p")])
def test_a_cut_image_is_an_error(tmp_path: Path, suffix: str, codec: str, pix_fmt: str) -> None:
    path = write_clip(tmp_path / f"a{suffix}", 1, 64, 48, codec=codec, pix_fmt=pix_fmt, container="rawvideo")
    with pytest.raises(VideoError, match="damaged"):
        read(cut(path, 0.6))


def test_what_has_no_frames_is_said_to_have_none(tmp_path: Path) -> None:
    path = tmp_path / "a.y4m"
    path.write_bytes(b"YUV4MPEG2 W64 H48 F25:1 C420jpeg\n")
    with pytest.raises(VideoError, match="has no frames"):
        read(path)


@pytest.mark.parametrize("name", [b"encv", b"zzzz"])
def test_a_codec_that_nobody_knows_is_said_to_have_no_decoder(tmp_path: Path, name: bytes) -> None:
    path = write_clip(tmp_path / "a.mp4", 3)
    path.write_bytes(path.read_bytes().replace(b"avc1\0\0\0\0", name + b"\0\0\0\0"))
    with pytest.raises(VideoError, match="no decoder"):
        read(path)


def test_a_title_that_is_no_utf_8_does_no_harm(tmp_path: Path) -> None:
    path = tmp_path / "a.mp4"
    with av.open(str(path), "w") as output:
        output.metadata["title"] = "CAFEMETA"
        stream = output.add_stream("libx264", rate=30)
        assert isinstance(stream, VideoStream)
        stream.width, stream.height, stream.pix_fmt = 32, 24, "yuv420p"
        for frame in rgb_frames(moving_frames(2, 32, 24)):
            output.mux(stream.encode(frame))
        output.mux(stream.encode(None))
    path.write_bytes(path.read_bytes().replace(b"CAFEMETA", b"CAF\xe9META"))
    assert len(read(path)[0]) == 2


def test_a_change_of_range_and_subsampling_in_mid_stream_is_followed(tmp_path: Path) -> None:
    parts = []
    for n, (pix_fmt, params) in enumerate(
        [("yuv420p", "colormatrix=bt709:range=tv"), ("yuvj420p", "colormatrix=bt709:fullrange=on"), ("yuv444p", "")]
    ):
        options = {"x264-params": params, "tune": "zerolatency", "qp": "0"}
        part = write_clip(tmp_path / f"{n}.h264", 4, pix_fmt=pix_fmt, options=options, container="h264")
        parts.append(part.read_bytes())
    joined = tmp_path / "joined.h264"
    joined.write_bytes(b"".join(parts))
    frames, _, _ = read(joined)
    assert len(frames) == 12
    for n, frame in enumerate(frames):
        assert np.abs(frame.rgb.astype(int) - moving_frames(4, 32, 24)[n % 4]).mean() < 6


def test_random_bytes_never_crash_the_reader(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for suffix in (".mp4", ".mkv", ".ts", ".avi"):
        path = lossy_clip(tmp_path / f"a{suffix}", **(FAST if suffix == ".mp4" else {}))
        data = path.read_bytes()
        for _ in range(6):
            place = int(rng.integers(0, len(data) - 40))
            path.write_bytes(data[:place] + rng.bytes(40) + data[place + 40 :])
            try:
                assert len(read(path, allow_damaged=True)[0]) > 0
            except VideoError as error:
                assert str(error).startswith(str(path))  # noqa: PT017 - either is right


def test_a_recording_that_begins_between_key_frames_starts_at_the_first(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "a.ts", 60, 128, 96, options={"g": "20", "bf": "0", "sc_threshold": "0"})
    data = path.read_bytes()
    packets = [data[n : n + 188] for n in range(0, len(data), 188)]
    path.write_bytes(b"".join(packets[len(packets) // 6 :]))
    frames, _, notes = read(path)
    assert len(frames) == 40
    assert [("before the first key frame" in note) for note in notes] == [True]


def test_a_change_of_format_in_mid_stream_is_followed(tmp_path: Path) -> None:
    # Raw PNGs in one stream: 8-bit RGB, then grey, then 16-bit RGB.
    parts = []
    original = moving_frames(1, 32, 24)[0]
    deep = from_rgb16(to_16_bit(original), "rgb48be", ColorTags(0))
    for pix_fmt, made in (("rgb24", None), ("gray", None), ("rgb48be", [deep])):
        path = tmp_path / f"{pix_fmt}.png"
        write_clip(path, 1, codec="png", pix_fmt=pix_fmt, container="rawvideo", frames=made)
        parts.append(path.read_bytes())
    joined = tmp_path / "joined.png"
    joined.write_bytes(b"".join(parts))
    frames, _, notes = read(joined)
    assert len(frames) == 3
    assert notes == (f"{joined}: some frames have more bits than the first, and were read as 8 bits",)
    assert {frame.rgb.dtype for frame in frames} == {np.dtype(np.uint8)}
    assert np.array_equal(frames[0].rgb, original)
    assert np.array_equal(frames[2].rgb, original)


def test_frames_beyond_any_video_are_refused_before_they_are_allocated(tmp_path: Path) -> None:
    path = tmp_path / "a.y4m"
    for width, height in ((65535, 65535), (16384, 16384), (0, 0)):
        path.write_bytes(f"YUV4MPEG2 W{width} H{height} F25:1 C420jpeg\nFRAME\n".encode() + bytes(1000))
        with pytest.raises(VideoError, match="not a readable video"):
            read(path)
    png = write_clip(tmp_path / "b.png", 1, codec="png", pix_fmt="rgb24", container="rawvideo")
    data = bytearray(png.read_bytes())
    for width, height in ((100000, 100000), (30000, 30000), (16384, 16384)):
        ihdr = b"IHDR" + struct.pack(">II", width, height) + data[24:29]
        data[12:33] = ihdr + struct.pack(">I", zlib.crc32(ihdr))
        png.write_bytes(bytes(data))
        before = peak_memory_bytes()
        with pytest.raises(VideoError, match=r"too large|not a readable video"):
            read(png)
        assert peak_memory_bytes() - before < 100_000_000


def test_a_cut_y4m_is_seen_in_a_pipe_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = cut(lossy_clip(tmp_path / "a.y4m"), 0.15)
    with path.open("rb") as file:
        monkeypatch.setattr("vae3d_cli.video.pipes.STDIN_FD", file.fileno())
        with open_clip(None) as video, pytest.raises(VideoError, match="<stdin>: the video is damaged"):
            list(video)
    assert os.path.exists(path)  # noqa: PTH110
