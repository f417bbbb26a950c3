"""The manifest of a folder, and runs that go on where another stopped."""

import json
import os
import random
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Event
from typing import Any, NoReturn

import pytest
from safetensors.torch import load_file, save_file

from tests.clips import write_clip
from tests.commands import PATIENCE_SECONDS, assert_failed, run, start, wait_for
from tests.outputs import assert_done_once, identities, manifest
from vae3d_cli.batch import (
    Clip,
    Found,
    InProcess,
    Outcome,
    Policy,
    encode_clips,
    find_clips,
    open_manifests,
    plan_clips,
)
from vae3d_cli.batch.manifest import NAME, Manifest
from vae3d_cli.codec import EncodeOptions, Progress, encode_video
from vae3d_cli.errors import OutputError
from vae3d_cli.latents import LatentsReader
from vae3d_cli.weights import Model

NUM_CLIPS = int(os.environ.get("VAE3D_TEST_CLIPS", "40"))
NUM_KILLS = 5


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder `clips` in the current one, with two clips."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "clips" / "sub").mkdir(parents=True)
    write_clip(tmp_path / "clips" / "a.mp4", 2, 16, 16)
    write_clip(tmp_path / "clips" / "sub" / "b.mp4", 3, 16, 16)
    return tmp_path / "clips"


@pytest.fixture
def encode(small_checkpoint: Path) -> Callable[..., list[str]]:
    """Encode `clips` into `out` as far as it is not done, and say what was encoded."""

    def encode(*options: object, status: int = 0) -> list[str]:
        arguments = ("clips", "-r", "-o", "out", "-m", small_checkpoint, "--threads", 1, "--skip-existing")
        result = run("encode", *arguments, *options)
        assert result.exit_code == status, result.stderr
        return result.stdout.splitlines()

    return encode


A, B = "out/a.safetensors", "out/sub/b.safetensors"
MANIFEST = Path("out") / NAME


def lines() -> list[dict[str, Any]]:
    return manifest(Path("out"))


def test_two_hundred_clips_and_five_kills_make_what_one_run_makes(tmp_path: Path, small_checkpoint: Path) -> None:
    """`VAE3D_TEST_CLIPS=200` is that number; the files that a kill left are never written again."""
    clips, out, undisturbed = tmp_path / "clips", tmp_path / "out", tmp_path / "undisturbed"
    for number in range(NUM_CLIPS):
        path = clips / str(number % 7) / f"{number}.mp4"
        path.parent.mkdir(parents=True, exist_ok=True)
        shape = (9, 64, 64) if number % 7 < 3 else (1 + number % 6, 16 + 2 * (number % 9), 16)
        write_clip(path, *shape)
    common = ("clips", "-r", "-q", "-m", small_checkpoint, "--threads", 1)
    with start("encode", *common, "-o", undisturbed, cwd=tmp_path, stdout=subprocess.DEVNULL) as process:
        assert process.wait(PATIENCE_SECONDS) == 0
    seed = random.randrange(1 << 32)
    dice, kept = random.Random(seed), dict[str, tuple[int, int]]()
    arguments = ("encode", *common, "-o", out, "--skip-existing")
    for kill in range(NUM_KILLS):
        wanted = NUM_CLIPS * (kill + 1) // (NUM_KILLS + 2) + dice.randrange(NUM_CLIPS // 10)
        with start(*arguments, cwd=tmp_path, stdout=subprocess.DEVNULL) as process:
            while len(identities(out)) < wanted and process.poll() is None:
                time.sleep(0.001)
            time.sleep(dice.uniform(0, 0.03))
            process.send_signal(signal.SIGKILL)
            assert process.wait(PATIENCE_SECONDS) == -signal.SIGKILL, f"seed {seed}"
        now = identities(out)
        assert kept.items() <= now.items(), f"a clip was encoded again, seed {seed}"
        kept = now
    assert len(kept) < NUM_CLIPS, "the kills came before the end"
    with start(*arguments, cwd=tmp_path, stdout=subprocess.PIPE) as process:
        stdout, stderr = process.communicate(timeout=PATIENCE_SECONDS)
        assert process.returncode == 0, stderr
    assert len(stdout.splitlines()) == NUM_CLIPS - len(kept)
    assert kept.items() <= identities(out).items()
    assert len(identities(undisturbed)) == NUM_CLIPS
    assert_done_once(out, undisturbed)


