"""Choosing the video track of a file, and the part of its frames that is shown."""

import json
import struct
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from av.stream import Disposition
from av.video.stream import VideoStream
from numpy.typing import NDArray

from tests.clips import moving_frames, read_back, write_clip
from tests.commands import assert_failed, json_lines, run
from tests.test_audio import sound_of, write_sounding
from tests.test_cli_reading import metadata_of
from tests.test_reading import ONE, read, rgb_frames
from vae3d_cli.errors import VideoError
from vae3d_cli.geometry import MAX_SIDE_PX
from vae3d_cli.video import open_clip

RATE = Fraction(25)
BOTH = Disposition.default, Disposition.default


def write_tracks(
    path: Path,
    sizes: list[tuple[int, int]],
    dispositions: tuple[Disposition, ...],
    lengths: tuple[int, ...] = (5, 5, 5),
) -> Path:
    """A file with a lossless video track of each size; frames of track n are the moving ones of seed n."""
    with av.open(str(path), "w") as output:
        streams = []
        for (width, height), disposition in zip(sizes, dispositions, strict=True):
            stream = output.add_stream("libx264rgb", rate=RATE, options={"qp": "0"})
            assert isinstance(stream, VideoStream)
            stream.width, stream.height, stream.pix_fmt = width, height, "rgb24"
            stream.disposition = disposition
            streams.append(stream)
        for seed, (stream, length) in enumerate(zip(streams, lengths, strict=False)):
            for n, frame in enumerate(rgb_frames(moving_frames(length, stream.width, stream.height, seed))):
                frame.pts, frame.time_base = n, 1 / RATE
                output.mux(stream.encode(frame))
            output.mux(stream.encode(None))
    return path


@pytest.mark.parametrize(
    ("suffix", "dispositions", "lengths", "expected"),
    [
        (".mkv", (Disposition(0), Disposition.default), (5, 5), 1),
        (".mkv", (Disposition.default, Disposition(0)), (5, 5), 0),
        (".mkv", BOTH, (1, 5), 1),  # the best: more than one frame
        (".mkv", (Disposition(0), Disposition(0)), (1, 5), 1),
        (".mp4", (Disposition(0), Disposition.default), (5, 5), 1),
    ],
)
def test_default_track_is_read_or_the_best_with_a_note(
    tmp_path: Path, suffix: str, dispositions: tuple[Disposition, ...], lengths: tuple[int, ...], expected: int
) -> None:
    sizes = [(32, 24), (64, 48)]
    path = write_tracks(tmp_path / f"a{suffix}", sizes, dispositions, lengths)
    frames, info, notes = read(path)
    assert (info.width, info.height) == sizes[expected]
    assert np.array_equal(frames[0].rgb, moving_frames(1, *sizes[expected], expected)[0])
    name = f"h264 {info.width}x{info.height}"
    assert notes == (f"{path}: it has 2 video tracks; track {expected} ({name}) is read; --stream N reads another",)


def test_single_track_needs_no_note(tmp_path: Path) -> None:
    assert read(write_tracks(tmp_path / "a.mkv", [(32, 24)], (Disposition(0),)))[2] == ()


def test_cover_art_is_no_track(tmp_path: Path) -> None:
    path = tmp_path / "a.mp4"
    with av.open(str(path), "w") as output:
        cover = output.add_stream("png", rate=1)
        video = output.add_stream("libx264rgb", rate=RATE, options={"qp": "0"})
        assert isinstance(cover, VideoStream)
        assert isinstance(video, VideoStream)
        cover.width, cover.height, cover.pix_fmt, cover.disposition = 640, 480, "rgb24", Disposition.attached_pic
        video.width, video.height, video.pix_fmt = 32, 24, "rgb24"
        output.mux(cover.encode(av.VideoFrame(640, 480, "rgb24")))
        for frame in rgb_frames(moving_frames(3, 32, 24)):
            output.mux(video.encode(frame))
        output.mux(video.encode(None))
    for stream in (None, 0):
        frames, info, notes = read(path, stream=stream)
        assert (len(frames), info.width, notes) == (3, 32, ())
    with pytest.raises(VideoError, match=r"has no video track 1; give --stream one of 0 \(h264 32x24\)"):
        read(path, stream=1)


