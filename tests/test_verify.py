"""Reading latents files to their end."""

import errno
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from tests.clips import write_clip
from tests.commands import assert_failed, json_lines, run
from vae3d_cli.batch.manifest import NAME, Manifest


@pytest.fixture
def latents(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, small_checkpoint: Path) -> Path:
    """A folder `out` in the current one, with three latents files, a manifest and a file of another program."""
    monkeypatch.chdir(tmp_path)
    for name in ("a.mp4", "sub/b.mp4", "sub/c.mp4"):
        (tmp_path / "clips" / name).parent.mkdir(parents=True, exist_ok=True)
        write_clip(tmp_path / "clips" / name, 6, 16, 16)
    assert run("encode", "clips", "-r", "-q", "-o", "out", "-m", small_checkpoint).exit_code == 0
    save_file({"x": torch.zeros(1)}, "out/model.safetensors")
    (tmp_path / "out" / ".vae3d-0123456789abcdef.part.safetensors").write_bytes(b"half")
    return tmp_path / "out"


def counts() -> list[str]:
    """The figures of the table, in its order, and the status first."""
    result = run("info", "--verify", "out")
    return [str(result.exit_code), *(line.split()[-1] for line in result.stdout.splitlines()[1:])]


def test_whole_files_are_counted_and_those_of_other_programs_are_not_looked_at(latents: Path) -> None:
    assert counts() == ["0", "3", "0", "1"]
    with Manifest(latents):
        assert counts() == ["0", "3", "0", "1"], "while a run writes to it, too"
    lines = json_lines(run("info", "--verify", "out", "--json"))
    assert {str(line["input"]): line["whole"] for line in lines} == {
        **{f"out/{name}.safetensors": True for name in ("a", "sub/b", "sub/c")},
        "out/model.safetensors": None,
    }


def test_a_pipe_in_a_folder_is_named_and_never_opened(latents: Path) -> None:
    os.mkfifo(latents / "pipe.safetensors")
    result = run("info", "--verify", "out")
    assert result.exit_code == 1
    assert "out/pipe.safetensors: a pipe, where a file is expected; move it out of the folder" in result.stderr
    (latents / NAME).unlink()
    os.mkfifo(latents / NAME)
    assert f"out/{NAME}: a pipe, where a file is expected" in run("info", "--verify", "out").stderr
    assert_failed(run("encode", "clips", "-r", "-q", "-o", "out", "-f"), 1, "a pipe, where a file is expected")


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (lambda data: data[:-4], "damaged or cut short"),
        (lambda data: data[:-4] + b"\xff" * 4, "hold values that are not finite"),
        (lambda data: data[:-4] + b"\x01\x02\x03\x04", "is not what the manifest says was written"),
        (lambda data: data.replace(b'"num_frames":"6"', b'"num_frames":"2"'), "has the sizes [3, 2, 2], and 2 frames"),
        (lambda _: b"", "not a vae3d latents file"),
        (lambda data: data.replace(b"latents/1", b"latents/2"), "its format is 'vae3d.latents/2'"),
    ],
)
def test_what_is_wrong_with_a_file_is_said_and_the_others_are_read(latents: Path, damage: object, reason: str) -> None:
    path = latents / "sub" / "b.safetensors"
    path.write_bytes(damage(path.read_bytes()))  # type: ignore[operator]
    assert counts() == ["1", "2", "1", "1"]
    result = run("info", "--verify", "out", "--json")
    (line,) = (line for line in json_lines(result) if line["whole"] is False)
    assert line["input"] == "out/sub/b.safetensors"
    assert reason in str(line["error"])
    assert f"vae3d: error: {line['error']}" in result.stderr
    assert "1 of 4 inputs failed: out/sub/b.safetensors" in result.stderr


def test_a_file_that_the_manifest_lists_must_be_there(latents: Path) -> None:
    (latents / "a.safetensors").unlink()
    assert counts() == ["1", "2", "1", "1"]
    assert "out/a.safetensors: No such file or directory" in run("info", "--verify", "out").stderr


def test_a_file_can_be_verified_by_itself(latents: Path) -> None:
    assert run("info", "--verify", latents / "a.safetensors").exit_code == 0
    assert "no 'format'" in run("info", "--verify", latents / "model.safetensors").stderr
    (latents / "sub" / NAME).write_text("notes\n")
    assert "line 1 is damaged" in run("info", "--verify", latents).stderr


def test_a_folder_without_latents_and_a_pipe_are_errors(latents: Path) -> None:
    (latents / "none").mkdir()
    assert "out/none: there are no latents files in it" in run("info", "--verify", "out/none").stderr
    assert_failed(run("info", "--verify", "-"), 2, "--verify: give files or folders")


@pytest.mark.usefixtures("latents")
def test_a_folder_that_cannot_be_read_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    scan = os.scandir

    def refuse(folder: str) -> Iterator[os.DirEntry[str]]:  # root may read everything
        if Path(folder).name == "sub":
            raise PermissionError(errno.EACCES, "Permission denied", folder)
        return scan(folder)

    monkeypatch.setattr(os, "scandir", refuse)
    result = run("info", "--verify", "out")
    assert result.exit_code == 1
    assert "out/sub: Permission denied" in result.stderr