@pytest.mark.parametrize("workers", [[], ["--workers", 2]])
def test_a_signal_leaves_whole_files_and_a_run_that_goes_on(
    tmp_path: Path, small_checkpoint: Path, workers: list[object]
) -> None:
    (tmp_path / "clips").mkdir()
    for number in range(7):
        write_clip(tmp_path / "clips" / f"{number}.mp4", 300, 64, 64)
    arguments = ("encode", "clips", "-r", "-q", "-o", "out", "-m", small_checkpoint, "--skip-existing", *workers)
    with start(*arguments, cwd=tmp_path, stdout=subprocess.DEVNULL) as process:
        wait_for(lambda: len(identities(tmp_path / "out")) >= 2, process)
        process.send_signal(signal.SIGTERM)
        _, errors = process.communicate(timeout=PATIENCE_SECONDS)
    assert (process.returncode, errors) == (-signal.SIGTERM, b"")
    assert not [*tmp_path.rglob(".vae3d-*")]
    kept = identities(tmp_path / "out")
    assert sorted(str(line["output"]) for line in manifest(tmp_path / "out")) == sorted(kept), "each has its line"
    with start(*arguments, cwd=tmp_path, stdout=subprocess.PIPE) as process:
        stdout, errors = process.communicate(timeout=PATIENCE_SECONDS)
    assert (process.returncode, errors, len(stdout.splitlines())) == (0, b"", 7 - len(kept))
    assert kept.items() <= identities(tmp_path / "out").items()


def encode_here(model: Model, progress: Callable[[int], None]) -> list[Outcome]:
    """Encode `clips` in this process, and tell of each step of a clip, by its number."""
    found = find_clips([Found(Path("clips"), Path())], recursive=True, output=None).clips
    planned = plan_clips(found, Path("out"), lambda _: EncodeOptions())
    outcomes: list[Outcome] = []

    @contextmanager
    def watch(clip: Clip) -> Iterator[Progress]:
        yield lambda _done, _total: progress(planned.index(clip))

    with open_manifests(planned) as manifests:
        encode_clips(planned, InProcess(model), Policy(), manifests, watch, outcomes.append)
    return outcomes


@pytest.mark.usefixtures("folder")
def test_a_clip_has_its_line_while_the_next_one_is_in_the_model(small: Model) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS

    def progress(number: int) -> None:
        while number == 1 and not lines():
            assert time.monotonic() < deadline
            time.sleep(0.01)

    assert [outcome.error for outcome in encode_here(small, progress)] == [None, None]


