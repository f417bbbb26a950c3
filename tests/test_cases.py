"""Outputs when things go wrong. The numbers are those of a list of cases that the project was tested against."""

import json
import os
import pty
import resource
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from tests.clips import read_back, write_clip
from tests.commands import PATIENCE_SECONDS, assert_failed, run, start, wait_for

RUN = [sys.executable, "-m", "vae3d_cli"]


@pytest.fixture
def latents(tmp_path: Path) -> Path:
    """Latents of a clip whose video is too large for a small disk."""
    from vae3d_cli.codec import encode_video
    from vae3d_cli.weights import load_model

    folder = tmp_path / "in"
    folder.mkdir()
    clip = write_clip(folder / "clip.mp4", 16, 160, 160)
    encode_video(clip, folder / "clip.safetensors", load_model("tiny", device="cpu"))
    return folder / "clip.safetensors"


def files_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize("command", ["encode", "decode", "roundtrip"])
def test_case_40_a_terminal_gets_no_bytes(latents: Path, command: str) -> None:
    source = latents if command == "decode" else latents.with_name("clip.mp4")
    terminal, stdout = pty.openpty()
    arguments = [sys.executable, "-m", "vae3d_cli", command, str(source), "-o", "-"]
    result = subprocess.run(arguments, stdout=stdout, stderr=subprocess.PIPE, check=False, timeout=PATIENCE_SECONDS)
    os.close(stdout)
    os.close(terminal)
    assert result.returncode == 2
    assert b"standard output is a terminal" in result.stderr


@pytest.mark.parametrize("command", ["encode", "decode", "roundtrip"])
def test_case_41_a_full_device_is_one_line_and_stays_a_device(latents: Path, command: str) -> None:
    before = Path("/dev/full").stat()
    source = latents if command == "decode" else latents.with_name("clip.mp4")
    assert_failed(run(command, source, "-q", "-o", "/dev/full"), 1, "/dev/full: No space left on device")
    assert Path("/dev/full").stat() == before


@pytest.mark.skipif(os.geteuid() != 0, reason="mounts a small disk")
@pytest.mark.parametrize("command", ["encode", "decode"])
def test_case_41_a_full_disk_is_one_line_and_keeps_the_old_file(tmp_path: Path, latents: Path, command: str) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=96k", "none", disk], capture_output=True).returncode:
        pytest.skip("no mounts here")
    try:
        out = disk / ("out.mkv" if command == "decode" else "out.safetensors")
        out.write_bytes(b"old")
        source = latents if command == "decode" else latents.with_name("clip.mp4")
        options = ["--lossless"] if command == "decode" else []
        assert_failed(run(command, source, "-q", "-f", "-o", out, *options), 1, f"{out.name}: No space left on device")
        assert out.read_bytes() == b"old"
        assert files_in(disk) == [out.name]
        assert os.statvfs(disk).f_bfree * 4096 >= 80 * 1024  # nothing holds the space
    finally:
        subprocess.run(["umount", disk], check=True)


def test_case_42_a_file_size_limit_is_one_line_and_keeps_the_old_file(tmp_path: Path, latents: Path) -> None:
    out = tmp_path / "out.mkv"
    out.write_bytes(b"old")
    process = start(
        *("decode", latents, "-q", "-f", "--lossless", "-o", out),
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, 50_000)),
    )
    _, errors = process.communicate(timeout=PATIENCE_SECONDS)
    assert (process.returncode, errors) == (1, f"vae3d: error: {out}: File too large; nothing was written\n".encode())
    assert out.read_bytes() == b"old"
    assert files_in(tmp_path) == ["in", "out.mkv"]


