"""No output is an input or another output, whatever the spelling, and with --force too."""

import errno
import json
import os
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from tests.clips import write_clip
from tests.commands import PATIENCE_SECONDS, assert_failed, run
from tests.foreign import LATENTS
from tests.outputs import manifest
from tests.test_convert import HEADER, own
from vae3d_cli.batch import Found, check_apart, plan_clips
from vae3d_cli.batch.manifest import NAME
from vae3d_cli.codec import EncodeOptions

INPUT = "would overwrite the input"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, with two clips, latents, other files that are read, and other names for some."""
    monkeypatch.chdir(tmp_path)
    for number, name in enumerate("ab", 2):
        write_clip(tmp_path / f"{name}.mp4", number)
    own(tmp_path, name="l.safetensors")
    for name in ("weights", "v.mp4", "models/x", "models/vae/y"):
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).write_text("no weights")
    Path("names.jsonl").write_text(json.dumps({"path": "a.mp4", "output": "to list"}))
    Path("manifest.jsonl").write_text(json.dumps({"path": "a.mp4", "output": "to manifest"}))
    Path("out").mkdir()
    links = {"link": "a.mp4", "here": ".", "out/to list": "../names.jsonl", "out/to manifest": NAME}
    for name, target in links.items():
        Path(name).symlink_to(target)
    os.link("b.mp4", "hard")
    return tmp_path


def contents(folder: Path) -> dict[Path, bytes | None]:
    return {path: path.read_bytes() if path.is_file() else None for path in folder.rglob("*")}


@pytest.mark.parametrize(
    ("command", "reason"),
    [
        ("roundtrip a.mp4 -o a.mp4", f"a.mp4: -o {INPUT}; name another output"),
        ("roundtrip a.mp4 b.mp4 --report hard", f"hard: --report {INPUT} (b.mp4)"),
        ("roundtrip a.mp4 --csv link", f"link: --csv {INPUT} (a.mp4)"),
        ("roundtrip a.mp4 -o ./out/../a.mp4", f"out/../a.mp4: -o {INPUT} (a.mp4)"),
        ("roundtrip a.mp4 -o here/here/a.mp4", f"here/here/a.mp4: -o {INPUT} (a.mp4)"),
        ("roundtrip a.mp4 -o .", f"a.mp4: -o {INPUT}"),
        ("roundtrip a.mp4 --csv x --report ./x", "x: --report and --csv would both be written to this file"),
        (
            "roundtrip a.mp4 --csv x --latents here/x",
            "x: --latents (here/x) and --csv would both be written to this file",
        ),
        ("roundtrip a.mp4 here/a.mp4 --csv new/", "new/a.csv: --csv of a.mp4 and --csv of here/a.mp4 would both"),
        ("roundtrip a.mp4 --lpips weights --csv weights", "weights: --csv would overwrite the LPIPS weights"),
        ("roundtrip a.mp4 -m tiny -m weights --report weights", "weights: --report would overwrite the model"),
        ("roundtrip a.mp4 -m models --csv models/x", "models/x: --csv would overwrite the model"),
        ("roundtrip a.mp4 -m models --csv models/vae/y", "models/vae/y: --csv would overwrite the model"),
        ("decode l.safetensors -o b.mp4 --audio hard", "b.mp4: -o would overwrite the audio source (hard)"),
        ("decode l.safetensors -o v.mp4 -m v.mp4", "v.mp4: -o would overwrite the model"),
        ("encode a.mp4 -o link", f"link: the output of a.mp4 {INPUT} (a.mp4)"),
        ("encode a.mp4 -o weights -m weights", "weights: the output of a.mp4 would overwrite the model"),
        ("encode a.mp4 a.mp4 -o out", "a.safetensors: the output of a.mp4 and the output of a.mp4 would both"),
        ("encode --list names.jsonl -o out", "out/to list: the output of a.mp4 would overwrite the list (names.jsonl)"),
        ("encode --list manifest.jsonl -o out", f"out/to manifest: the manifest (out/{NAME}) and the output of a.mp4"),
        ("convert l.safetensors -o here/ --format vae3d", f"here/l.safetensors: -o {INPUT} (l.safetensors)"),
    ],
)
def test_an_output_that_is_read_or_written_too_is_status_2(folder: Path, command: str, reason: str) -> None:
    before = contents(folder)
    for more in ([], ["--force"], ["--skip-existing"]):
        assert_failed(run(*command.split(), *more), 2, reason)
    assert contents(folder) == before


@pytest.mark.usefixtures("folder")
def test_a_model_of_the_environment_is_read_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VAE3D_MODEL", "weights")
    for command in ("encode a.mp4 -o here/weights", "roundtrip a.mp4 --csv here/weights"):
        assert_failed(run(*command.split(), "-f"), 2, "would overwrite the model (weights)")
    monkeypatch.setenv("VAE3D_MODEL", "v.mp4")
    assert_failed(run("decode", "l.safetensors", "-o", "here/v.mp4", "-f"), 2, "would overwrite the model (v.mp4)")


@pytest.mark.usefixtures("folder")
def test_a_new_file_in_the_folder_of_a_model_is_no_part_of_it() -> None:
    assert_failed(run("encode", "a.mp4", "-m", "models", "-o", "models/new"), 1, "no checkpoint in this folder")


def test_a_file_behind_a_standard_stream_is_an_input_or_an_output_too(folder: Path) -> None:
    before = contents(folder)
    with Path("a.mp4").open("rb") as stdin:
        command = [sys.executable, "-m", "vae3d_cli", "roundtrip", "-", "--csv", "link", "-f"]
        result = subprocess.run(command, stdin=stdin, capture_output=True, check=False, timeout=PATIENCE_SECONDS)
    assert (result.returncode, result.stdout) == (2, b"")
    assert b"link: --csv would overwrite the input (-)" in result.stderr
    with Path("b.mp4").open("ab") as stdout:
        command = [sys.executable, "-m", "vae3d_cli", "encode", "b.mp4", "-o", "-"]
        result = subprocess.run(command, stdout=stdout, stderr=subprocess.PIPE, check=False, timeout=PATIENCE_SECONDS)
    assert result.returncode == 2
    assert b"-: the output of b.mp4 would overwrite the input (b.mp4)" in result.stderr
    assert contents(folder) == before


def test_a_cache_of_musubi_that_is_an_input_is_not_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    source = own(tmp_path, name="a.safetensors")
    assert run("convert", source, "-o", ".", "--format", "musubi").exit_code == 0
    (cache,) = tmp_path.glob("a_*")
    before = contents(tmp_path)
    result = run("convert", source, cache, "-o", ".", "--format", "musubi", "-f")
    assert_failed(result, 2, f"{cache.name}: -o of {source} would overwrite the input ({cache})")
    assert contents(tmp_path) == before


def refuse(number: int) -> object:
    def fail(*_: object, **__: object) -> None:
        raise OSError(number, os.strerror(number))

    return fail


@pytest.fixture
def met(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, where the second of two outputs is the first and nothing says so before the run.

    So it is on a disk without case; here a link does it, which is hidden from the check before the run.
    """
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("vae3d_cli.batch.refuse_collisions", lambda *_: None)
    monkeypatch.setattr("vae3d_cli.batch.collisions.refuse_collisions", lambda *_: None)
    for number, name in enumerate("ab", 2):
        write_clip(Path(f"{name}.mp4"), number)
    Path("out").mkdir()
    return tmp_path