def test_stream_option_chooses_a_track_and_is_a_setting(tmp_path: Path) -> None:
    sizes = [(32, 24), (64, 48), (48, 64)]
    clip = write_tracks(tmp_path / "a.mkv", sizes, (Disposition(0), Disposition.default, Disposition(0)))
    for number, (width, height) in enumerate(sizes):
        result = run("encode", clip, "--stream", number, "-f")
        assert result.exit_code == 0
        assert "video tracks" not in result.stderr
        header = metadata_of(tmp_path / "a.safetensors")
        assert (header["width"], header["height"]) == (str(width), str(height))
        assert json.loads(header["settings"])["stream"] == number
        (report,) = json_lines(run("roundtrip", clip, "--stream", number, "--json", "-q"))
        assert (report["width"], report["height"]) == (width, height)
        assert report["metrics"]["psnr"]["mean"] > 22  # type: ignore[index]
    run("encode", clip, "-f")
    assert "stream" not in json.loads(metadata_of(tmp_path / "a.safetensors")["settings"])
    message = "has no video track 3; give --stream one of 0 (h264 32x24), 1 (h264 64x48), 2 (h264 48x64)"
    assert_failed(run("encode", clip, "--stream", "3", "-f"), 1, message)
    assert run("encode", clip, "--stream", "-1", "-f").exit_code == 2


