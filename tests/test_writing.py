"""How videos are written: encoders, containers, colours and times."""

import re
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from tests.clips import NTSC, moving_frames
from tests.test_latents import HEADER
from vae3d_cli.codec.outputs import video_output
from vae3d_cli.errors import UsageError, VideoError
from vae3d_cli.video import (
    ColorTags,
    EncoderOptions,
    Timing,
    VideoWriter,
    check_output_video,
    check_size,
    open_clip,
    suffix_of,
)
from vae3d_cli.video.deep import to_8_bit
from vae3d_cli.video.pipes import PipeReader, PipeWriter

HD, HD_FULL, UHD = ColorTags(1, 1, 1, 1), ColorTags(1, 2, 1, 1), ColorTags(9, 1, 9, 14)


def write(
    path: Path,
    frames: list[np.ndarray],
    timing: Timing | None = None,
    color: ColorTags | None = None,
    **options: object,
) -> list[str]:
    height, width = frames[0].shape[1:]
    with VideoWriter(
        path,
        path.suffix,
        width=width,
        height=height,
        num_frames=len(frames),
        timing=timing or Timing(NTSC),
        color=color,
        encoder=EncoderOptions(**options),  # type: ignore[arg-type]
    ) as writer:
        for rgb in frames:
            writer.write(rgb)
    return writer.notes


def rgb_of(path: Path) -> list[np.ndarray]:
    """Frames of 8 bits, of whatever depth the file is."""
    with open_clip(path) as video:
        return [to_8_bit(frame.rgb) if frame.rgb.dtype == np.uint16 else frame.rgb for frame in video]


def packet_times(path: Path) -> list[tuple[Fraction, Fraction]]:
    """Time and duration of every packet of the video, in the order shown, by PyAV alone."""
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        packets = [packet for packet in container.demux(stream) if packet.size]
        base = Fraction(stream.time_base or 0)
        return sorted(((packet.pts or 0) * base, (packet.duration or 0) * base) for packet in packets)


@pytest.mark.parametrize(
    ("suffix", "codec", "name"),
    [
        (".mp4", None, "libx264"),
        (".mov", "prores_ks", "prores_ks"),
        (".mkv", "libx265", "libx265"),
        (".mkv", "libsvtav1", "libsvtav1"),
        (".mp4", "mpeg4", "mpeg4"),
        (".webm", None, "libvpx-vp9"),
        (".webm", "libvpx", "libvpx"),
        (".nut", "ffv1", "ffv1"),
        (".avi", None, "libx264"),
        (".avi", "mjpeg", "mjpeg"),
        (".y4m", None, "rawvideo"),
    ],
)
@pytest.mark.parametrize("color", [HD, HD_FULL, ColorTags()], ids=["709", "709 full", "untagged"])
def test_every_encoder_and_container_gives_the_colours_back(
    tmp_path: Path, suffix: str, codec: str | None, name: str, color: ColorTags
) -> None:
    frames = [np.full((3, 64, 64), np.array([180, 60, 40], np.uint8)[:, None, None])] * 4
    write(tmp_path / f"a{suffix}", frames, color=color, codec=codec)
    with av.open(str(tmp_path / f"a{suffix}")) as container:
        assert container.streams.video[0].codec_context.codec.id == av.codec.Codec(name, "w").id
    back = rgb_of(tmp_path / f"a{suffix}")
    assert len(back) == 4
    assert max(np.abs(a.astype(int) - b).max() for a, b in zip(back, frames, strict=True)) <= 5


@pytest.mark.parametrize(
    ("suffix", "codec"), [(".y4m", None), (".nut", "ffv1"), (".nut", "rawvideo"), (".avi", "ffv1")]
)
def test_a_container_without_tags_gets_bt601_and_a_note(tmp_path: Path, suffix: str, codec: str | None) -> None:
    notes = write(tmp_path / f"a{suffix}", moving_frames(2, 48, 32), color=HD, codec=codec)
    assert any("BT.601 limited" in note for note in notes)
    assert write(tmp_path / f"b{suffix}", moving_frames(2, 48, 32), color=ColorTags(), codec=codec) == []


@pytest.mark.parametrize(
    ("suffix", "codec"), [(".mp4", "libx264"), (".mkv", "libx265"), (".mp4", "mpeg4"), (".mkv", "ffv1")]
)
@pytest.mark.parametrize("color", [HD, UHD, ColorTags(6, 1, 6, 6)])
def test_a_container_with_tags_keeps_all_four(tmp_path: Path, suffix: str, codec: str, color: ColorTags) -> None:
    assert write(tmp_path / f"a{suffix}", moving_frames(3, 64, 32), color=color, codec=codec) == []
    with open_clip(tmp_path / f"a{suffix}") as video:
        assert video.info.color == color


