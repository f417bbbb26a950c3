"""`info` counts the frames that `encode` reads, or says that the number is not exact."""

import json
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import av
import pytest

from tests.clips import write_clip
from tests.commands import run
from tests.test_reading import read
from vae3d_cli.video import open_clip

RATE = Fraction(25)
OPEN_GOP = "open-gop=1:keyint=12:bframes=3:scenecut=0"


def counted(path: Path) -> tuple[int, bool, Fraction]:
    with open_clip(path) as video:
        return video.count_frames(), video.info.is_count_exact, video.info.rate


def changed(source: Path, target: Path, change: Callable[[int, bytes], list[bytes]]) -> Path:
    """The file with every packet made none or several, each at the time of the one."""
    with av.open(str(source)) as clip, av.open(str(target), "w") as output:
        stream = output.add_stream_from_template(clip.streams.video[0], opaque=True)
        for number, packet in enumerate(clip.demux(video=0)):
            for part, data in enumerate(change(number, bytes(packet)) if packet.size else []):
                copy = av.Packet(data)
                assert packet.pts is not None
                copy.pts, copy.dts, copy.time_base = (
                    packet.pts + part,
                    (packet.dts or packet.pts) + part,
                    packet.time_base,
                )
                copy.is_keyframe, copy.stream = packet.is_keyframe, stream
                output.mux(copy)
    return target


@pytest.mark.parametrize(
    ("suffix", "codec", "options"),
    [
        *((suffix, "libx264", {}) for suffix in (".mp4", ".mkv", ".ts", ".mov", ".flv", ".h264")),
        (".mp4", "libx264", {"x264-params": OPEN_GOP}),
        (".ts", "mpeg2video", {"bf": "2"}),
        (".mp4", "mpeg4", {"bf": "2"}),
        (".avi", "mjpeg", {}),
        (".y4m", "wrapped_avframe", {}),
        (".webm", "libvpx", {}),
        (".webm", "libvpx-vp9", {}),
        (".nut", "ffv1", {}),
    ],
)
def test_count_is_exact(tmp_path: Path, suffix: str, codec: str, options: dict[str, str]) -> None:
    pix_fmt = "yuvj420p" if codec == "mjpeg" else "yuv420p"
    path = write_clip(tmp_path / f"a{suffix}", 30, 160, 96, rate=RATE, codec=codec, pix_fmt=pix_fmt, options=options)
    assert counted(path) == (30, True, RATE)
    assert len(read(path)[0]) == 30


@pytest.mark.parametrize(("codec", "bit"), [("libvpx", 0x10), ("libvpx-vp9", 0x02)])
def test_hidden_frames_are_not_counted(tmp_path: Path, codec: str, bit: int) -> None:
    clip = write_clip(tmp_path / "a.webm", 9, rate=RATE, codec=codec, options={"g": "1"})

    def hide(number: int, data: bytes) -> list[bytes]:
        return [data] if number % 3 else [bytes([data[0] & ~bit]) + data[1:]]

    path = changed(clip, tmp_path / "b.nut", hide)  # other containers' writers join hidden frames to others
    assert len(read(path)[0]) == 6
    assert counted(path)[:2] == (6, True)


def test_frames_within_a_packet_of_vp9_are_counted(tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "a.webm", 9, rate=RATE, codec="libvpx-vp9", options={"g": "1"})

    def superframe(_number: int, data: bytes) -> list[bytes]:
        hidden = bytes([data[0] & ~0x02]) + data[1:]
        sizes = b"".join(len(frame).to_bytes(4, "little") for frame in (hidden, data))
        marker = bytes([0xC0 | 3 << 3 | 1])
        return [hidden + data + marker + sizes + marker]

    path = changed(clip, tmp_path / "b.nut", superframe)
    assert len(read(path)[0]) == 9
    assert counted(path) == (9, True, RATE)


def test_packets_that_an_edit_list_leaves_out_are_not_counted(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "a.mp4", 12, rate=RATE, stamps=(1 / RATE, list(range(-4, 8))))
    assert len(read(path)[0]) == 8
    assert counted(path) == (8, True, RATE)


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".ts"])
def test_count_is_not_exact_where_frames_lack_what_they_refer_to(tmp_path: Path, suffix: str) -> None:
    """A cut between groups of pictures leaves B-frames that refer to the group before."""
    clip = write_clip(tmp_path / f"a{suffix}", 48, 160, 96, rate=RATE, options={"x264-params": OPEN_GOP})
    with av.open(str(clip)) as source:
        keys = [number for number, packet in enumerate(source.demux(video=0)) if packet.is_keyframe and packet.size]
    path = changed(clip, tmp_path / f"b{suffix}", lambda number, data: [data] if number >= keys[1] else [])
    assert not counted(path)[1]


@pytest.mark.parametrize("suffix", [".mkv", ".ts", ".y4m", ".avi"])
def test_count_of_a_cut_file_is_not_exact_and_says_so(tmp_path: Path, suffix: str) -> None:
    codec = {".y4m": "wrapped_avframe", ".avi": "mpeg4"}.get(suffix, "libx264")
    path = write_clip(tmp_path / f"a{suffix}", 60, 160, 96, codec=codec)
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 2 // 3 - 5])
    result = run("info", path)
    assert result.exit_code == 0
    assert "num frames" in result.stdout
    assert "about" in result.stdout
    assert f"vae3d: note: {path}: the video is damaged (" in result.stderr
    assert "encode takes it with --allow-damaged only" in result.stderr
    described = json.loads(run("info", path, "--json").stdout)
    assert described["num_frames_exact"] is False
    assert "about" not in run("info", write_clip(tmp_path / "whole.mkv")).stdout


def test_count_of_codecs_that_are_not_understood_is_not_exact(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "a.wmv", 9, codec="wmv2")
    assert counted(path)[:2] == (9, False)


def test_count_of_interlaced_h264_is_not_exact(tmp_path: Path) -> None:
    """A packet holds both fields of a frame here, but with other encoders only one."""
    path = write_clip(tmp_path / "a.ts", 30, 160, 96, rate=RATE, options={"x264-params": "tff=1"})
    assert counted(path) == (30, False, RATE)
