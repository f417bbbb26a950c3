"""How a run ends when it is stopped."""

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from tests.clips import write_clip
from tests.commands import PATIENCE_SECONDS, assert_failed, run, run_bytes, start, wait_for
from vae3d_cli.cli import guard

# It says when its signals are its own: Python itself takes the first milliseconds.
BEGINNING = "import os; from vae3d_cli.__main__ import main; os.write(1, b'.'); main()"


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


@pytest.mark.parametrize(
    ("number", "seconds"), [*((signal.SIGINT, part) for part in (0.02, 0.2, 0.6, 1.2, 2)), (signal.SIGTERM, 0.6)]
)
def test_a_signal_while_modules_are_imported_ends_the_program_quietly(
    tmp_path: Path, number: signal.Signals, seconds: float
) -> None:
    clip = write_clip(tmp_path / "clip.mp4", 60, 160, 160)
    process = subprocess.Popen(
        [sys.executable, "-c", BEGINNING, "roundtrip", clip, "-q", "-o", tmp_path / "out.mp4"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    with process:
        assert process.stdout is not None
        assert process.stdout.read(1) == b"."
        time.sleep(seconds)
        process.send_signal(number)
        _, errors = process.communicate(timeout=PATIENCE_SECONDS)
    assert process.returncode in (-number, 0)  # it may have been done
    assert errors == b""
    assert not [*tmp_path.glob(".vae3d-*")]


def test_a_signal_that_python_swallows_comes_again() -> None:
    class Swallowing:
        def __del__(self) -> None:
            signal.raise_signal(signal.SIGINT)

    def wait() -> None:
        with guard._signals():
            Swallowing()
            threading.Event().wait(PATIENCE_SECONDS)

    handler = signal.getsignal(signal.SIGINT)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt):
            wait()
    finally:
        signal.signal(signal.SIGINT, handler)


PRINTING = [
    ["--help"],
    ["models"],
    ["info", "CLIP", "CLIP", "--json"],
    ["encode", "CLIP", "-q", "-f"],
    ["encode", "CLIP", "-q", "-o", "-"],
    ["roundtrip", "CLIP", "-q", "--report", "-"],
]


@pytest.mark.parametrize("arguments", PRINTING, ids=" ".join)
def test_a_full_device_as_standard_output_is_one_line(clip: Path, arguments: list[str]) -> None:
    with Path("/dev/full").open("wb") as full:
        process = start(*(clip if word == "CLIP" else word for word in arguments), stdout=full)
        _, errors = process.communicate(timeout=PATIENCE_SECONDS)
    assert process.returncode == 1
    assert errors == b"vae3d: error: standard output: No space left on device\n"


@pytest.mark.parametrize("arguments", PRINTING, ids=" ".join)
def test_a_pipe_that_nobody_reads_ends_the_program_by_its_signal(clip: Path, arguments: list[str]) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    process = start(*(clip if word == "CLIP" else word for word in arguments), stdout=writing)
    os.close(writing)
    _, errors = process.communicate(timeout=PATIENCE_SECONDS)
    assert process.returncode == -signal.SIGPIPE
    assert errors == b""


@pytest.mark.parametrize(
    "arguments", [["--version"], ["info", "CLIP"], ["encode", "CLIP", "-q", "-o", "-"]], ids=" ".join
)
def test_a_closed_standard_output_is_an_error(clip: Path, arguments: list[str]) -> None:
    words = " ".join(f'"{clip}"' if word == "CLIP" else word for word in arguments)
    command = f'"{sys.executable}" -m vae3d_cli {words} >&-'
    result = subprocess.run(["bash", "-c", command], capture_output=True, check=False, timeout=PATIENCE_SECONDS)
    assert result.returncode == 1
    assert result.stderr.startswith(b"vae3d: error: standard output")
    assert result.stderr.count(b"\n") == 1


def test_a_note_that_cannot_be_printed_does_no_harm(clip: Path) -> None:
    with Path("/dev/full").open("wb") as full:
        process = start("encode", clip, stdout=subprocess.DEVNULL, stderr=full)
        assert process.wait(PATIENCE_SECONDS) == 0
    assert clip.with_suffix(".safetensors").exists()


def test_a_deleted_working_folder_is_one_line(
    clip: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path_factory.mktemp("gone")
    monkeypatch.chdir(folder)
    folder.rmdir()
    assert_failed(run("info", clip), 1, "the current folder was deleted; change to another one")


def test_warnings_of_libraries_do_not_reach_the_user(tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text("import atexit, warnings; atexit.register(warnings.warn, 'a warning')")
    quiet = run_bytes("--version", environment={"PYTHONPATH": f"{tmp_path}:{Path.cwd()}"})
    assert quiet.stderr == b""
    asked = run_bytes("--version", environment={"PYTHONPATH": f"{tmp_path}:{Path.cwd()}", "PYTHONWARNINGS": "default"})
    assert b"a warning" in asked.stderr