@pytest.mark.parametrize(
    ("suffix", "codec"),
    [
        *((suffix, None) for suffix in (".mp4", ".m4v", ".mov", ".mkv", ".webm", ".nut", ".avi")),
        *((".mkv", codec) for codec in ("libx264rgb", "libx265", "libvpx-vp9")),
        (".mov", "png"),
        (".mov", "qtrle"),
        (".nut", "rawvideo"),
    ],
)
@pytest.mark.parametrize("color", [None, HD, ColorTags(0, 2, 1, 13)], ids=["none", "yuv", "rgb"])
def test_lossless_gives_the_rgb_bit_for_bit(
    tmp_path: Path, suffix: str, codec: str | None, color: ColorTags | None
) -> None:
    rng = np.random.default_rng(0)
    frames = list(rng.integers(0, 256, (3, 3, 33, 65), np.uint8))
    write(tmp_path / f"a{suffix}", frames, color=color, codec=codec, lossless=True)
    assert all(np.array_equal(a, b) for a, b in zip(rgb_of(tmp_path / f"a{suffix}"), frames, strict=True))
    with av.open(str(tmp_path / f"a{suffix}")) as container:
        frame = next(container.decode(video=0))
        assert frame.format.is_rgb
        assert frame.colorspace in (0, 2)  # never that of YUV


def test_the_default_codecs_of_lossless_are_rgb_h264_and_ffv1(tmp_path: Path) -> None:
    for suffix, codec, pix_fmt in ((".mp4", "h264", "gbrp"), (".mkv", "ffv1", "bgr0")):
        write(tmp_path / f"a{suffix}", moving_frames(2, 32, 32), lossless=True)
        with open_clip(tmp_path / f"a{suffix}") as video:
            assert (video.info.codec, video.info.pix_fmt) == (codec, pix_fmt)


def test_crf_preset_and_pixel_format_reach_the_encoder(tmp_path: Path) -> None:
    frames = moving_frames(20, 96, 64)
    write(tmp_path / "good.mp4", frames, crf=1.0, preset="veryfast")
    write(tmp_path / "bad.mp4", frames, crf=45.0, preset="veryfast")
    write(tmp_path / "444.mp4", frames, pix_fmt="yuv444p")
    assert (tmp_path / "good.mp4").stat().st_size > 4 * (tmp_path / "bad.mp4").stat().st_size
    with open_clip(tmp_path / "444.mp4") as video:
        assert video.info.pix_fmt == "yuv444p"
    assert b"subme=2" in (tmp_path / "good.mp4").read_bytes()  # what x264 says of veryfast


