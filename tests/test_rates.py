"""The rate of a clip: the container's if the frames keep to it, otherwise the mean of their times."""

import json
import random
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from tests.clips import NTSC, read_back, write_clip
from tests.commands import run
from tests.test_cli_reading import metadata_of
from vae3d_cli.video import Frame, Timing, open_clip
from vae3d_cli.video.filters import at_rate

MS = Fraction(1, 1000)


def recorded(path: Path, num_frames: int = 60) -> tuple[Path, Fraction]:
    """A clip as a browser records it, of about 30 frames a second at milliseconds that jitter, and its rate."""
    rng = random.Random(1)
    times = [0]
    while len(times) < num_frames:
        times.append(times[-1] + rng.choice((31, 32, 33, 34, 36, 38, 41)))
    write_clip(path, num_frames, rate=Fraction(1000), codec="libvpx", stamps=(MS, times))
    return path, (num_frames - 1) / (times[-1] * MS)


def test_rate_of_a_jittering_clip_is_that_of_its_frames(tmp_path: Path) -> None:
    clip, rate = recorded(tmp_path / "a.webm")
    described = json.loads(run("info", clip, "--json").stdout)
    assert Fraction(described["rate"]) == rate
    assert run("encode", clip).exit_code == 0
    header = metadata_of(tmp_path / "a.safetensors")
    assert Fraction(header["rate"]) == rate
    assert "last_duration" not in header  # FFmpeg's one tick a frame is invented
    assert run("decode", tmp_path / "a.safetensors", "-o", tmp_path / "out.y4m").exit_code == 0
    _, times = read_back(tmp_path / "out.y4m")
    assert times[-1] == pytest.approx(59 / rate)
    assert run("decode", tmp_path / "a.safetensors", "-o", tmp_path / "out.mkv").exit_code == 0
    assert read_back(tmp_path / "out.mkv")[1] == read_back(clip)[1]


def test_rate_of_selected_frames_is_theirs(tmp_path: Path) -> None:
    times = [*range(0, 400, 40), *range(400, 1400, 100)]
    clip = write_clip(tmp_path / "a.webm", 20, rate=Fraction(1000), codec="libvpx", stamps=(MS, times))
    rates = []
    for frames in ("10", "10:20", "0:20"):
        assert run("encode", clip, "--frames", frames, "-f").exit_code == 0
        rates.append(Fraction(metadata_of(tmp_path / "a.safetensors")["rate"]))
    assert rates == [25, 10, pytest.approx(19 / 1.3)]


def test_single_frame_takes_no_invented_rate_or_duration(tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "a.webm", 1, rate=Fraction(1000), codec="libvpx", stamps=(MS, [0]))
    assert run("encode", clip).exit_code == 0
    header = metadata_of(tmp_path / "a.safetensors")
    assert header["rate"] == "25/1"
    assert "last_duration" not in header


def test_resampling_keeps_the_length_of_a_jittering_clip(tmp_path: Path) -> None:
    clip, rate = recorded(tmp_path / "a.webm")
    assert run("encode", clip, "--fps", "30").exit_code == 0
    assert int(metadata_of(tmp_path / "a.safetensors")["num_frames"]) == round(60 / rate * 30)


def test_last_frame_without_a_duration_lasts_as_long_as_others() -> None:
    frames = [Frame(np.full(1, n, np.uint8), 100 * n) for n in range(4)]
    assert len(list(at_rate(frames, MS, Fraction(1000), Fraction(20)))) == 8


@pytest.mark.parametrize("rate", [Fraction(24), NTSC, Fraction(30), Fraction(25, 2), Fraction(24000, 1001)])
@pytest.mark.parametrize("base", [MS, Fraction(1, 90000), Fraction(1, 12800)])
@pytest.mark.parametrize("guess", [Fraction(1000), Fraction(60)])
def test_constant_rate_is_found_whatever_the_container_guesses(rate: Fraction, base: Fraction, guess: Fraction) -> None:
    times = np.array([round(n / rate / base) for n in range(100)])
    assert Timing.of(guess, base, times) == Timing(rate)


@pytest.mark.parametrize("rate", [Fraction(24), NTSC, Fraction(30)])
def test_rate_that_jitter_hides_is_the_standard_one(rate: Fraction) -> None:
    rng = np.random.default_rng(0)
    base = Fraction(1, 90000)
    times = np.array([round(n / rate / base) for n in range(300)]) + rng.integers(-60, 60, 300)
    timing = Timing.of(Fraction(90), base, times)
    assert timing.rate == rate
    assert timing.pts is not None


def test_pauses_count_and_jumps_that_no_video_has_do_not() -> None:
    times = np.array([0, 33, 67, 5000])
    assert Timing.of(Fraction(30), MS, times).rate == Fraction(3, 5)
    assert Timing.of(Fraction(30), MS, np.array([0, 33, 67, 1 << 40])).rate == 30
    assert Timing.of(Fraction(30), Fraction(1, 90000), np.array([0, 1, 2, 3])).rate == 30  # mended, not measured


def test_rate_fits_into_a_header() -> None:
    rng = np.random.default_rng(0)
    times = np.cumsum(rng.integers(1, 1 << 20, 1001))
    for base in (MS, Fraction(1, 1 << 24), Fraction(1001, 30000)):
        rate = Timing.of(Fraction(25), base, times).rate
        assert max(rate.as_integer_ratio()) < 1 << 31
        own = 1000 / float(int(times[-1] - times[0]) * base)
        assert rate == 25 if not 1e-3 <= own <= 1e3 else float(rate) == pytest.approx(own, rel=1e-5)


def test_durations_that_fit_the_times_are_kept(tmp_path: Path) -> None:
    clip, _ = recorded(tmp_path / "a.webm", 9)
    with open_clip(clip) as video:
        assert [frame.duration for frame in video] == [0] * 9
    clip = write_clip(tmp_path / "a.mp4", 9, rate=NTSC)
    with open_clip(clip) as video:
        assert {frame.duration * video.info.time_base for frame in video} == {1 / NTSC}
