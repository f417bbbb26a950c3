"""Videos in and out."""

import os
import subprocess
import sys
import threading
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from tests.clips import NTSC, moving_frames, read_back, write_clip
from tests.commands import PATIENCE_SECONDS
from vae3d_cli.errors import UsageError, VideoError
from vae3d_cli.video import ColorTags, EncoderOptions, PngWriter, Timing, VideoWriter, check_output_video, open_clip
from vae3d_cli.video.pipes import PipeReader, PipeWriter


def frames_of(path: Path) -> list[np.ndarray]:
    with open_clip(path) as video:
        return [frame.rgb for frame in video]


def write(path: Path, frames: list[np.ndarray], timing: Timing, color: ColorTags | None = None) -> Path:
    height, width = frames[0].shape[1:]
    with VideoWriter(
        path, path.suffix, width=width, height=height, num_frames=len(frames), timing=timing, color=color
    ) as writer:
        for rgb in frames:
            writer.write(rgb)
    return path


def test_a_clip_is_read_frame_by_frame(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "a.mp4", 83, 270, 182)
    with open_clip(path) as video:
        info = video.info
        stamps = [frame.pts for frame in video]
    assert (info.width, info.height, info.rate, info.estimated_num_frames) == (270, 182, NTSC, 83)
    assert [pts * info.time_base for pts in stamps] == [n / NTSC for n in range(83)]
    with open_clip(path) as video:
        assert video.count_frames() == 83


def test_lossless_rgb_is_read_bit_for_bit(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "a.mkv", codec="libx264rgb", pix_fmt="rgb24", options={"qp": "0"})
    assert all(np.array_equal(a, b) for a, b in zip(frames_of(path), moving_frames(6, 32, 24), strict=True))


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".webp", ".bmp"])
def test_a_still_image_is_a_clip_of_one_frame(tmp_path: Path, suffix: str) -> None:
    codec, pix_fmt = {
        ".png": ("png", "rgb24"),
        ".jpg": ("mjpeg", "yuvj444p"),
        ".webp": ("libwebp", "yuv420p"),
        ".bmp": ("bmp", "bgr24"),
    }[suffix]
    path = write_clip(tmp_path / f"a%03d[1]{suffix}", 1, codec=codec, pix_fmt=pix_fmt, container="rawvideo")
    (frame,) = frames_of(path)
    assert np.abs(frame.astype(int) - moving_frames(1, 32, 24)[0]).mean() < 6


def test_variable_times_are_kept_and_constant_ones_are_recognised(tmp_path: Path) -> None:
    base, stamps = Fraction(1, 90000), [0, 3003, 6007, 6008, 30000, 33003]
    path = write_clip(tmp_path / "a.mp4", stamps=(base, stamps))
    with open_clip(path) as video:
        pts = np.array([frame.pts for frame in video])
        timing = Timing.of(video.info.rate, video.info.time_base, pts)
        assert timing.pts is not None
        assert [int(p) * video.info.time_base for p in pts] == [p * base for p in stamps]
    out = write(tmp_path / "out.mp4", moving_frames(6, 32, 24), timing)
    assert read_back(out)[1] == [p * base for p in stamps]
    milliseconds = np.array([round(1000 * n / NTSC) for n in range(1000)])
    assert Timing.of(NTSC, Fraction(1, 1000), milliseconds) == Timing(NTSC)


@pytest.mark.parametrize("suffix", [".mp4", ".m4v", ".mov", ".mkv", ".webm"])
@pytest.mark.parametrize("tags", [ColorTags(1, 1, 1, 1), ColorTags(6, 2, 6, 6), ColorTags(), ColorTags(9, 1, 9, 14)])
def test_what_is_written_has_its_size_rate_and_tags(tmp_path: Path, suffix: str, tags: ColorTags) -> None:
    frames = moving_frames(7, 48, 32)
    path = write(tmp_path / f"a{suffix}", frames, Timing(NTSC), tags)
    with open_clip(path) as video:
        assert (video.info.width, video.info.height, video.info.rate) == (48, 32, NTSC)
        # VP9 always says a range.
        assert video.info.color == (tags if tags.range or suffix != ".webm" else replace(tags, range=1))
        back = [frame.rgb for frame in video]
    assert len(back) == 7
    assert max(np.abs(a.astype(int) - b).mean() for a, b in zip(back, frames, strict=True)) < 4


def test_an_odd_size_is_written_as_444(tmp_path: Path) -> None:
    path = write(tmp_path / "a.mp4", moving_frames(2, 17, 33), Timing(NTSC))
    with open_clip(path) as video:
        assert (video.info.width, video.info.height, video.info.pix_fmt) == (17, 33, "yuv444p")


def test_an_rgb_source_is_written_as_bt709(tmp_path: Path) -> None:
    path = write(tmp_path / "a.mp4", moving_frames(2, 32, 32), Timing(NTSC), ColorTags(0, 2, 1, 13))
    with open_clip(path) as video:
        assert video.info.color == ColorTags(1, 1, 1, 1)


def test_a_png_holds_the_frame_bit_for_bit(tmp_path: Path) -> None:
    rgb = moving_frames(1, 17, 33)[0]
    PngWriter(tmp_path / "a.png").write(rgb)
    assert np.array_equal(frames_of(tmp_path / "a.png")[0], rgb)


