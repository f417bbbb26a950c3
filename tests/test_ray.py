"""A Ray cluster of two workers on this machine."""

import contextlib
import json
import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from threading import Thread
from types import SimpleNamespace
from typing import Any

import psutil
import pytest

from tests.clips import write_clip
from tests.commands import PATIENCE_SECONDS, assert_failed, run, start, wait_for
from tests.outputs import assert_done_once, identities, manifest
from vae3d_cli.batch import Cluster, ModelSource, Policy, Resources

NUM_CLIPS = 16
Arguments = tuple[object, ...]


@dataclass(frozen=True)
class Nodes:
    """A cluster, and the process of each node that starts its workers."""

    address: str
    raylets: list[int]

    def tasks(self, node: int) -> list[psutil.Process]:
        """The processes that encode clips on a node; between two clips they have another name."""
        return [child for child in self._children(node) if _is_task(child)]

    def kill(self, node: int) -> None:
        """Have a node end as a machine does that loses its power."""
        children = self._children(node)
        os.kill(self.raylets[node], signal.SIGKILL)
        for child in children:
            with contextlib.suppress(psutil.NoSuchProcess):  # some end with it
                child.kill()

    def _children(self, node: int) -> list[psutil.Process]:
        return psutil.Process(self.raylets[node]).children(recursive=True)


def _is_task(process: psutil.Process) -> bool:
    with contextlib.suppress(psutil.NoSuchProcess):
        return process.name().startswith("ray::_encode")
    return False