def test_line_of_a_list_chooses_a_track(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_tracks(tmp_path / "a.mkv", [(32, 24), (64, 48)], (Disposition.default, Disposition(0)))
    Path("list").write_text('{"path": "a.mkv", "stream": 1}\n{"path": "a.mkv", "output": "b.safetensors"}\n')
    assert run("encode", "--list", "list", "-o", "out").exit_code == 0
    assert metadata_of(Path("out/a.safetensors"))["width"] == "64"
    assert metadata_of(Path("out/b.safetensors"))["width"] == "32"
    Path("list").write_text('{"path": "a.mkv", "stream": "1"}\n')
    assert_failed(run("encode", "--list", "list", "-o", "out"), 2, "stream: give a whole number")


def test_sound_keeps_to_the_track_that_is_read(tmp_path: Path) -> None:
    """The second track begins a second later than the first, and the sound with the first."""
    sounding = write_sounding(tmp_path / "sound.mp4", num_frames=50)
    clip = tmp_path / "a.mkv"
    with av.open(str(sounding)) as source, av.open(str(clip), "w") as output:
        video, audio = source.streams.video[0], source.streams.audio[0]
        first, second, sound = (
            output.add_stream_from_template(stream, opaque=True) for stream in (video, video, audio)
        )
        for packet in source.demux(video, audio):
            if packet.pts is None or packet.dts is None:
                continue
            targets = (first, second) if packet.stream is video else (sound,)
            for target in targets:
                copy = av.Packet(bytes(packet))
                late = int(1 / packet.time_base) if target is second else 0
                copy.pts, copy.dts, copy.time_base = packet.pts + late, packet.dts + late, packet.time_base
                copy.duration, copy.is_keyframe, copy.stream = packet.duration, packet.is_keyframe, target
                output.mux(copy)
    leads = []
    for number in (0, 1):
        out, decoded = tmp_path / f"{number}.mkv", tmp_path / f"{number}.decoded.mkv"
        assert run("roundtrip", clip, "--stream", number, "-o", out, "-q").exit_code == 0
        assert len(read_back(out)[0]) == 50
        assert run("encode", clip, "--stream", number, "-f").exit_code == 0
        assert run("decode", tmp_path / "a.safetensors", "--audio", clip, "-o", decoded, "-q").exit_code == 0
        leads += [-sound_of(path)[0][0] for path in (out, decoded)]
    assert leads == [pytest.approx(lead, abs=0.003) for lead in (leads[0], leads[0], leads[0] + 1, leads[0] + 1)]


def with_clap(path: Path, width: int, height: int, right: int, down: int) -> Path:
    """The mp4 with a clean aperture of this size, whose centre is as many pixels right of and below the frame's."""
    box = struct.pack(">I4sIIIIiIiI", 40, b"clap", width, 1, height, 1, right, 1, down, 1)
    data = bytearray(path.read_bytes())
    entry = data.find(b"avc1", data.find(b"stsd")) - 4
    end = entry + struct.unpack(">I", data[entry : entry + 4])[0]
    data[end:end] = box
    for name in (b"moov", b"trak", b"mdia", b"minf", b"stbl", b"stsd", b"avc1"):
        place = data.find(name, data.find(b"moov")) - 4
        data[place : place + 4] = struct.pack(">I", struct.unpack(">I", data[place : place + 4])[0] + len(box))
    path.write_bytes(data)
    return path


def remuxed(path: Path, target: Path) -> Path:
    with av.open(str(path)) as source, av.open(str(target), "w") as output:
        stream = output.add_stream_from_template(source.streams.video[0], opaque=True)
        for packet in source.demux(video=0):
            if packet.dts is not None:
                packet.stream = stream
                output.mux(packet)
    return target


def lossless(path: Path, frames: list[NDArray[np.uint8]]) -> Path:
    height, width = frames[0].shape[1:]
    options = {"qp": "0"}
    return write_clip(
        path,
        len(frames),
        width,
        height,
        codec="libx264rgb",
        pix_fmt="rgb24",
        options=options,
        frames=rgb_frames(frames),
    )


@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
def test_crop_of_the_container_is_applied(tmp_path: Path, suffix: str) -> None:
    # 64 of 96 columns from the 11th on, 45 of 64 rows from the 16th on.
    originals = moving_frames(3, 96, 64)
    path = with_clap(lossless(tmp_path / "a.mp4", originals), 64, 45, -5, 6)
    if suffix == ".mkv":
        path = remuxed(path, tmp_path / "a.mkv")
    frames, info, notes = read(path)
    assert (info.width, info.height, info.sample_aspect_ratio) == (64, 45, Fraction(1))
    assert notes == ()
    for shown, original in zip(frames, originals, strict=True):
        assert np.array_equal(shown.rgb, original[:, 15:60, 11:75])
    resized, info, _ = read(path, size=(32, 45))
    assert resized[0].rgb.shape == (3, 45, 32)
    assert info.sample_aspect_ratio == 2
    described = json.loads(run("info", path, "--json").stdout)
    assert (described["width"], described["height"]) == (64, 45)
    (report,) = json_lines(run("roundtrip", path, "--json", "-q"))
    assert (report["width"], report["height"]) == (64, 45)


def test_crop_comes_before_the_turn(tmp_path: Path) -> None:
    path = tmp_path / "a.mp4"
    (original,) = moving_frames(1, 96, 64)
    with av.open(str(path), "w") as output:
        stream = output.add_stream("libx264rgb", rate=RATE, options={"qp": "0"})
        assert isinstance(stream, VideoStream)
        stream.width, stream.height, stream.pix_fmt = 96, 64, "rgb24"
        stream.set_display_matrix((0, ONE, 0, -ONE, 0, 0, 0, 0, 1 << 30))
        for frame in rgb_frames([original]):
            output.mux(stream.encode(frame))
        output.mux(stream.encode(None))
    (shown,), info, _ = read(with_clap(path, 64, 48, 0, 4))
    assert (info.width, info.height) == (48, 64)
    assert np.array_equal(shown.rgb, np.rot90(original[:, 12:60, 16:80], -1, axes=(1, 2)))


def write_sizes(path: Path, *sizes: tuple[int, int], num_frames: int = 4) -> Path:
    """A raw stream whose frames change their size; its parts lie beside it, as `a.0.h264` and so on."""
    parts = []
    for n, (width, height) in enumerate(sizes):
        part = write_clip(path.with_suffix(f".{n}.h264"), num_frames, width, height, seed=n)
        parts.append(part.read_bytes())
    path.write_bytes(b"".join(parts))
    return path


@pytest.mark.parametrize("options", [{"size": (40, 30)}, {"cover": (24, 24)}])
def test_frames_of_changing_size_are_resized_each(tmp_path: Path, options: dict[str, tuple[int, int]]) -> None:
    path = write_sizes(tmp_path / "a.h264", (96, 64), (64, 96), (32, 32))
    frames, info, _ = read(path, **options)
    assert len(frames) == 12
    ((width, height),) = options.values()
    assert (info.width, info.height) == (width, height)
    for n in range(3):
        for frame, own in zip(frames[4 * n :], read(tmp_path / f"a.{n}.h264", **options)[0], strict=False):
            assert np.array_equal(frame.rgb, own.rgb)


def test_changing_size_without_a_size_is_an_error_that_says_what_to_do(tmp_path: Path) -> None:
    path = write_sizes(tmp_path / "a.h264", (96, 64), (64, 96))
    message = "frame 4 is 64x96 and the ones before are 96x64; split the video where its size changes, or give --size"
    assert_failed(run("encode", path), 1, message)
    assert run("encode", path, "--size", "64x64").exit_code == 0
    assert metadata_of(tmp_path / "a.safetensors")["num_frames"] == "8"
    (report,) = json_lines(
        run(
            "roundtrip",
            write_sizes(tmp_path / "b.h264", (300, 260), (260, 300), num_frames=9),
            "--protocol",
            "17x256x256",
            "--json",
            "-q",
        )
    )
    assert report["num_frames"] == 17


def test_turning_another_way_in_mid_stream_is_an_error(tmp_path: Path) -> None:
    parts = []
    for n, turn in enumerate([90, 90, 180]):
        path = write_clip(tmp_path / f"{n}.h264", 3, container="h264", options={"bf": "0"})
        parts.append(turned(path, turn))
    path = tmp_path / "a.h264"
    path.write_bytes(b"".join(parts[:2]))
    frames, _, _ = read(path)
    assert {frame.rgb.shape for frame in frames} == {(3, 32, 24)}
    path.write_bytes(b"".join(parts))
    with pytest.raises(VideoError, match="frame 6 is turned another way than the first; split the video there"):
        read(path)


def turned(path: Path, angle: int) -> bytes:
    """The raw H.264 with a message at its key frames that it is to be turned."""
    with av.open(str(path)) as source:
        stream = source.streams.video[0]
        turning = av.BitStreamFilterContext(f"h264_metadata=display_orientation=insert:rotate={angle}", stream)
        packets = [packet for packet in source.demux(stream) if packet.size]
        return b"".join(bytes(out) for packet in [*packets, None] for out in turning.filter(packet))


def test_sides_that_no_latents_file_may_have_are_refused_before_the_work(tmp_path: Path) -> None:
    wide = MAX_SIDE_PX + 8
    for name, width, height in (("wide", wide, 8), ("tall", 8, wide)):
        frame = av.VideoFrame(width, height, "gray")
        path = write_clip(
            tmp_path / f"{name}.y4m", 1, width, height, codec="wrapped_avframe", pix_fmt="gray", frames=[frame]
        )
        for command in ("encode", "roundtrip"):
            assert_failed(run(command, path), 1, f"its frames of {width}x{height} are too large")
        assert run("encode", path, "--size", "64x64").exit_code == 0
    long = write_clip(
        tmp_path / "long.y4m", 1, 20000, 8, codec="wrapped_avframe", frames=[av.VideoFrame(20000, 8, "yuv420p")]
    )
    message = "libx264 takes no frames of 20000x8; use another codec, such as ffv1 in .mkv"
    assert_failed(run("roundtrip", long, "-o", tmp_path / "out.mp4"), 1, message)
    edge = av.VideoFrame(MAX_SIDE_PX, 8, "gray")
    path = write_clip(tmp_path / "edge.y4m", 1, MAX_SIDE_PX, 8, codec="wrapped_avframe", pix_fmt="gray", frames=[edge])
    with open_clip(path) as video:
        assert video.info.width == MAX_SIDE_PX


@pytest.mark.parametrize("codec", ["libvpx", "libvpx-vp9"])
def test_transparency_of_webm_is_noted(tmp_path: Path, codec: str) -> None:
    rgba = np.full((24, 32, 4), 90, np.uint8)
    frames = [av.VideoFrame.from_ndarray(rgba, format="rgba") for _ in range(3)]
    path = write_clip(
        tmp_path / "a.webm", 3, codec=codec, pix_fmt="yuva420p", frames=frames, options={"auto-alt-ref": "0"}
    )
    _, _, notes = read(path)
    assert ["transparency was dropped" in note for note in notes] == [True]
    assert read(write_clip(tmp_path / "b.webm", 3, codec=codec))[2] == ()


def test_frames_that_are_not_there_are_noted(tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "a.mp4", 9)
    latents = tmp_path / "a.safetensors"
    run("encode", clip)
    for frames, given in (("33", 9), ("5:40", 4)):
        asked = f"0:{frames}" if ":" not in frames else frames
        message = f"has only 9 frames; --frames {asked} gives {given} of them"
        for command, path, output in (
            ("encode", clip, tmp_path / "b.safetensors"),
            ("decode", latents, tmp_path / "b.mp4"),
            ("roundtrip", clip, tmp_path / "c.mp4"),
        ):
            result = run(command, path, "--frames", frames, "-o", output, "-f")
            assert result.exit_code == 0
            assert f"vae3d: note: {path}: {message}\n" in result.stderr
    for frames in ("9", "5:9", "0:3"):
        assert "has only" not in run("encode", clip, "--frames", frames, "-f").stderr