@pytest.mark.parametrize("big", [["--lossless", "-o", "out.mkv"], ["--report", "out.html"]], ids=" ".join)
def test_no_output_of_a_roundtrip_appears_where_there_is_no_room_for_another(tmp_path: Path, big: list[str]) -> None:
    clip = write_clip(tmp_path / "clip.mp4", 16, 64, 48)
    process = start(
        *("roundtrip", clip, "-q", "--csv", "small.csv", "--latents", "small.safetensors", *big),
        stdout=subprocess.DEVNULL,
        cwd=tmp_path,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (30_000, 30_000)),
    )
    _, errors = process.communicate(timeout=PATIENCE_SECONDS)
    reason = f"vae3d: error: {big[-1]}: File too large; nothing was written\n"
    assert (process.returncode, errors.decode()) == (1, reason)
    assert files_in(tmp_path) == ["clip.mp4"]


def test_case_44_an_output_is_replaced_on_request_with_its_mode_kept(tmp_path: Path, latents: Path) -> None:
    out = tmp_path / "out.mp4"
    out.write_bytes(b"old")
    out.chmod(0o640)
    assert_failed(run("decode", latents, "-o", out), 1, "exists already")
    assert out.read_bytes() == b"old"
    assert run("decode", latents, "-o", out, "-f").exit_code == 0
    assert out.stat().st_mode & 0o777 == 0o640
    assert len(read_back(out)[0]) == 16


def test_case_45_links_stay_links_and_devices_devices_and_fifos_stream(tmp_path: Path, latents: Path) -> None:
    target, link, fifo = tmp_path / "target.mp4", tmp_path / "link.mp4", tmp_path / "fifo"
    link.symlink_to(target)
    assert run("decode", latents, "-o", link).exit_code == 0
    assert link.is_symlink()
    assert len(read_back(target)[0]) == 16
    before = Path(os.devnull).stat()
    for command, source in (("decode", latents), ("encode", latents.with_name("clip.mp4"))):
        assert run(command, source, "-o", os.devnull).exit_code == 0
    assert (Path(os.devnull).stat().st_mode, Path(os.devnull).stat().st_rdev) == (before.st_mode, before.st_rdev)
    os.mkfifo(fifo)
    received: list[bytes] = []
    thread = threading.Thread(target=lambda: received.append(fifo.read_bytes()))
    thread.start()
    assert run("decode", latents, "-o", fifo, "--container", "mp4").exit_code == 0
    thread.join()
    assert fifo.is_fifo()
    (tmp_path / "copy.mp4").write_bytes(received[0])
    assert len(read_back(tmp_path / "copy.mp4")[0]) == 16


def test_case_45_a_fifo_that_nobody_reads_can_be_interrupted(tmp_path: Path, latents: Path) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    process = start("decode", latents, "-v", "-o", fifo)
    assert process.stderr is not None
    while b"loaded in" not in process.stderr.readline():
        assert process.poll() is None
    time.sleep(1)
    assert process.poll() is None
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=PATIENCE_SECONDS)
    assert process.returncode == -signal.SIGINT
    assert b"Traceback" not in errors


def test_case_46_the_input_is_never_destroyed(tmp_path: Path, latents: Path) -> None:
    before, link = latents.read_bytes(), tmp_path / "link.mp4"
    link.symlink_to(latents)
    for out in (latents, link):
        assert run("decode", latents, "-f", "-o", out).exit_code in (1, 2)
        assert latents.read_bytes() == before
    clip = latents.with_name("clip.mp4")
    before = clip.read_bytes()
    os.link(clip, tmp_path / "hard.mp4")
    assert_failed(run("roundtrip", clip, "-f", "-o", tmp_path / "hard.mp4"), 2, "-o would overwrite the input")
    assert clip.read_bytes() == before


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGKILL])
def test_cases_47_and_48_a_signal_keeps_the_old_file(tmp_path: Path, number: signal.Signals) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "out").mkdir()
    clip, out = write_clip(tmp_path / "in" / "clip.mp4", 300, 160, 160), tmp_path / "out" / "out.mp4"
    out.write_bytes(b"old")
    process = start("roundtrip", clip, "-q", "-f", "-o", out)
    wait_for(lambda: list((tmp_path / "out").glob(".vae3d-*")), process)
    process.send_signal(number)
    _, errors = process.communicate(timeout=PATIENCE_SECONDS)
    assert (process.returncode, errors) == (-number, b"")
    assert out.read_bytes() == b"old"
    left = [name for name in files_in(tmp_path / "out") if name != "out.mp4"]
    assert left == [] if number != signal.SIGKILL else all(name.startswith(".vae3d-") for name in left)


