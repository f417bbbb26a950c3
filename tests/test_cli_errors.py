"""What goes wrong: the status, one line, and nothing left behind."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.clips import write_clip
from tests.commands import PATIENCE_SECONDS, assert_failed, run
from vae3d_cli.cli.parse import parse_frames
from vae3d_cli.errors import UsageError


def make_bad(folder: Path, kind: str) -> Path:
    path = folder / f"{kind}.mp4"
    if kind == "empty":
        path.touch()
    elif kind == "text":
        path.write_text("no video\n" * 100)
    elif kind == "directory":
        path.mkdir()
    elif kind == "audio":
        import av
        import numpy as np

        path = path.with_suffix(".wav")
        with av.open(str(path), "w") as output:
            stream = output.add_stream("pcm_s16le", rate=8000, layout="mono")
            frame = av.AudioFrame.from_ndarray(np.zeros((1, 800), np.int16), format="s16", layout="mono")
            frame.sample_rate = 8000
            output.mux(stream.encode(frame))
    elif kind == "truncated":
        write_clip(path, 40, container_options={"movflags": "faststart"})
        path.write_bytes(path.read_bytes()[:-1500])
    return path


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        ("missing", "No such file or directory"),
        ("directory", "Is a directory"),
        ("empty", "not a readable video"),
        ("text", "not a readable video"),
        ("audio", "has no video stream"),
        ("truncated", "damaged"),
    ],
)
@pytest.mark.parametrize("command", ["encode", "roundtrip"])
def test_a_bad_video_is_one_line_and_leaves_nothing(tmp_path: Path, command: str, kind: str, reason: str) -> None:
    path = make_bad(tmp_path, kind)
    before = sorted(tmp_path.iterdir())
    output = tmp_path / "out.safetensors"
    arguments = ["-o", output] if command == "encode" else ["--latents", output]
    assert_failed(run(command, path, *arguments), 1, f"{path}: ")
    assert reason in run(command, path, *arguments).stderr
    assert sorted(tmp_path.iterdir()) == before


@pytest.mark.parametrize("suffix", ["txt", "nfo", "ans", "asc", "diz", "c", "ts", "srt", "csv"])
@pytest.mark.parametrize(
    "line", ["A text of many words and no picture.", "1\n00:00:00,000 --> 00:00:02,000\nhi\n", "\x1b[31m"]
)
def test_text_is_not_a_video_whatever_its_name(tmp_path: Path, suffix: str, line: str) -> None:
    path = tmp_path / f"a.{suffix}"
    path.write_text(f"{line}\n" * 50)
    assert_failed(run("encode", path), 1, f"{path}: ")
    assert not path.with_suffix(".safetensors").exists()


@pytest.mark.parametrize("kind", ["missing", "directory", "empty", "text", "truncated"])
def test_a_bad_latents_file_is_one_line_and_leaves_nothing(tmp_path: Path, kind: str) -> None:
    path = make_bad(tmp_path, kind)
    before = sorted(tmp_path.iterdir())
    assert_failed(run("decode", path, "-o", tmp_path / "out.mp4"), 1, f"{path}: ")
    assert sorted(tmp_path.iterdir()) == before


@pytest.mark.parametrize("command", ["decode", "roundtrip", "info", "convert"])
def test_a_folder_where_files_are_read_is_told_what_to_do(tmp_path: Path, command: str) -> None:
    output = ["--format", "comfyui", "-o", tmp_path / "out"] if command == "convert" else []
    assert_failed(run(command, tmp_path, *output), 1, f"{tmp_path}: Is a directory; give the files in it")


@pytest.mark.parametrize("command", ["encode", "roundtrip"])
def test_latents_given_for_a_video_are_told_what_to_do(clip: Path, tmp_path: Path, command: str) -> None:
    assert run("encode", clip, "-q").exit_code == 0
    latents = clip.with_suffix(".safetensors").rename(tmp_path / "a.safetensors")
    output = ["-o", tmp_path / "b.safetensors"] if command == "encode" else []
    assert_failed(run(command, latents, *output), 1, "a safetensors file and no video; vae3d decode")


def test_an_existing_output_is_refused_before_any_work(clip: Path) -> None:
    output = clip.with_suffix(".safetensors")
    output.write_bytes(b"precious")
    assert_failed(run("encode", clip), 1, "exists already")
    assert output.read_bytes() == b"precious"
    skipped = run("encode", clip, "--skip-existing")
    assert (skipped.exit_code, skipped.stdout) == (0, "")
    assert output.read_bytes() == b"precious"
    assert run("encode", clip, "--force").exit_code == 0
    assert output.read_bytes() != b"precious"


def test_the_input_is_never_its_own_output(clip: Path) -> None:
    before = clip.read_bytes()
    assert_failed(run("roundtrip", clip, "-o", clip, "--force"), 2, "-o would overwrite the input; name another output")
    assert clip.read_bytes() == before


@pytest.mark.parametrize(
    "arguments",
    [
        ["encode"],
        ["encode", "CLIP", "--unknown"],
        ["encode", "CLIP", "--posterior", "median"],
        ["encode", "CLIP", "--dtype", "fp8"],
        ["encode", "CLIP", "--device", "gpu"],
        ["encode", "CLIP", "--strategy", "tiled"],
        ["encode", "CLIP", "--seed", "1"],
        ["encode", "CLIP", "--frames", "5:3"],
        ["encode", "CLIP", "--threads", "0"],
        ["encode", "CLIP", "--threads", "100000000"],
        ["decode", "CLIP", "--threads", "100000000"],
        ["roundtrip", "CLIP", "--threads", "1025"],
        ["train", "CLIP", "-o", "run", "--threads", "100000000"],
        ["encode", "CLIP", "--workers", "100000000"],
        ["encode", "CLIP", "--engine", "ray", "--worker-cpus", "1e300"],
        ["encode", "CLIP", "--engine", "ray", "--worker-cpus", "nan"],
        ["encode", "CLIP", "--engine", "ray", "--worker-gpus", "nan"],
        ["encode", "-"],
        ["encode", "-", "CLIP", "-o", "FOLDER"],
        ["encode", "CLIP", "CLIP", "-o", "FOLDER"],
        ["encode", "CLIP", "OTHER", "-o", "-"],
        ["decode", "CLIP", "-o", "out.txt"],
        ["roundtrip", "CLIP", "-o", "out.gif"],
        ["roundtrip", "CLIP", "--fail-under", "beauty=3"],
        ["roundtrip", "CLIP", "--fail-under", "psnr"],
        ["unknown"],
    ],
    ids=" ".join,
)
def test_a_wrong_call_is_status_2_before_any_work(
    clip: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str]
) -> None:
    monkeypatch.chdir(clip.parent)
    names = {"CLIP": clip.name, "OTHER": "other.mp4", "FOLDER": "folder"}
    result = run(*(names.get(argument, argument) for argument in arguments))
    assert result.exit_code == 2
    assert "rror" in result.stderr
    assert result.stdout == ""
    assert [path.name for path in clip.parent.iterdir()] == [clip.name]


def test_a_missing_folder_is_an_error_for_one_input(clip: Path, tmp_path: Path) -> None:
    assert_failed(run("encode", clip, "-o", tmp_path / "none" / "a.safetensors"), 1, "there is no folder")


def test_a_bug_is_one_line_and_a_traceback_only_on_request(clip: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise ZeroDivisionError("oh")

    monkeypatch.setattr("vae3d_cli.codec.encode.Encoding.run", fail)
    assert_failed(run("encode", clip), 1, "ZeroDivisionError: oh; this is a bug")
    monkeypatch.setenv("VAE3D_DEBUG", "1")
    assert "Traceback" in run("encode", clip).stderr


@pytest.mark.parametrize("text", ["", "0", "5:5", "9:3", "a", "1:b", ":5", "5:", "-3", "1:2:3", "²"])
def test_wrong_frames_are_refused(text: str) -> None:
    with pytest.raises(UsageError, match="--frames"):
        parse_frames(text)


def test_a_spool_that_fails_is_one_line_and_stops_no_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clips = [write_clip(tmp_path / f"{name}.mp4", 2) for name in "abc"]
    from vae3d_cli.latents import LatentsSpool

    append = LatentsSpool.append

    def fail_once(*_: object) -> None:
        monkeypatch.setattr(LatentsSpool, "append", append)
        raise OSError(28, os.strerror(28))

    monkeypatch.setattr(LatentsSpool, "append", fail_once)
    result = run("encode", *clips, "-q", "-o", tmp_path / "out")
    assert result.exit_code == 1
    assert len(result.stdout.splitlines()) == 2
    first, summary = result.stderr.splitlines()
    assert first.endswith("a.safetensors: No space left on device; nothing was written")
    assert "1 of 3 inputs failed" in summary


@pytest.mark.parametrize(
    ("redirection", "status"), [("2>&-", 0), (">&-", 1), ("<&-", 0), ("<&- >&- 2>&-", 1)], ids=lambda value: str(value)
)
def test_closed_standard_streams_do_no_harm(clip: Path, redirection: str, status: int) -> None:
    command = f'"{sys.executable}" -m vae3d_cli encode "{clip}" -o "{clip.parent}/out.safetensors" {redirection}'
    result = subprocess.run(["bash", "-c", command], capture_output=True, check=False, timeout=PATIENCE_SECONDS)
    assert result.returncode == status
    assert b"bug" not in result.stderr
    assert (clip.parent / "out.safetensors").stat().st_size > 1000


@pytest.mark.parametrize(
    ("arguments", "status"),
    [
        (["encode", "."], 1),
        (["encode", "/"], 1),
        (["encode", ""], 2),
        (["encode", "CLIP", "-o", "x" * 300], 1),
        (["encode", "CLIP", "-o", "loop"], 1),
        (["encode", "x" * 300 + ".mp4"], 1),
        (["encode", "CLIP", "--frames", "0:99999999999999999999"], 2),
        (["encode", "missing.mp4", "--device", "gpu"], 2),
        (["roundtrip", "CLIP", "-o", "-", "--latents", "-"], 2),
        (["roundtrip", "CLIP", "--fail-under", "psnr=nan"], 2),
        (["roundtrip", "CLIP", "-o", "out.png"], 1),
        (["encode", "nowhere/a.mp4", "nowhere/b.mp4"], 1),
        (["encode", "missing.mp4", "gone.mp4", "-o", "new"], 1),
    ],
    ids=lambda value: " ".join(value)[:40] if isinstance(value, list) else str(value),
)
def test_odd_calls_are_errors_and_no_bugs(
    clip: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], status: int
) -> None:
    monkeypatch.chdir(clip.parent)
    Path("loop").symlink_to("loop")
    before = sorted(clip.parent.iterdir())
    result = run(*(clip.name if argument == "CLIP" else argument for argument in arguments))
    assert result.exit_code == status
    assert "vae3d: error: " in result.stderr
    assert "bug" not in result.stderr
    assert sorted(clip.parent.iterdir()) == before


def test_skipping_does_not_take_a_folder_for_an_output(clip: Path, tmp_path: Path) -> None:
    output = tmp_path / "out" / "clip.safetensors"
    output.mkdir(parents=True)
    assert_failed(run("encode", clip, "-o", tmp_path / "out", "--skip-existing"), 1, f"{output}: is a directory")


@pytest.mark.parametrize("command", ["encode", "decode", "roundtrip", "info"])
def test_a_url_that_cannot_be_read_is_said_to_be_one(command: str) -> None:
    assert_failed(run(command, "http://host/clip.mp4"), 1, "only local files are read here; download it first")


@pytest.mark.parametrize(
    "command", [("encode", "x"), ("roundtrip", "x.mp4"), ("convert", "x.safetensors", "--format", "vae3d")]
)
@pytest.mark.parametrize("folder", [False, True])
def test_a_url_that_cannot_be_written_is_said_to_be_one(command: tuple[str, ...], folder: bool, clip: Path) -> None:
    name, output, *options = command
    output = f"http://host/{'' if folder else output}"
    assert_failed(run(name, clip, "-o", output, *options), 1, "only local files are written here")


@pytest.mark.parametrize("command", ["encode", "decode", "roundtrip", "info"])
def test_a_name_that_is_too_long_is_said_to_be_so(command: str) -> None:
    assert_failed(run(command, "x" * 300), 1, "xxx: File name too long; ")