def test_another_suffix_is_called_wrong() -> None:
    with pytest.raises(UsageError, match="unknown kind of video"):
        check_output_video(Path("a.txt"), EncoderOptions())


def cut(path: Path, share: float) -> Path:
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])
    return path


@pytest.mark.parametrize(
    ("suffix", "options"), [(".mp4", {}), (".mp4", {"movflags": "faststart"}), (".mkv", {}), (".webm", {})]
)
def test_a_truncated_video_is_an_error(tmp_path: Path, suffix: str, options: dict[str, str]) -> None:
    codec = "libvpx-vp9" if suffix == ".webm" else "libx264"
    path = write_clip(tmp_path / f"a{suffix}", 60, 64, 48, codec=codec, container_options=options)
    with pytest.raises(VideoError, match=r"damaged"):
        frames_of(cut(path, 0.6))


def test_a_frame_of_another_size_is_named(tmp_path: Path) -> None:
    parts = [
        write_clip(tmp_path / f"{n}.h264", 4, *size, options={"tune": "zerolatency"}, container="h264")
        for n, size in enumerate([(32, 32), (48, 32)])
    ]
    joined = tmp_path / "joined.h264"
    joined.write_bytes(b"".join(part.read_bytes() for part in parts))
    with pytest.raises(VideoError, match="frame 4 is 48x32 and the ones before are 32x32"):
        frames_of(joined)


def test_missing_time_stamps_are_filled_in(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "a.h264", 6, options={"bf": "0"}, container="h264")
    with open_clip(path) as video:
        pts = np.array([frame.pts for frame in video])
    assert len(pts) == 6
    assert (np.diff(pts) > 0).all()


def test_playlists_and_addresses_are_refused(tmp_path: Path) -> None:
    playlist = tmp_path / "a.m3u8"
    playlist.write_text(
        f"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\n{write_clip(tmp_path / 'a.ts')}\n#EXT-X-ENDLIST\n"
    )
    with pytest.raises(VideoError, match="playlist"):
        frames_of(playlist)
    with pytest.raises(VideoError, match="only local files"):
        frames_of(Path("http://example.com/a.mp4"))


def test_cover_art_is_no_video(tmp_path: Path) -> None:
    path = tmp_path / "a.mp3"
    with av.open(str(path), "w") as output:
        audio = output.add_stream("mp3", rate=44100, layout="mono")
        picture = output.add_stream("png", rate=1)
        picture.width, picture.height, picture.pix_fmt = 32, 32, "rgb24"
        picture.disposition = av.stream.Disposition.attached_pic
        for packet in picture.encode(av.VideoFrame(32, 32, "rgb24")):
            output.mux(packet)
        sound = av.AudioFrame.from_ndarray(np.zeros((1, 1152), np.float32), format="fltp", layout="mono")
        sound.sample_rate = 44100
        output.mux([*audio.encode(sound), *audio.encode(None)])
    with pytest.raises(VideoError, match="only cover art"):
        frames_of(path)


def test_a_pipe_is_read_to_its_end_with_the_head_put_back() -> None:
    reading, writing = os.pipe()
    os.write(writing, b"rest")
    os.close(writing)
    reader = PipeReader(reading, b"head ")
    assert reader.read(3) + reader.read(100) + reader.read(100) + reader.read(1) == b"head rest"
    os.close(reading)


def test_a_pipe_is_written_whole_and_quiet_after_a_failure() -> None:
    reading, writing = os.pipe()
    received: list[bytes] = []

    def receive() -> None:
        while data := os.read(reading, 1 << 16):
            received.append(data)

    thread = threading.Thread(target=receive)
    thread.start()
    assert PipeWriter(writing).write(b"x" * 1_000_000) == 1_000_000
    os.close(writing)
    thread.join()
    os.close(reading)
    assert sum(map(len, received)) == 1_000_000
    closed = PipeWriter(writing)
    with pytest.raises(OSError, match="Bad file descriptor"):
        closed.write(b"x")
    assert closed.write(b"x") == 1


@pytest.mark.parametrize(
    ("name", "size", "options"),
    [
        ("small.mp4", 64, {}),
        ("beyond_a_buffer.mp4", 640, {}),
        ("beyond_the_head.mp4", 1280, {"crf": "1"}),
        ("a.mkv", 64, {}),
        ("a.ts", 64, {}),
        ("a.y4m", 64, {}),
    ],
)
def test_every_container_is_read_from_a_pipe(tmp_path: Path, name: str, size: int, options: dict[str, str]) -> None:
    codec = "wrapped_avframe" if name.endswith("y4m") else "libx264"
    path = write_clip(tmp_path / name, 40, size, 64, codec=codec, options=options)
    script = "from vae3d_cli.video import open_clip\nwith open_clip(None) as v: print(sum(1 for _ in v))"
    result = subprocess.run(
        [sys.executable, "-c", script],
        input=path.read_bytes(),
        capture_output=True,
        check=False,
        timeout=PATIENCE_SECONDS,
    )
    assert (result.stdout, result.stderr) == (b"40\n", b"")