def test_a_line_that_cannot_be_written_ends_the_run_at_the_next_step(
    folder: Path, small: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_clip(folder / "sub" / "b.mp4", 100, 16, 16)
    failed, steps = Event(), []

    def fail(_manifest: Manifest, _line: bytes) -> NoReturn:
        failed.set()
        raise OutputError("no space left")

    def progress(number: int) -> None:
        if number == 1:
            assert failed.wait(PATIENCE_SECONDS)
            time.sleep(0.1)
            steps.append(number)

    monkeypatch.setattr(Manifest, "_append", fail)
    with pytest.raises(OutputError, match="no space left"):
        encode_here(small, progress)
    assert steps == [1]
    assert not Path(B).exists()


def test_a_line_tells_what_was_made_of_what(folder: Path, encode: Callable[..., list[str]]) -> None:
    (folder / "bad.mp4").write_text("no video")
    assert encode(status=1) == [A, B]
    first, bad, second = lines()
    assert (first["path"], first["output"]) == ("clips/a.mp4", "a.safetensors")
    assert (first["num_frames"], first["latents_shape"], first["model"]) == (2, [16, 2, 2, 2], "small.safetensors")
    assert first["seconds"] > 0
    for file, path in (("source", "clips/a.mp4"), ("latents", A)):
        digest = subprocess.run(["sha256sum", path], capture_output=True, text=True, check=True).stdout.split()[0]
        assert first[file]["sha256"] == digest
    assert (second["output"], bad["output"]) == ("sub/b.safetensors", "bad.safetensors")
    assert bad["error"].startswith("clips/bad.mp4: not a readable video")
    shutil.copy(folder / "a.mp4", folder / "bad.mp4")
    assert encode() == ["out/bad.safetensors"], "what failed is tried again"


def test_what_is_done_is_neither_read_nor_written_again(
    folder: Path, encode: Callable[..., list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    encode()
    before = identities(Path("out")), MANIFEST.read_bytes()
    monkeypatch.setattr("vae3d_cli.batch.existing.sha256_of", None)
    assert encode() == []
    assert (identities(Path("out")), MANIFEST.read_bytes()) == before
    assert folder.is_dir()


@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize("left", [0, 1, 30, 400], ids=lambda left: f"{left} bytes")
def test_a_clip_whose_line_is_lost_or_torn_only_gets_its_line(encode: Callable[..., list[str]], left: int) -> None:
    encode()
    whole, before = MANIFEST.read_bytes(), identities(Path("out"))
    cut = whole.index(b"\n") + 1
    MANIFEST.write_bytes(whole[: cut + left])
    assert encode() == []
    assert identities(Path("out")) == before
    assert MANIFEST.read_bytes().startswith(whole[:cut])
    assert [line["output"] for line in lines()] == ["a.safetensors", "sub/b.safetensors"]
    MANIFEST.unlink()
    assert encode() == []
    assert len(lines()) == 2


def test_update_encodes_stale_files_again(folder: Path, encode: Callable[..., list[str]]) -> None:
    encode()
    assert encode("--update", "--frames", 1) == [A, B]
    assert encode("--update", "--frames", 1) == []
    assert encode("--update", "--dtype", "bf16", "--frames", 1) == [A, B]
    assert encode("--update", "-m", "tiny") == [A, B]
    MANIFEST.unlink()
    assert encode("--update") == [A, B], "the file itself says what made it"
    times = (folder / "a.mp4").stat().st_atime_ns, (folder / "a.mp4").stat().st_mtime_ns
    data = bytearray((folder / "a.mp4").read_bytes())
    data[-1] ^= 1  # in the metadata at the end, which no frame depends on
    (folder / "a.mp4").write_bytes(data)
    os.utime(folder / "a.mp4", ns=times)
    assert encode("--update") == [A], "of the same size and time"


@pytest.mark.parametrize("with_manifest", [True, False])
def test_skip_existing_keeps_stale_files_and_counts_them(
    folder: Path, encode: Callable[..., list[str]], small_checkpoint: Path, with_manifest: bool
) -> None:
    encode()
    shutil.copy(folder / "sub" / "b.mp4", folder / "a.mp4")
    before = identities(Path("out"))
    if not with_manifest:
        MANIFEST.unlink()
    for options in (["--frames", 1], ["--dtype", "bf16"], ["-m", "tiny"], ["--size", "32x32"], []):
        assert encode(*options) == []
    assert identities(Path("out")) == before
    arguments = ("encode", "clips", "-r", "-o", "out", "-m", small_checkpoint, "--threads", 1, "--skip-existing")
    assert run(*arguments).stderr == (
        "vae3d: note: 2 of 2 inputs were skipped: 1 made from a source that has changed since, 1 up to date; "
        "--update makes stale ones again\n"
    )
    lines = run(*arguments, "--frames", 1, "-v").stderr
    for name in ("clips/a.mp4", "clips/sub/b.mp4"):
        assert f"{name}: skipped, its output is made with other settings or another model" in lines


@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize("kind", ["cut", "bit"])
def test_skip_existing_makes_a_stale_file_again_if_it_is_corrupt(encode: Callable[..., list[str]], kind: str) -> None:
    encode()
    damage(Path(A), kind)
    assert encode("--frames", 1) == [A]


def test_force_alone_makes_everything_again(folder: Path) -> None:
    arguments = ("encode", folder, "-r", "-o", "out", "-q")
    assert len(run(*arguments).stdout.splitlines()) == 2
    assert len(run(*arguments, "--force").stdout.splitlines()) == 2


def test_seeds_are_settings_and_a_drawn_one_is_as_good_as_another(folder: Path) -> None:
    def encode(*options: object) -> bool:
        result = run("encode", folder / "a.mp4", "--update", "-q", "--posterior", "sample", *options)
        assert result.exit_code == 0
        return bool(result.stdout)

    assert [encode(), encode(), encode("--seed", 0), encode("--seed", 0), encode("--seed", 1), encode()] == [
        *(True, False, True, False, True, True)
    ]


def test_a_clip_that_was_only_touched_or_moved_is_not_encoded_again(
    folder: Path, encode: Callable[..., list[str]]
) -> None:
    encode()
    shutil.copy(folder / "a.mp4", "copy.mp4")
    Path("copy.mp4").replace(folder / "a.mp4")
    before = identities(Path("out"))
    assert encode() == []
    assert identities(Path("out")) == before
    assert len(lines()) == 3, "it has a line with its new time"
    assert encode() == []
    assert len(lines()) == 3


def damage(path: Path, kind: str) -> None:
    data = bytearray(path.read_bytes())
    if kind == "cut":
        del data[-5:]
    elif kind == "bit":
        data[-5] ^= 1
    elif kind == "nan":
        data[-4:] = b"\xff" * 4
    elif kind == "zeros":
        data[:] = bytes(len(data))
    elif kind == "empty":
        data.clear()
    path.write_bytes(data)


@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize("kind", ["cut", "bit", "nan", "zeros", "empty"])
def test_a_damaged_file_of_ours_is_made_again(encode: Callable[..., list[str]], kind: str) -> None:
    encode()
    before = Path(A).read_bytes()
    damage(Path(A), kind)
    assert encode() == [A]
    assert Path(A).read_bytes() == before
    if kind in ("cut", "nan"):
        damage(Path(A), kind)
        MANIFEST.unlink()
        assert encode() == [A], "without a manifest the file tells"


@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize(
    ("kind", "known"), [("text", False), ("other", False), ("later", False), ("other", True), ("later", True)]
)
def test_a_file_that_is_not_ours_is_never_replaced(encode: Callable[..., list[str]], kind: str, known: bool) -> None:
    encode()
    if kind == "text":
        Path(A).write_text("precious")
    else:
        save_file(load_file(A), A, {"format": "vae3d.latents/2" if kind == "later" else "pt"})
    if not known:
        MANIFEST.unlink()
    before = Path(A).read_bytes()
    assert encode("-v") == []
    assert Path(A).read_bytes() == before
    assert encode("--force") == [A], "unless it is asked for"


def test_what_is_not_ours_is_said(folder: Path) -> None:
    (folder / "a.safetensors").write_text("precious")
    result = run("encode", folder / "a.mp4", "--skip-existing")
    assert (result.exit_code, result.stdout) == (0, "")
    assert "a.mp4: skipped, its output is not a latents file of this version of vae3d" in result.stderr


def test_one_clip_is_skipped_by_content_too(folder: Path) -> None:
    clip, arguments = folder / "a.mp4", ("encode", folder / "a.mp4", "--update", "-q")
    assert run(*arguments).stdout
    assert run(*arguments).stdout == ""
    assert run(*arguments, "--frames", 1).stdout
    shutil.copy(folder / "sub" / "b.mp4", clip)
    assert run(*arguments, "--frames", 1).stdout
    assert not [*folder.rglob("*.jsonl")]


def test_without_an_output_the_manifest_lies_in_the_folder(folder: Path) -> None:
    assert run("encode", "clips", "-r", "-q").exit_code == 0
    assert (folder / NAME).read_text().count("\n") == 2
    assert run("encode", "clips", "-r", "-q", "--skip-existing").stdout == ""
    assert run("encode", "clips/a.mp4", "clips/sub/b.mp4", "-q", "-f").exit_code == 0
    assert not (folder / "sub" / NAME).exists()


def odd_lines() -> Iterator[str]:
    """Lines of a manifest of which one field is absurd."""
    state: dict[str, object] = {"size": 1, "mtime_ns": 2, "ctime_ns": 3, "sha256": "0"}
    line: dict[str, object] = {
        "format": "vae3d.manifest/1",
        "path": "a.mp4",
        "output": "a.safetensors",
        "model": "tiny",
        "settings": {},
    }
    line |= {"encoder_sha256": "0", "num_frames": 1, "latents_shape": [1], "source": state, "latents": state}
    names: list[object] = ["", "a\0b", "\ud800", "/etc/passwd", "../a", "a/../../b", 3, None]
    changes: list[dict[str, object]] = [{"output": name} for name in names]
    changes += [{key: "x"} for key in ("source", "latents", "latents_shape", "settings", "num_frames")]
    changes += [{"latents": {**state, "size": float("inf")}}, {"source": []}, {"replaces": ["a/b"]}, {"replaces": 1}]
    for change in changes:
        yield json.dumps(line | change) + "\n"


def test_one_run_at_a_time_writes_to_a_folder(folder: Path, encode: Callable[..., list[str]]) -> None:
    encode()
    with Manifest(Path("out")):
        result = run("encode", "clips", "-r", "-o", "out", "-f", "-q")
        assert_failed(result, 1, f"{MANIFEST}: another run is writing to this folder; wait for its end")
    assert folder.is_dir()
    assert encode() == []


@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ('{"format": "vae3d.manifest/2", "output": 3}\n', "line 3 is of the format 'vae3d.manifest/2'"),
        ("{}\n", "line 3 is damaged"),
        ("notes\n", "line 3 is damaged"),
        ("notes", "line 3 is damaged"),
        ('{"format": "vae3d.manifest/1", "output": "a"}\n', "line 3 is damaged"),
        ("[]\n", "line 3 is damaged"),
        ('"format"\n', "line 3 is damaged"),
        ("[" * 100_000 + "\n", "line 3 is damaged"),
        ('{"format": ["vae3d.manifest/1"]}\n', "line 3 is of the format"),
        *((line, "line 3 is damaged") for line in odd_lines()),
    ],
)
def test_a_manifest_that_is_not_ours_is_an_error_and_stays(
    encode: Callable[..., list[str]], text: str, reason: str
) -> None:
    encode()
    with MANIFEST.open("a") as file:
        file.write(text)
    before = MANIFEST.read_bytes()
    assert_failed(run("encode", "clips", "-r", "-o", "out", "-f", "-q"), 1, reason)
    assert MANIFEST.read_bytes() == before


def test_any_name_comes_back_from_the_manifest(folder: Path, encode: Callable[..., list[str]]) -> None:
    encode()
    for name in (os.fsdecode(b"\xff.mp4"), "two\nlines.mp4", 'quote".mp4'):
        shutil.copy(folder / "a.mp4", folder / name)
    assert len(encode("--json")) == 3
    assert len(MANIFEST.read_bytes().split(b"\n")) == 6
    assert encode() == []
    assert len(lines()) == 5


def test_a_clip_that_changes_while_it_is_read_is_encoded_again(folder: Path, small: Model) -> None:
    clip, out = folder / "a.mp4", folder / "a.safetensors"
    encode_video(clip, out, small, progress=lambda done, _total: os.utime(clip) if done == 2 else None)
    with LatentsReader(out) as latents:
        assert latents.header.source_sha256 is None
    encode_video(clip, out, small)
    with LatentsReader(out) as latents:
        assert latents.header.source_sha256 is not None


def test_a_temporary_file_that_a_run_is_writing_stays(folder: Path, encode: Callable[..., list[str]]) -> None:
    from vae3d_cli.files import atomic_output

    Path("out").mkdir()
    orphan = Path("out/.vae3d-0123456789abcdef.part.safetensors")
    orphan.write_bytes(b"half")
    with atomic_output(Path("out/other")) as temporary:
        encode()
        assert temporary.exists()
    assert not orphan.exists()
    assert folder.is_dir()
