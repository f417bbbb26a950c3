"""The options that say how a video is read, and what comes of the video in the files that are written."""

import json
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from safetensors import safe_open

from tests.clips import NTSC, moving_frames, read_back, write_clip
from tests.commands import assert_failed, json_lines, run
from tests.test_reading import ONE, write_timed
from vae3d_cli.cli.parse import parse_rate, parse_size
from vae3d_cli.errors import UsageError
from vae3d_cli.video import open_clip


def metadata_of(path: Path) -> dict[str, str]:
    with safe_open(path, "np") as file:
        return dict(file.metadata())


def test_rate_and_size_of_ones_own_go_into_the_header_and_come_back(tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "clip.mp4", 30, 64, 48, rate=Fraction(30))
    assert run("encode", clip, "--fps", "12.5", "--size", "32x24").exit_code == 0
    header = metadata_of(tmp_path / "clip.safetensors")
    assert {key: header[key] for key in ("num_frames", "width", "height", "rate")} == {
        "num_frames": "13",
        "width": "32",
        "height": "24",
        "rate": "25/2",
    }
    assert not {"time_base", "start_time", "last_duration", "sample_aspect_ratio"} & set(header)
    assert run("decode", tmp_path / "clip.safetensors").exit_code == 0
    frames, times = read_back(tmp_path / "clip.decoded.mp4")
    assert [frame.shape for frame in frames] == [(24, 32, 3)] * 13
    assert times == [n * Fraction(2, 25) for n in range(13)]


def test_roundtrip_measures_against_what_was_encoded(tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "clip.mp4", 20, 64, 48, rate=Fraction(20))
    result = run("roundtrip", clip, "--fps", "10", "--size", "40x40", "--json", "-q")
    (report,) = json_lines(result)
    assert (report["num_frames"], report["width"], report["height"], report["rate"]) == (10, 40, 40, "10/1")
    assert report["metrics"]["psnr"]["mean"] > 22  # type: ignore[index]


def test_a_lying_clip_stands_up(tmp_path: Path) -> None:
    matrix = (0, ONE, 0, -ONE, 0, 0, 0, 0, 1 << 30)
    clip = write_timed(tmp_path / "clip.mp4", Fraction(1, 30), [0, 1], [1, 1], matrix, aspect=2)
    described = json.loads(run("info", clip, "--json").stdout)
    assert (described["width"], described["height"], described["sample_aspect_ratio"]) == (24, 32, "1/2")
    assert run("roundtrip", clip, "-o", tmp_path / "out.mp4").exit_code == 0
    with open_clip(tmp_path / "out.mp4") as video:
        assert (video.info.width, video.info.height, video.info.sample_aspect_ratio) == (24, 32, Fraction(1, 2))
        rgb = next(iter(video)).rgb
    upright = np.rot90(moving_frames(1, 32, 24)[0], -1, axes=(1, 2))
    assert np.abs(rgb.astype(int) - upright).mean() < 10


def test_start_and_last_duration_are_stored_where_they_matter(tmp_path: Path) -> None:
    base = Fraction(1, 90000)
    stamps = [126000 + 3000 * n for n in range(5)]
    clip = write_timed(tmp_path / "late.mp4", base, stamps, [3000] * 4 + [63000])
    assert run("encode", clip).exit_code == 0
    header = metadata_of(tmp_path / "late.safetensors")
    assert (header["start_time"], header["last_duration"]) == ("7/5", "7/10")
    assert run("encode", clip, "-f", "--frames", "2:4").exit_code == 0
    header = metadata_of(tmp_path / "late.safetensors")
    assert header["start_time"] == str(Fraction(stamps[2], 90000))
    assert "last_duration" not in header
    for suffix in (".mp4", ".mkv", ".ts", ".avi"):
        clip = write_clip(tmp_path / f"even{suffix}", 12, codec="mpeg4" if suffix == ".avi" else "libx264")
        assert run("encode", clip, "-f").exit_code == 0
        header = metadata_of(tmp_path / "even.safetensors")
        assert ("start_time" in header) == (suffix == ".ts")
        assert not {"last_duration", "time_base"} & set(header)
        assert header["rate"] == "30000/1001"