@pytest.mark.parametrize(
    "options",
    [
        ["-o", "out.gif"],
        ["-o", "out"],
        ["-o", "out.webm", "--codec", "libx264"],
        ["-o", "out.mp4", "--codec", "h266"],
        ["-o", "out.mp4", "--crf", "77"],
        ["-o", "out.mp4", "--crf", "nan"],
        ["-o", "out.mp4", "--crf", "good"],
        ["-o", "out.mp4", "--preset", "faaast"],
        ["-o", "out.mp4", "--pix-fmt", "yuv999"],
        ["-o", "out.mp4", "--lossless", "--pix-fmt", "yuv420p"],
        ["-o", "out.mp4", "--container", "nut"],
        ["-o", "-", "--container", "avi"],
        ["-o", "-", "--container", "y4m", "--lossless"],
        ["-o", "out.png", "--codec", "libx264"],
    ],
    ids=" ".join,
)
@pytest.mark.parametrize("command", ["decode", "roundtrip"])
def test_case_50_what_cannot_be_written_is_status_2_before_any_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: str, options: list[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    # Neither the input nor the model is looked for: nothing was done.
    result = run(command, "missing", "-m", "missing/model", *options)
    assert (result.exit_code, result.stdout) == (2, "")
    assert "rror" in result.stderr
    assert "missing" not in result.stderr
    assert files_in(tmp_path) == []


def test_case_50_options_of_an_encoder_need_a_video(clip: Path) -> None:
    assert_failed(run("roundtrip", clip, "--crf", "3"), 2, "give -o")


def test_case_59_of_two_runs_that_write_one_file_the_last_wins_whole(tmp_path: Path, latents: Path) -> None:
    out = tmp_path / "out.mkv"
    runs = [start("decode", latents, "-q", "-f", "--lossless", "-o", out) for _ in range(2)]
    seen = set()
    while any(process.poll() is None for process in runs):
        if out.exists():
            seen.add(len(read_back(out)[0]))
        time.sleep(0.05)
    assert [process.communicate()[1] for process in runs] == [b"", b""]
    assert [process.returncode for process in runs] == [0, 0]
    assert seen | {len(read_back(out)[0])} == {16}
    assert files_in(tmp_path) == ["in", "out.mkv"]


def test_case_61_two_runs_give_the_same_latents_and_the_same_lossless_video(tmp_path: Path, latents: Path) -> None:
    for name in "ab":
        assert run("encode", latents.with_name("clip.mp4"), "-o", tmp_path / f"{name}.safetensors").exit_code == 0
        assert run("decode", latents, "--lossless", "-o", tmp_path / f"{name}.mkv").exit_code == 0
    assert (tmp_path / "a.safetensors").read_bytes() == (tmp_path / "b.safetensors").read_bytes()
    first, second = (read_back(tmp_path / f"{name}.mkv")[0] for name in "ab")
    assert all((a == b).all() for a, b in zip(first, second, strict=True))


def test_decode_takes_the_options_of_the_encoder(tmp_path: Path, latents: Path) -> None:
    out = tmp_path / "out.mkv"
    result = run("decode", latents, "-o", out, "--codec", "libx265", "--crf", "30", "--preset", "ultrafast", "-q")
    assert (result.exit_code, result.stderr) == (0, "")
    described = json.loads(run("info", out, "--json").stdout)
    assert (described["codec"], described["num_frames"]) == ("hevc", 16)


def test_roundtrip_measures_what_lossless_writes(tmp_path: Path, clip: Path) -> None:
    out = tmp_path / "out.mp4"
    assert run("roundtrip", clip, "--lossless", "-o", out, "-q").exit_code == 0
    assert run("roundtrip", clip, "--lossless", "-o", tmp_path / "out.mkv", "-q").exit_code == 0
    for a, b in zip(read_back(out)[0], read_back(tmp_path / "out.mkv")[0], strict=True):
        assert (a == b).all()