@pytest.mark.parametrize("has_links", [True, False])
@pytest.mark.parametrize("command", ["encode", "convert", "decode", "roundtrip"])
@pytest.mark.parametrize("more", [[], ["--skip-existing"]])
@pytest.mark.usefixtures("met")
def test_outputs_that_meet_on_the_disk_are_not_replaced(
    monkeypatch: pytest.MonkeyPatch, has_links: bool, command: str, more: list[str]
) -> None:
    if command in ("convert", "decode"):
        assert run("encode", "a.mp4", "b.mp4", "-o", "in").exit_code == 0
    inputs = [f"in/{name}.safetensors" if Path("in").exists() else f"{name}.mp4" for name in "ab"]
    a, b = {
        "decode": ("out/a.decoded.mp4", "out/b.decoded.mp4"),
        "roundtrip": ("out/a.mp4", "out/b.mp4"),
    }.get(command, ("out/a.safetensors", "out/b.safetensors"))
    Path(b).symlink_to(Path(a).name)
    if not has_links:
        monkeypatch.setattr(os, "link", refuse(errno.EPERM))
    result = run(command, *inputs, "-o", "out", "-q", *(["--format", "vae3d"] if command == "convert" else []), *more)
    assert result.exit_code == 1
    first, summary = result.stderr.splitlines()
    assert f"{b}: a file of this name has appeared since the run began and was kept" in first
    assert summary.endswith(f"1 of 2 inputs failed: {inputs[1]}")
    assert {path.name for path in Path("out").iterdir()} == {
        *(Path(a).name, Path(b).name, *([NAME] if command == "encode" else []))
    }
    described = json.loads(run("info", a, "--json").stdout)
    assert described["num_frames"] == 2, "it is the first one's"
    if command == "encode":
        own_line, others = manifest(Path("out"))
        assert own_line["latents"]["size"] == Path(a).stat().st_size
        assert "a file of this name has appeared" in others["error"]


def test_caches_of_musubi_with_one_name_are_not_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, hunyuanvideo_folder: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("in").mkdir()
    write_clip(Path("in/b.mp4"), 9)
    write_clip(Path("in/b_00000-009.png"), 1, codec="png", pix_fmt="rgb24", container="image2")
    arguments = ("encode", "in", "-r", "-o", "out", "--format", "musubi", "-m", hunyuanvideo_folder, "-q")
    cache = Path("out/b_00000-009_0032x0024_hv.safetensors")
    result = run(*arguments)
    assert (result.exit_code, result.stdout) == (1, f"{cache}\n")
    assert f"{cache}: a file of this name has appeared since the run began" in result.stderr
    before = cache.read_bytes()
    assert run(*arguments, "--skip-existing").exit_code == 1
    assert cache.read_bytes() == before
    assert len([*Path("out").glob("*.safetensors")]) == 1


def test_converted_caches_of_musubi_with_one_name_are_status_2(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    own(tmp_path, name="a.safetensors")
    own(tmp_path, replace(HEADER, num_frames=1), LATENTS[:, :1], name="a_00000-009.safetensors")
    names = ("a.safetensors", "a_00000-009.safetensors")
    result = run("convert", *names, "-o", "out", "--format", "musubi", "-f", "-q")
    assert_failed(result, 2, f"out/a_00000-009_0030x0020_hv.safetensors: -o of {names[0]} and -o of {names[1]} would")
    assert not Path("out").exists()


def test_fifty_thousand_clips_are_checked_in_seconds(tmp_path: Path) -> None:
    found = [
        Found(tmp_path / f"{number % 100}" / f"{number}.mp4", Path(f"{number % 100}", f"{number}.mp4"))
        for number in range(50_000)
    ]
    options = EncodeOptions()
    clips = plan_clips(found, tmp_path / "out", lambda _: options)
    began = time.process_time()
    check_apart(clips, [])
    assert time.process_time() - began < 6, "of the order of 0.7"
