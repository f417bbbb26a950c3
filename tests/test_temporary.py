"""What a run that was killed leaves, and the next one removes."""

import os
import signal
from pathlib import Path

import pytest

from tests.clips import write_clip
from tests.commands import run, run_bytes, start, wait_for
from vae3d_cli.temporary import TemporaryFolder, remove_orphans, temporary_file

NAME = ".vae3d-0123456789abcdef.part"


@pytest.fixture(autouse=True)
def temporaries(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where temporary files lie."""
    folder = tmp_path_factory.mktemp("temporaries")
    monkeypatch.setenv("TMPDIR", str(folder))
    monkeypatch.setattr("tempfile.tempdir", None)
    return folder


def test_what_a_killed_roundtrip_leaves_is_removed_by_the_next_run(tmp_path: Path, temporaries: Path) -> None:
    clip = write_clip(tmp_path / "clip.mp4", 300, 160, 160)
    report = tmp_path / "report.html"
    with (
        clip.open("rb") as file,
        start("roundtrip", "-", "-o", tmp_path / "out.mp4", "--report", report, stdin=file) as process,
    ):
        wait_for(lambda: list(tmp_path.glob(".vae3d-*")) and len(list(temporaries.iterdir())) == 2, process)
        process.send_signal(signal.SIGKILL)
    assert list(tmp_path.glob(".vae3d-*"))
    done = run_bytes("encode", clip, "-q", "--frames", 5, "-o", tmp_path / "out.safetensors")
    assert done.returncode == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["clip.mp4", "out.safetensors"]
    assert list(temporaries.iterdir()) == []


@pytest.mark.parametrize("command", ["encode", "decode", "roundtrip", "convert"])
def test_every_command_removes_what_dead_runs_left(clip: Path, tmp_path: Path, temporaries: Path, command: str) -> None:
    assert run("encode", clip, "-q").exit_code == 0
    folder = tmp_path / "outputs"
    folder.mkdir()
    for place in (folder, temporaries):
        (place / f"{NAME}.mp4").touch()
        (place / NAME).mkdir()
        (place / NAME / "copy").touch()
    source = clip if command in ("encode", "roundtrip") else clip.with_suffix(".safetensors")
    output = folder / ("out.mp4" if command in ("decode", "roundtrip") else "out.safetensors")
    options = ["--format", "vae3d"] if command == "convert" else []
    assert run(command, source, "-o", output, *options).exit_code == 0
    assert list(folder.iterdir()) == [output]
    assert list(temporaries.iterdir()) == []


def test_what_a_living_run_needs_stays(tmp_path: Path, temporaries: Path) -> None:
    with temporary_file(tmp_path, ".mp4") as file, TemporaryFolder() as folder:
        for place in (tmp_path, temporaries):
            remove_orphans(place)
        assert file.path.exists()
        assert folder.parent == temporaries
        assert folder.exists()
    assert list(tmp_path.iterdir()) == list(temporaries.iterdir()) == []


def test_only_names_of_ours_are_removed(tmp_path: Path) -> None:
    names = ["vae3d-notes.txt", ".vae3d-notes.part", "clip.part", f"x{NAME}"]
    for name in names:
        (tmp_path / name).touch()
    (tmp_path / NAME).symlink_to(tmp_path / "clip.part")
    os.mkfifo(tmp_path / f"{NAME}.fifo")
    remove_orphans(tmp_path)
    assert {*names, NAME} == {path.name for path in tmp_path.iterdir()}


def test_a_file_that_another_run_removes_before_it_is_locked_is_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import fcntl

    lock = fcntl.flock

    def remove_first(handle: int, how: int) -> None:
        monkeypatch.setattr(fcntl, "flock", lock)
        remove_orphans(tmp_path)
        lock(handle, how)

    monkeypatch.setattr(fcntl, "flock", remove_first)
    with temporary_file(tmp_path) as file:
        assert file.path.exists()


def test_a_copy_of_standard_input_is_removed_when_the_run_ends(clip: Path, temporaries: Path) -> None:
    assert run_bytes("roundtrip", "-", "-q", stdin=clip.read_bytes()).returncode == 0
    assert list(temporaries.iterdir()) == []
