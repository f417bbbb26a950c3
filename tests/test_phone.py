"""Files as phones and FFmpeg make them come back with their frames, times and size, read by PyAV alone."""

from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import av
import pytest

from tests.clips import NTSC, read_back, write_clip
from tests.commands import run
from tests.test_reading import ONE, write_timed
from vae3d_cli.codec import roundtrip_video
from vae3d_cli.weights import Model

TICK = Fraction(1, 90000)
# A phone's rate wanders; one frame lasts a tick, and one long.
WANDERING = [12345, 15350, 18333, 18334, 21400, 111400, 114390, 117400, 120380]
FRAGMENTED = {"movflags": "frag_keyframe+empty_moov+default_base_moof"}
B_FRAMES = {"bf": "3", "g": "12"}
QUARTER_TURN = (0, ONE, 0, -ONE, 0, 0, 0, 0, 1 << 30)

KINDS: dict[str, Callable[[Path], Path]] = {
    "with B-frames": lambda path: write_clip(path, 14, options=B_FRAMES),
    "of variable rate": lambda path: write_clip(path, 9, stamps=(TICK, WANDERING), options={"bf": "0"}),
    "of variable rate with B-frames": lambda path: write_clip(path, 9, stamps=(TICK, WANDERING), options=B_FRAMES),
    "in fragments": lambda path: write_clip(path, 14, container_options=FRAGMENTED, options=B_FRAMES),
    "at 24000/1001": lambda path: write_clip(path, 9, rate=Fraction(24000, 1001)),
    "that starts late": lambda path: write_clip(path, 9, stamps=(1 / NTSC, list(range(7, 16)))),
    "held upright": lambda path: write_timed(path, TICK, WANDERING, [3000] * 9, QUARTER_TURN),
}


def last_duration(path: Path) -> Fraction:
    """Seconds that the last frame shown lasts, by PyAV alone."""
    with av.open(str(path)) as container:
        packets = [packet for packet in container.demux(video=0) if packet.size]
        last = max(packets, key=lambda packet: packet.pts or 0)
        return (last.duration or 0) * Fraction(last.time_base or 0)


def test_a_last_frame_that_is_held_is_held_again(tmp_path: Path) -> None:
    clip = write_timed(tmp_path / "clip.mp4", TICK, [0, 3000, 6000, 9000], [3000, 3000, 3000, 63000])
    assert run("encode", clip, "-q").exit_code == 0
    whole, part = tmp_path / "whole.mp4", tmp_path / "part.mp4"
    assert run("decode", clip.with_suffix(".safetensors"), "-o", whole, "-q").exit_code == 0
    assert run("decode", clip.with_suffix(".safetensors"), "-o", part, "-q", "--frames", 3).exit_code == 0
    assert last_duration(whole) == last_duration(clip) == Fraction(7, 10)
    assert last_duration(part) == Fraction(1, 30)


@pytest.mark.parametrize("num_frames", [2, 3, 4, 7, 8])
def test_b_frames_do_not_hide_a_held_last_frame(tmp_path: Path, small: Model, num_frames: int) -> None:
    stamps = [3000 * number for number in range(num_frames)]
    clip = write_timed(tmp_path / "clip.mp4", TICK, stamps, [3000] * (num_frames - 1) + [63000])
    for suffix in (".mp4", ".mov"):
        recon = tmp_path / f"out{suffix}"
        roundtrip_video(clip, small, outputs={"recon": recon})
        assert last_duration(recon) == Fraction(7, 10)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("suffix", [".mp4", ".mov", ".nut"])
def test_a_clip_comes_back_with_its_frames_times_and_size(tmp_path: Path, kind: str, suffix: str) -> None:
    clip = KINDS[kind](tmp_path / "clip.mp4")
    assert run("encode", clip, "-q").exit_code == 0
    output = tmp_path / f"out{suffix}"
    assert run("decode", clip.with_suffix(".safetensors"), "-o", output, "-q").exit_code == 0
    frames, times = read_back(output)
    expected, expected_times = read_back(clip)
    height, width, _ = expected[0].shape
    shape = (width, height, 3) if kind == "held upright" else (height, width, 3)
    assert [frame.shape for frame in frames] == [shape] * len(expected)
    assert [time - times[0] for time in times] == [time - expected_times[0] for time in expected_times]