@pytest.fixture
def cluster() -> Iterator[Nodes]:
    """In a process of its own, for Ray leaves much to be cleaned where it was."""
    command = [sys.executable, "-m", "tests.ray_cluster"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
        assert process.stdout is not None
        yield Nodes(**json.loads(process.stdout.readline()))
        process.communicate(timeout=PATIENCE_SECONDS)


@pytest.fixture
def arguments(tmp_path: Path, small_checkpoint: Path, cluster: Nodes, monkeypatch: pytest.MonkeyPatch) -> Arguments:
    """A command for the cluster, and clips."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("RAY_ADDRESS", cluster.address)
    for number in range(NUM_CLIPS):
        path = tmp_path / "clips" / str(number % 3) / f"{number}.mp4"
        path.parent.mkdir(parents=True, exist_ok=True)
        write_clip(path, 150 + number, 64, 64)
    return ("encode", "clips", "-r", "-q", "-m", small_checkpoint, "--threads", 1)


def test_a_node_and_a_worker_that_die_lose_nothing_and_nothing_is_done_twice(
    arguments: Arguments, cluster: Nodes, tmp_path: Path
) -> None:
    def tasks_after(num_clips: int, node: int) -> list[psutil.Process]:
        return cluster.tasks(node) if len(identities(Path("out"))) > num_clips else []

    with start(*arguments, "-o", "out", "--engine", "ray", stdout=subprocess.PIPE) as process:
        (worker,) = wait_for(lambda: cluster.tasks(1) and tasks_after(2, node=0), process)
        worker.kill()
        lost = wait_for(lambda: tasks_after(5, node=1), process)
        cluster.kill(1)
        stdout, errors = process.communicate(timeout=PATIENCE_SECONDS)
    assert (process.returncode, errors) == (0, b"")
    assert not psutil.wait_procs(lost, timeout=PATIENCE_SECONDS)[1]
    names = identities(Path("out"))
    assert sorted(stdout.decode().split()) == sorted(f"out/{name}" for name in names)
    assert run(*arguments, "-o", "here").exit_code == 0
    assert len(names) == NUM_CLIPS
    assert_done_once(tmp_path / "out", tmp_path / "here")
    again = run(*arguments, "-o", "out", "--skip-existing", "--engine", "local")
    assert (again.exit_code, again.stdout) == (0, ""), "the engine is no setting"


def test_a_run_that_is_stopped_leaves_whole_files_and_its_workers_free(arguments: Arguments, cluster: Nodes) -> None:
    (Path("clips") / "bad.mp4").write_text("no video")
    command = (*arguments, "-o", "out", "--engine", "ray")
    with start(*command, stdout=subprocess.DEVNULL) as process:
        wait_for(lambda: len(identities(Path("out"))) > 2, process)
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=PATIENCE_SECONDS)
    assert process.returncode == -signal.SIGINT, errors
    assert errors.count(b"\n") == 1, errors
    deadline = time.monotonic() + PATIENCE_SECONDS
    while [*cluster.tasks(0), *cluster.tasks(1)]:
        assert time.monotonic() < deadline
        time.sleep(0.1)
    kept = identities(Path("out"))
    with start(*command, "--skip-existing", "--workers", 1, stdout=subprocess.PIPE) as process:
        stdout, errors = process.communicate(timeout=PATIENCE_SECONDS)
    assert process.returncode == 1
    assert len(stdout.splitlines()) == NUM_CLIPS - len(kept)
    bad, summary = errors.decode().splitlines()
    assert bad.startswith("vae3d: error: clips/bad.mp4: not a readable video")
    assert "1 of 17 inputs failed" in summary
    assert kept.items() <= identities(Path("out")).items()
    assert not [*Path("out").rglob(".vae3d-*")], "Ray kills a worker that takes long to end; the next run cleans up"
    assert len([line for line in manifest(Path("out")) if "error" not in line]) == NUM_CLIPS


STOPS_ONCE_ALL_IS_DONE = """
import sys, time
from pathlib import Path
from vae3d_cli.cli import app, present

def stop(*_):
    while len([*Path("out").rglob("*.safetensors")]) < int(sys.argv[1]):
        time.sleep(0.1)
    time.sleep(2)
    raise BrokenPipeError

present.present_result = stop
app(sys.argv[2:])
"""


@pytest.mark.usefixtures("cluster")
def test_what_is_done_when_a_run_is_stopped_has_its_line(arguments: Arguments) -> None:
    command = [sys.executable, "-c", STOPS_ONCE_ALL_IS_DONE, NUM_CLIPS, *arguments, "-o", "out", "--engine", "ray"]
    result = subprocess.run([str(part) for part in command], capture_output=True, check=False, timeout=PATIENCE_SECONDS)
    assert result.stderr == b""
    assert len(manifest(Path("out"))) > NUM_CLIPS // 2


def test_a_cluster_that_does_not_answer_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:1")
    clip = write_clip(tmp_path / "a.mp4", 2)
    assert_failed(run("encode", clip, "--engine", "ray"), 1, "Ray: nothing answers at 127.0.0.1:1")


def test_without_ray_the_call_is_wrong(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clips = [write_clip(tmp_path / name, 2) for name in ("a.mp4", "b.mp4")]
    monkeypatch.setitem(sys.modules, "ray", None)
    result = run("encode", *clips, "--engine", "ray", "-o", tmp_path / "out")
    assert_failed(result, 2, "Ray is not installed; pip install 'vae3d-cli[ray]'")
    assert not (tmp_path / "out").exists()


def test_what_ray_says_is_not_taken_for_results(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    def say_from_a_thread() -> dict[str, float]:
        thread = Thread(target=print, args=("(raylet) A node died.",))
        thread.start()
        thread.join()
        print("a result")
        return {}

    ray = SimpleNamespace(
        init=lambda **_: None,
        cluster_resources=say_from_a_thread,
        remote=lambda **_: lambda _: None,
        shutdown=lambda: print("\x1b[33m(raylet)\x1b[0m A node died. [repeated 2x across cluster]"),
    )
    monkeypatch.setitem(sys.modules, "ray", ray)
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    caplog.set_level(logging.INFO)
    cluster = Cluster(ModelSource("tiny", "cpu", "fp32"), Resources(), lambda _: None)
    not_called: Any = None
    cluster.run(iter([]), Policy(), not_called, not_called, not_called)
    assert capsys.readouterr().out == "a result\n"
    assert caplog.messages == [
        "Ray: (raylet) A node died.",
        "Ray: (raylet) A node died. [repeated 2x across cluster]",
    ]
