"""How a run ends when it is stopped."""

import os
import signal
import subprocess
import time
from pathlib import Path

import pytest

from tests.clips import write_clip
from tests.commands import PATIENCE_SECONDS, start, wait_for


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_the_run_by_that_signal_and_leaves_nothing(tmp_path: Path, number: signal.Signals) -> None:
    clip = write_clip(tmp_path / "clip.mp4", 300, 160, 160)
    process = start("roundtrip", clip, "-o", tmp_path / "out.mp4")
    wait_for(lambda: list(tmp_path.glob(".vae3d-*")), process)
    process.send_signal(number)
    _, errors = process.communicate(timeout=PATIENCE_SECONDS)
    assert process.returncode == -number
    assert b"Traceback" not in errors
    assert list(tmp_path.iterdir()) == [clip]


def test_a_run_waiting_for_its_input_stops(tmp_path: Path) -> None:
    reading, writing = os.pipe()
    process = start("encode", "-", "-o", tmp_path / "out", stdin=reading)
    os.write(writing, b"YUV4MPEG2 W16 H16 F25:1\n" + b"FRAME\n" + bytes(384))
    time.sleep(4)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=PATIENCE_SECONDS)
    os.close(reading)
    os.close(writing)
    assert process.returncode == -signal.SIGINT
    assert errors == b""
    assert list(tmp_path.iterdir()) == []


def test_an_ignored_signal_stays_ignored(tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "clip.mp4", 60, 160, 160)
    process = start(
        "roundtrip",
        clip,
        "-q",
        "-o",
        tmp_path / "out.mp4",
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_IGN),
    )
    wait_for(lambda: list(tmp_path.glob(".vae3d-*")), process)
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=PATIENCE_SECONDS)
    assert process.returncode == 0
    assert (tmp_path / "out.mp4").exists()


@pytest.mark.parametrize("command", ["encode", "decode"])
def test_a_reader_that_goes_away_ends_the_run_quietly(tmp_path: Path, command: str) -> None:
    clip = write_clip(tmp_path / "clip.mp4", 60, 320, 320)
    if command == "decode":
        with start("encode", clip, "-q", "-o", tmp_path / "latents", stdout=subprocess.DEVNULL) as encoding:
            assert encoding.wait(PATIENCE_SECONDS) == 0
        clip = tmp_path / "latents"
    with start(command, clip, "-q", "-o", "-", stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.read(10)
        process.stdout.close()
        assert process.stderr.read() == b""
    assert process.returncode in (0, -signal.SIGPIPE)


def test_a_full_disk_is_one_line(tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "clip.mp4", 5)
    with Path("/dev/full").open("wb") as full:
        process = start("encode", clip, "-o", "-", stdout=full)
        _, errors = process.communicate(timeout=PATIENCE_SECONDS)
    assert process.returncode == 1
    assert errors == b"vae3d: error: <stdout>: No space left on device; nothing was written\n"
