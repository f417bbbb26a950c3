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
from vae3d_cli.video import VideoReader
from vae3d_cli.video.fields import FieldPairs

RATE = Fraction(25)
OPEN_GOP = "open-gop=1:keyint=12:bframes=3:scenecut=0"


def counted(path: Path) -> tuple[int, bool, Fraction]:
    with VideoReader(path) as video:
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
        (".ts", "libx264", {"x264-params": "tff=1"}),  # interlaced, but a packet holds both fields
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


class Bits:
    """Bits on their way into a unit of H.264."""

    def __init__(self) -> None:
        self.text = ""

    def put(self, value: int, count: int) -> "Bits":
        self.text += f"{value:0{count}b}"
        return self

    def golomb(self, *values: int) -> "Bits":
        for value in values:
            code = f"{value + 1:b}"
            self.text += "0" * (len(code) - 1) + code
        return self

    def unit(self, first_byte: int, rest: bytes = b"") -> bytes:
        """The unit with its start code; without `rest` it ends with a 1."""
        text = self.text if rest else f"{self.text}1"
        text += "0" * (-len(text) % 8)
        return b"\0\0\0\1" + bytes([first_byte]) + int(text, 2).to_bytes(len(text) // 8) + rest


# 16x32 in Main profile: fields of one macroblock each are allowed, and pictures come in the order of their slices.
SPS = Bits().put(77, 8).put(0, 8).put(30, 8).golomb(0, 0, 2, 1).put(0, 1).golomb(0, 0).put(0b00100, 5).unit(0x67)
PPS = Bits().golomb(0, 0).put(0, 2).golomb(0, 0, 0).put(0, 3).golomb(0, 0, 0).put(0, 3).unit(0x68)
GREY = bytes([90] * 384)


def picture(structure: str, number: int) -> bytes:
    """An I picture of plain grey, as raw samples: a `frame`, a `top` field or the `bottom` field that belongs to it."""
    bits = Bits().golomb(0, 7, 0).put(0, 4).put(structure != "frame", 1)
    if structure != "frame":
        bits.put(structure == "bottom", 1)
    if structure == "bottom":
        bits.put(0, 1)
    else:
        bits.golomb(number % 2).put(0, 2)
    bits.golomb(0, 25)
    rest = GREY + (b"\x0d\x00" + GREY if structure == "frame" else b"") + b"\x80"
    return bits.unit(0x61 if structure == "bottom" else 0x65, rest)


def write_fields(path: Path, pictures: list[tuple[str, ...]]) -> Path:
    """A stream whose frames are coded as these pictures, each a packet at its own time."""
    raw = path.with_suffix(".h264")
    raw.write_bytes(
        b"".join(SPS + PPS + b"".join(picture(one, n) for one in frame) for n, frame in enumerate(pictures))
    )
    if path != raw:
        with av.open(str(raw)) as source, av.open(str(path), "w") as output:
            stream = output.add_stream_from_template(source.streams.video[0], opaque=True)
            time = 0
            for packet in source.demux(video=0):
                if packet.size:
                    packet.pts = packet.dts = time
                    packet.time_base, packet.stream = 1 / RATE / 2, stream
                    time += 1
                    output.mux(packet)
    return path


@pytest.mark.parametrize("suffix", [".h264", ".ts", ".mkv", ".mp4"])
def test_fields_are_counted_in_pairs(tmp_path: Path, suffix: str) -> None:
    path = write_fields(tmp_path / f"a{suffix}", [("top", "bottom")] * 6)
    with av.open(str(path)) as container:
        assert sum(bool(packet.size) for packet in container.demux(video=0)) == 12
    assert len(read(path)[0]) == 6
    num_frames, is_exact, rate = counted(path)
    assert (num_frames, is_exact) == (6, True)
    assert suffix == ".h264" or rate == RATE
    mixed = write_fields(tmp_path / f"b{suffix}", [("top", "bottom"), ("frame",)] * 3)
    assert len(read(mixed)[0]) == 6
    assert counted(mixed)[:2] == (6, True)


def test_field_without_its_twin_makes_the_count_inexact(tmp_path: Path) -> None:
    path = write_fields(tmp_path / "a.h264", [("top", "bottom"), ("top",), ("top", "bottom")])
    assert not counted(path)[1]


def test_headers_that_make_no_sense_make_the_count_inexact() -> None:
    assert FieldPairs(None).num_frames(b"") is None
    assert FieldPairs(b"\1").num_frames(b"\0\0\1\x65\x88") is None
    assert FieldPairs(SPS + PPS).num_frames(b"\0\0\1\x65") is None
    assert FieldPairs(SPS[:9]).num_frames(picture("top", 0)) is None
    assert FieldPairs(SPS + PPS).num_frames(picture("top", 0) + picture("bottom", 0)) == 1