@pytest.mark.parametrize(
    ("name", "options", "reason"),
    [
        ("a.txt", {}, "unknown kind of video"),
        ("a.gif", {}, "unknown kind of video"),
        ("a.mp4", {"codec": "nonsense"}, "no such encoder"),
        ("a.mp4", {"codec": "aac"}, "no video"),
        ("a.webm", {"codec": "libx264"}, "cannot hold libx264"),
        ("a.mkv", {"codec": "utvideo"}, "cannot hold utvideo"),
        ("a.y4m", {"codec": "libx264"}, "cannot be written into yuv4mpegpipe"),
        ("a.mp4", {"crf": -1.0}, "--crf -1"),
        ("a.mp4", {"crf": 99.0}, "--crf 99"),
        ("a.webm", {"crf": 99.0}, "--crf 99"),
        ("a.mkv", {"codec": "ffv1", "crf": 3.0}, "ffv1 has no such option"),
        ("a.webm", {"preset": "slow"}, "libvpx-vp9 has no such option"),
        ("a.mp4", {"preset": "nonsense"}, "libx264 has ultrafast"),
        ("a.mp4", {"codec": "libsvtav1", "preset": "slow"}, "--preset slow"),
        ("a.mp4", {"pix_fmt": "nonsense"}, "--pix-fmt nonsense: libx264 has yuv420p"),
        ("a.mp4", {"pix_fmt": "rgb24"}, "--pix-fmt rgb24"),
        ("a.y4m", {"pix_fmt": "rgb24"}, "--pix-fmt rgb24"),
        ("a.y4m", {"lossless": True}, "--lossless"),
        ("a.mp4", {"codec": "libx264", "lossless": True}, "libx264 cannot hold RGB"),
        ("a.mp4", {"crf": 3.0, "lossless": True}, "--lossless: has no --crf"),
        ("a.mp4", {"codec": "h264_nvenc"}, "h264_nvenc"),
        ("a.mp4", {"container": "nut"}, "a.mp4 says .mp4"),
        ("a.png", {"crf": 3.0}, "a PNG takes no options"),
        (None, {"container": "avi"}, "--container avi: unknown"),
        (None, {"container": "y4m", "codec": "libx265"}, "cannot be written into yuv4mpegpipe"),
    ],
)
def test_what_cannot_be_written_is_called_wrong_in_one_line(
    name: str | None, options: dict[str, object], reason: str, capfd: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(UsageError) as error:
        check_output_video(Path(name) if name else None, EncoderOptions(**options))  # type: ignore[arg-type]
    assert reason in str(error.value)
    assert "\n" not in str(error.value)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("codec", ["libx264", "libx265", "libsvtav1", "libvpx-vp9"])
def test_encoders_write_nothing_to_the_terminal(tmp_path: Path, codec: str, capfd: pytest.CaptureFixture[str]) -> None:
    for num_frames in (1, 2, 9):  # x265 has no time stamps for a single frame by itself
        write(tmp_path / f"{num_frames}.mkv", moving_frames(num_frames, 64, 64), codec=codec)
        assert len(rgb_of(tmp_path / f"{num_frames}.mkv")) == num_frames
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("codec", ["libx264", "libx265"])
def test_an_odd_size_is_444_with_a_note_unless_another_was_asked_for(tmp_path: Path, codec: str) -> None:
    notes = write(tmp_path / "a.mp4", moving_frames(2, 65, 47), codec=codec)
    assert notes == ["65x47 is odd: written as 4:4:4"]
    with pytest.raises(VideoError, match="takes no 65x47 as yuv420p: give --pix-fmt yuv444p"):
        check_size(Path("a.mp4"), EncoderOptions(codec=codec, pix_fmt="yuv420p"), 65, 47)
    with open_clip(tmp_path / "a.mp4") as video:
        assert (video.info.width, video.info.height) == (65, 47)


def test_frames_that_x265_would_crash_on_are_refused() -> None:
    with pytest.raises(VideoError, match=r"takes no frames this narrow \(48 px\); use another --codec"):
        check_size(Path("a.mp4"), EncoderOptions(codec="libx265"), 48, 64)


@pytest.mark.parametrize(("suffix", "tolerance"), [(".mp4", 0), (".mov", 0), (".mkv", Fraction(1, 1000))])
@pytest.mark.parametrize("last", [Fraction(7, 10), Fraction(1, 100)])
def test_the_last_frame_lasts_as_long_as_it_did(
    tmp_path: Path, suffix: str, tolerance: Fraction, last: Fraction
) -> None:
    for name, timing in {
        "constant": Timing(NTSC, last_duration=last),
        "variable": Timing(NTSC, Fraction(1, 90000), np.array([0, 3003, 6007, 6008, 30000]), last_duration=last),
    }.items():
        path = tmp_path / f"{name}{suffix}"
        write(path, moving_frames(5, 48, 32), timing)
        base, stamps = timing.stamps(5)
        found = packet_times(path)
        for (time, _), stamp in zip(found, stamps, strict=True):
            assert abs(time - int(stamp) * base) <= tolerance
        assert abs(found[-1][1] - last) <= tolerance


@pytest.mark.parametrize("suffix", [".y4m", ".avi"])
def test_a_container_without_time_stamps_gets_a_constant_rate_and_a_note(tmp_path: Path, suffix: str) -> None:
    timing = Timing(NTSC, Fraction(1, 90000), np.array([0, 3003, 6007, 6008, 30000]))
    notes = write(tmp_path / f"a{suffix}", moving_frames(5, 48, 32), timing)
    assert any("constant rate" in note for note in notes)
    with open_clip(tmp_path / f"a{suffix}") as video:
        assert video.info.rate == NTSC
        stamps = [frame.pts * video.info.time_base for frame in video]
    assert [stamp - stamps[0] for stamp in stamps] == [n / NTSC for n in range(5)]


def test_a_gap_that_no_video_can_say_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(VideoError, match="lasts longer than a video can say"):
        write(tmp_path / "a.mp4", moving_frames(2, 32, 32), Timing(NTSC, Fraction(1, 90000), np.array([0, 1 << 34])))


def test_an_error_of_the_source_does_not_begin_with_the_name_of_the_output(tmp_path: Path) -> None:
    path, header = tmp_path / "out.mp4", replace(HEADER, width=32, height=32)
    with pytest.raises(VideoError, match=r"^clip\.mp4: is damaged$"), video_output(path, header, Timing(NTSC), 2):
        raise VideoError("clip.mp4: is damaged")
    gap = Timing(NTSC, Fraction(1, 90000), np.array([0, 1 << 34]))
    with (
        pytest.raises(VideoError, match=f"^{re.escape(str(path))}: a frame lasts longer"),
        video_output(path, header, gap, 2),
    ):
        pass
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("container", ["matroska", "nut", "mp4", "y4m"])
def test_every_container_for_a_pipe_is_read_from_one(tmp_path: Path, container: str) -> None:
    frames, options = moving_frames(9, 48, 32), EncoderOptions(container=container)
    with (tmp_path / "out").open("wb") as file:
        writer = VideoWriter(
            PipeWriter(file.fileno()),
            suffix_of(None, options),
            width=48,
            height=32,
            num_frames=9,
            timing=Timing(NTSC),
            color=HD,
            encoder=options,
        )
        with writer:
            for rgb in frames:
                writer.write(rgb)

    with (tmp_path / "out").open("rb") as written, av.open(PipeReader(written.fileno()), "r") as read:
        assert len(list(read.decode(video=0))) == 9
    back = rgb_of(tmp_path / "out")
    assert max(np.abs(a.astype(int) - b).mean() for a, b in zip(back, frames, strict=True)) < 4