@pytest.mark.parametrize("pix_fmt", ["yuv420p10le", "yuv422p10le", "yuv444p12le"])
def test_a_deep_clip_comes_back_deep(tmp_path: Path, pix_fmt: str) -> None:
    clip = write_clip(tmp_path / "clip.mkv", 6, 48, 32, codec="ffv1", pix_fmt=pix_fmt)
    result = run("roundtrip", clip, "-o", tmp_path / "out.mp4", "--json")
    assert result.exit_code == 0, result.stderr
    assert "8 bits" not in result.stderr
    assert json_lines(result)[0]["metrics"]["psnr"]["mean"] > 25  # type: ignore[index]
    with open_clip(tmp_path / "out.mp4") as video:
        assert video.info.pix_fmt == pix_fmt.replace("12", "10")
        assert len(list(video)) == 6
    assert run("encode", clip).exit_code == 0
    assert metadata_of(tmp_path / "clip.safetensors")["pix_fmt"] == pix_fmt
    assert run("decode", tmp_path / "clip.safetensors", "-o", tmp_path / "out.webm").exit_code == 0
    with open_clip(tmp_path / "out.webm") as video:  # where the codec has only 8
        assert video.info.bit_depth == 8
        assert len(list(video)) == 6


def test_a_deep_image_comes_back_as_one(tmp_path: Path) -> None:
    image = write_clip(tmp_path / "a.png", 1, codec="png", pix_fmt="rgb48be", container="rawvideo")
    assert run("roundtrip", image, "-o", tmp_path / "out.png").exit_code == 0
    with open_clip(tmp_path / "out.png") as video:
        assert video.info.pix_fmt == "rgb48be"
        rgb = next(iter(video)).rgb
    assert len(np.unique(rgb)) > 256
    assert np.abs(rgb / 257 - moving_frames(1, 32, 24)[0]).mean() < 10


@pytest.mark.parametrize("command", ["encode", "roundtrip"])
def test_damage_is_an_error_unless_it_is_allowed(tmp_path: Path, command: str) -> None:
    clip = write_clip(tmp_path / "clip.mp4", 60, 64, 48, container_options={"movflags": "faststart"})
    data = clip.read_bytes()
    clip.write_bytes(data[: len(data) * 6 // 10])
    before = sorted(tmp_path.iterdir())
    output = tmp_path / "out.safetensors"
    arguments = ["-o" if command == "encode" else "--latents", output]
    assert_failed(run(command, clip, *arguments), 1, "--allow-damaged")
    assert sorted(tmp_path.iterdir()) == before
    allowed = run(command, clip, *arguments, "--allow-damaged")
    assert allowed.exit_code == 0
    num_frames = int(metadata_of(output)["num_frames"])
    assert 10 < num_frames < 60
    assert f"{num_frames} frames came" in allowed.stderr
    assert allowed.stderr.count("damaged") == 1


@pytest.mark.parametrize("text", ["0", "-1", "a", "30/0", "1e3", "1/2/3", "", "2000", "0.0001", "30/1001/"])
def test_wrong_rates_are_refused(text: str) -> None:
    with pytest.raises(UsageError, match="--fps"):
        parse_rate(text)


@pytest.mark.parametrize("text", ["640", "0x10", "10x0", "-1x3", "axb", "99999x5", "3x4x5", ""])
def test_wrong_sizes_are_refused(text: str) -> None:
    with pytest.raises(UsageError, match="--size"):
        parse_size(text)


def test_rates_and_sizes_are_parsed(clip: Path) -> None:
    rates = [parse_rate(text) for text in ("24", "29.97", "30000/1001")]
    assert rates == [Fraction(24), Fraction(2997, 100), NTSC]
    assert (parse_size("640x360"), parse_size(None), parse_rate(None)) == ((640, 360), None, None)
    assert run("encode", clip, "--fps", "x").exit_code == 2
    assert run("encode", clip, "--size", "x").exit_code == 2
