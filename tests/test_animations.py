"""Animations of pictures: every frame, at its time, and as often as was asked for."""

import struct
import zlib
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.pictures import smooth
from vae3d_cli.errors import VideoError
from vae3d_cli.video import ReadOptions, Timing, open_clip
from vae3d_cli.video.picture_times import PictureTimes

KINDS = [".gif", ".png", ".webp", ".avif"]


def flat(number: int) -> Image.Image:
    """A frame of one colour, which every codec keeps."""
    colors = [(250, 10, 20), (20, 240, 30), (30, 20, 245), (240, 230, 20), (90, 90, 90)]
    return Image.new("RGB", (96, 64), colors[number])


def animation(path: Path, durations: int | Sequence[int], num_frames: int = 5, **options: Any) -> Path:
    frames = [flat(number) for number in range(num_frames)]
    if path.suffix == ".webp":
        options["lossless"] = True
    frames[0].save(path, save_all=True, append_images=frames[1:], duration=durations, **options)
    return path


def read(path: Path, **options: Any) -> tuple[list[int], list[Fraction], Any, list[str]]:
    """Which frames come, by their colours, when, in seconds; with the end of the last one."""
    with open_clip(path, ReadOptions(**options)) as clip:
        frames = list(clip)
        base = clip.info.time_base
        times = [frame.pts * base for frame in frames] + [(frames[-1].pts + frames[-1].duration) * base]
        known = [np.asarray(flat(number)).mean((0, 1)) for number in range(5)]
        seen = [int(np.argmin([np.abs(frame.rgb.mean((1, 2)) - mean).sum() for mean in known])) for frame in frames]
        return seen, times, clip.info, [note.removeprefix(f"{path}: ") for note in clip.notes]


@pytest.mark.parametrize("suffix", KINDS)
def test_every_frame_comes_at_its_time(tmp_path: Path, suffix: str) -> None:
    seen, times, info, notes = read(animation(tmp_path / f"a{suffix}", 40))
    assert seen == [0, 1, 2, 3, 4]
    assert times == [Fraction(n, 25) for n in range(6)]
    assert (info.width, info.height, info.estimated_num_frames) == (96, 64, 5)
    assert info.rate == 25
    assert notes == []


@pytest.mark.parametrize("suffix", KINDS)
def test_times_that_vary_are_kept_to_the_end_of_the_last_frame(tmp_path: Path, suffix: str) -> None:
    durations = [40, 120, 40, 200, 300]
    _, times, info, _ = read(animation(tmp_path / f"a{suffix}", durations))
    assert times == [Fraction(sum(durations[:n]), 1000) for n in range(6)]
    assert info.rate == 4 / Fraction(400, 1000)
    stamps = np.array([int(time / info.time_base) for time in times[:-1]])
    assert not Timing.of(info.rate, info.time_base, stamps).is_constant


@pytest.mark.parametrize("suffix", KINDS)
def test_animations_are_resampled_and_resized(tmp_path: Path, suffix: str) -> None:
    path = animation(tmp_path / f"a{suffix}", 100)
    seen, times, info, _ = read(path, rate=Fraction(20), size=(48, 40))
    assert seen == [0, 0, 1, 1, 2, 2, 3, 3, 4, 4]
    assert times[:3] == [0, Fraction(1, 20), Fraction(1, 10)]
    assert (info.width, info.height, info.estimated_num_frames) == (48, 40, 10)
    assert len(read(path, rate=Fraction(5))[0]) in (2, 3)  # half a frame is rounded


def test_delays_that_are_too_short_to_be_meant_are_as_before(tmp_path: Path) -> None:
    assert read(animation(tmp_path / "a.gif", 0))[1] == [Fraction(n, 10) for n in range(6)]
    assert read(animation(tmp_path / "b.gif", 10))[1] == [Fraction(n, 100) for n in range(6)]
    times = PictureTimes.of([0, 0, 40], "PNG")
    assert [stamp * times.time_base for stamp in times.stamps] == [0, Fraction(1, 15), Fraction(2, 15)]


def test_the_fractions_of_an_apng_are_exact() -> None:
    times = PictureTimes.of([1001 / 30000 * 1000] * 100, "PNG")
    assert times.rate == Fraction(30000, 1001)
    assert times.stamps[99] * times.time_base == 99 * Fraction(1001, 30000)


def test_a_rate_that_was_rounded_to_milliseconds_is_found_again() -> None:
    rounded = [33, 33, 34] * 20
    assert PictureTimes.of(rounded, "WEBP").rate == 30
    assert PictureTimes.of([70] * 9, "GIF").rate == Fraction(100, 7)
    assert PictureTimes.of([2000, 100, 100], "GIF").rate == Fraction(2, 1) / Fraction(21, 10)


def test_the_picture_for_readers_without_animation_is_no_frame(tmp_path: Path) -> None:
    assert read(animation(tmp_path / "a.png", 40, default_image=True))[0] == [1, 2, 3, 4]


def test_frames_without_an_own_palette_and_with_parts_only_are_whole(tmp_path: Path) -> None:
    frames = [smooth(96, 64).quantize(32) for _ in range(4)]
    for number, frame in enumerate(frames):
        frame.paste(number, (10 * number, 5, 10 * number + 8, 20))
    frames[0].save(tmp_path / "a.gif", save_all=True, append_images=frames[1:], duration=50)
    with open_clip(tmp_path / "a.gif") as clip:
        for read_frame, expected in zip(clip, frames, strict=True):
            assert np.array_equal(read_frame.rgb.transpose(1, 2, 0), np.asarray(expected.convert("RGB")))


@pytest.mark.parametrize("suffix", [".gif", ".png"])
def test_a_cut_animation_is_an_error_or_its_first_frames(tmp_path: Path, suffix: str) -> None:
    noise = [Image.fromarray(np.random.default_rng(n).integers(0, 256, (64, 96, 3)).astype(np.uint8)) for n in range(5)]
    path = tmp_path / f"a{suffix}"
    noise[0].save(path, save_all=True, append_images=noise[1:], duration=40)
    data = path.read_bytes()
    path.write_bytes(data[: int(0.7 * len(data))])
    with pytest.raises(VideoError, match=r"the animation is damaged after 3 frames; replace it, or .* --allow-damaged"):
        read(path)
    _, times, info, notes = read(path, allow_damaged=True)
    assert (len(times), info.estimated_num_frames) == (4, 3)
    assert notes == ["the animation is damaged; 3 frames came"]


def test_a_count_of_frames_that_is_not_there_does_not_keep_anyone_busy(tmp_path: Path) -> None:
    path = animation(tmp_path / "a.png", 40)
    data = bytearray(path.read_bytes())
    start = data.index(b"acTL")
    data[start + 4 : start + 8] = struct.pack(">I", 1 << 30)
    data[start + 12 : start + 16] = struct.pack(">I", zlib.crc32(data[start : start + 12]))
    path.write_bytes(data)
    with pytest.raises(VideoError, match="damaged after 5 frames"):
        read(path)


def test_a_frame_of_another_size_is_named_unless_a_size_is_asked_for(tmp_path: Path) -> None:
    path = animation(tmp_path / "a.gif", 40, 2, optimize=False)
    data = bytearray(path.read_bytes())
    start = data.rindex(b"\x2c\0\0\0\0")  # the second frame begins at 40, 0
    data[start + 1 : start + 3] = struct.pack("<H", 40)
    path.write_bytes(data)
    with pytest.raises(VideoError, match="frame 1 is 136x64 and the ones before are 96x64; give a --size for all"):
        read(path)
    assert read(path, size=(48, 32))[2].width == 48
