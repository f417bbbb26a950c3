"""Inputs and outputs in the stores of fsspec: in memory within a process, and by `file://` across several."""

import json
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NoReturn

import fsspec
import pytest
from fsspec.implementations.memory import MemoryFileSystem
from fsspec.registry import known_implementations

from tests.clips import write_clip
from tests.commands import assert_failed, json_lines, run
from vae3d_cli.batch.manifest import NAME
from vae3d_cli.codec import WorkBehind
from vae3d_cli.errors import UsageError

NAMES = ["a.safetensors", "sub/b.safetensors"]


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A store with the clips of the folder `clips`, which is in the current one; nothing is left where copies lie."""
    monkeypatch.chdir(tmp_path)
    for number, name in enumerate(("a.mp4", "sub/b.mp4"), 2):
        path = tmp_path / "clips" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        write_clip(path, number)
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))
    memory = fsspec.filesystem("memory")
    memory.store.clear()
    memory.pseudo_dirs[:] = [""]
    memory.put("clips", "/bucket/clips", recursive=True)
    yield memory
    memory.store.clear()
    memory.pseudo_dirs[:] = [""]
    assert not [*temporary.iterdir()]


def objects(store: Any, folder: str = "/bucket/out") -> list[str]:
    return sorted(name.removeprefix(f"{folder}/") for name in store.find(folder))


def lines(store: Any) -> list[dict[str, Any]]:
    return [json.loads(line) for line in store.cat(f"/bucket/out/{NAME}").splitlines()]


@pytest.mark.parametrize("source", ["memory://bucket/clips", "clips"])
@pytest.mark.parametrize("output", ["memory://bucket/out", "out"])
def test_stores_and_folders_get_the_same_bytes(store: Any, source: str, output: str) -> None:
    assert run("encode", "clips", "-r", "-o", "undisturbed").exit_code == 0
    result = run("encode", source, "-r", "-o", output, "--json")
    assert result.exit_code == 0, result.stderr
    assert [(line["input"], line["output"]) for line in json_lines(result)] == [
        *((f"{source}/a.mp4", f"{output}/{NAMES[0]}"), (f"{source}/sub/b.mp4", f"{output}/{NAMES[1]}"))
    ]
    for name in NAMES:
        written = store.cat(f"/bucket/out/{name}") if "://" in output else Path(output, name).read_bytes()
        assert written == Path("undisturbed", name).read_bytes()
    if "://" in output:
        assert objects(store) == [*NAMES, NAME]
        assert [line["output"] for line in lines(store)] == NAMES


def test_single_objects_patterns_and_lists(store: Any) -> None:
    assert run("encode", "memory://bucket/clips/a.mp4").stdout == "memory://bucket/clips/a.safetensors\n"
    assert run("encode", "clips/a.mp4", "-o", "memory://bucket/x/one.safetensors").exit_code == 0
    assert run("encode", "memory://bucket/clips/a.mp4", "-o", "one.safetensors").exit_code == 0
    assert store.cat("/bucket/x/one.safetensors") == Path("one.safetensors").read_bytes()
    assert run("encode", "clips/a.mp4", "-o", "memory://bucket/y/").stdout == "memory://bucket/y/a.safetensors\n"
    result = run("encode", "memory://bucket/clips/**/*.mp4", "-o", "memory://bucket/z")
    assert result.stdout.splitlines() == ["memory://bucket/z/a.safetensors", "memory://bucket/z/b.safetensors"]
    line = json.dumps({"path": "clips/sub/b.mp4", "output": "named.safetensors"})
    Path("list").write_text(f"memory://bucket/clips/a.mp4\n{line}\n")
    result = run("encode", "--list", "list", "-o", "memory://bucket/listed")
    assert result.exit_code == 0, result.stderr
    assert objects(store, "/bucket/listed") == ["bucket/clips/a.safetensors", "named.safetensors", NAME]


def test_what_exists_is_refused_skipped_or_forced(store: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    arguments = ("encode", "memory://bucket/clips", "-r", "-o", "memory://bucket/out")
    assert run(*arguments).exit_code == 0
    refused = run(*arguments)
    assert refused.exit_code == 1
    assert "memory://bucket/out/a.safetensors: exists already; overwrite it with --force" in refused.stderr
    with monkeypatch.context() as patch:
        patch.setattr(MemoryFileSystem, "get_file", None)  # the manifest knows
        result = run(*arguments, "--skip-existing")
    assert result.exit_code == 0, result.stderr
    assert "2 of 2 inputs were skipped: 2 up to date" in result.stderr
    store.rm(f"/bucket/out/{NAME}")
    assert "2 up to date" in run(*arguments, "--skip-existing").stderr
    assert len(lines(store)) == 2
    store.put_file("clips/sub/b.mp4", "/bucket/clips/a.mp4")
    store.pipe_file("/bucket/out/sub/b.safetensors", b"precious")
    store.rm(f"/bucket/out/{NAME}")
    assert run(*arguments, "--skip-existing").stdout == ""
    result = run(*arguments, "--update")
    assert result.stdout == "memory://bucket/out/a.safetensors\n", result.stderr
    assert "1 not a latents file of this version of vae3d" in result.stderr
    assert store.cat("/bucket/out/sub/b.safetensors") == b"precious"
    assert run(*arguments, "--force").exit_code == 0
    assert store.cat("/bucket/out/sub/b.safetensors") != b"precious"


def test_an_output_folder_is_listed_once(store: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    found: list[str] = []
    find = MemoryFileSystem.find

    def counted(self: MemoryFileSystem, path: str, **how: Any) -> Any:
        found.append(path)
        return find(self, path, **how)

    monkeypatch.setattr(MemoryFileSystem, "find", counted)
    assert run("encode", "clips", "-r", "-o", "memory://bucket/out").exit_code == 0
    assert found == ["/bucket/out"]
    assert objects(store) == [*NAMES, NAME]


@pytest.mark.parametrize("step", ["put_file", "cp_file"])
def test_an_upload_that_fails_leaves_nothing_and_stops_no_other(
    store: Any, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    transfer = getattr(MemoryFileSystem, step)
    clips = []

    def fail_first(self: MemoryFileSystem, source: str, target: str, **how: Any) -> None:
        transfer(self, source, target, **how)
        if "safetensors" in target:
            clips.append(target)
            if len(clips) == 1:
                raise ConnectionResetError("the peer has gone")

    monkeypatch.setattr(MemoryFileSystem, step, fail_first)
    result = run("encode", "clips", "-r", "-o", "memory://bucket/out")
    assert (result.exit_code, result.stdout) == (1, "memory://bucket/out/sub/b.safetensors\n")
    assert "memory://bucket/out/a.safetensors: the peer has gone; check the network" in result.stderr
    assert objects(store) == [NAMES[1], NAME]
    assert ["error" in line for line in lines(store)] == [True, False]


@pytest.mark.usefixtures("store")
def test_what_ends_a_run_between_the_model_and_the_writing_leaves_no_copy(monkeypatch: pytest.MonkeyPatch) -> None:
    def end(_behind: object, _batch: object) -> NoReturn:
        raise UsageError("enough")

    monkeypatch.setattr(WorkBehind, "put", end)
    assert_failed(run("encode", "memory://bucket/clips", "-r", "-o", "out"), 2, "enough")


@pytest.mark.usefixtures("store")
def test_errors_are_one_line_that_names_the_object() -> None:
    memory = fsspec.filesystem("memory")
    memory.pipe_file("/bucket/clips/bad.mp4", b"no video")
    out = ("-o", "out.safetensors")
    assert_failed(
        run("encode", "memory://bucket/none.mp4", *out), 1, "memory://bucket/none.mp4: there is no such object"
    )
    assert_failed(run("encode", "memory://bucket/clips/bad.mp4", *out), 1, "error: memory://bucket/clips/bad.mp4: ")
    assert_failed(run("encode", "memory://bucket/clips"), 1, "memory://bucket/clips: Is a directory; give -r")
    assert_failed(run("encode", "memory://bucket/none", "-r"), 1, "memory://bucket/none")
    assert_failed(run("encode", "memory://bucket/*.mov"), 1, "memory://bucket/*.mov: there is no such file")
    assert_failed(run("encode", "memory://", *out), 2, "memory://: names no object; give one as in s3://bucket/name")
    assert_failed(run("encode", "file://a.mp4", *out), 2, "file://a.mp4: is no absolute path")
    assert_failed(run("encode", "http://host/a.mp4", *out), 1, "http:/host/a.mp4: only local files are read here")
    musubi = ("--format", "musubi", "-o", "memory://bucket/caches")
    assert_failed(run("encode", "clips/a.mp4", *musubi), 2, "memory://bucket/caches: musubi-tuner reads its caches")


def test_a_driver_that_is_missing_is_named(store: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(known_implementations, "nowhere", {"class": "nowhere_fs.Nowhere", "err": "?"})
    message = "nowhere:// needs the package nowhere_fs; pip install nowhere_fs"
    assert_failed(run("encode", "nowhere://bucket/a.mp4", "-o", "out.safetensors"), 2, message)
    assert not objects(store)


def test_workers_transfer(store: Any, tmp_path: Path) -> None:
    del store
    assert run("encode", "clips", "-r", "-o", "undisturbed").exit_code == 0
    shutil.copytree("clips", "remote/clips")
    url = f"file://{tmp_path}/remote"
    arguments = ("encode", f"{url}/clips", "-r", "-o", f"{url}/out", "--workers", 2)
    result = run(*arguments)
    assert result.exit_code == 0, result.stderr
    assert sorted(result.stdout.splitlines()) == [f"{url}/out/{name}" for name in NAMES]
    for name in NAMES:
        assert Path("remote/out", name).read_bytes() == Path("undisturbed", name).read_bytes()
    assert {path.name for path in Path("remote/out").iterdir()} == {"a.safetensors", "sub", NAME}
    assert "2 up to date" in run(*arguments, "--skip-existing").stderr
