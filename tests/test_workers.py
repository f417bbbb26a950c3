"""Several worker processes: what they make, and what becomes of their clips when they die."""

import os
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.context import SpawnProcess
from pathlib import Path

import psutil
import pytest
import torch

from tests.clips import write_clip
from tests.commands import PATIENCE_SECONDS, assert_failed, json_lines, run, start, wait_for
from tests.outputs import assert_done_once, identities, manifest
from vae3d_cli.batch import (
    Found,
    ModelSource,
    Outcome,
    Policy,
    Processes,
    encode_clips,
    find_clips,
    local_sources,
    open_manifests,
    plan_clips,
)
from vae3d_cli.batch.planning import Clip
from vae3d_cli.codec import EncodeOptions, Encoding, Progress
from vae3d_cli.errors import UsageError, WeightsError, WorkerError
from vae3d_cli.weights import Model

Arguments = tuple[object, ...]


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of ten clips, of which each takes a moment."""
    folder = tmp_path_factory.mktemp("many") / "clips"
    (folder / "sub").mkdir(parents=True)
    for number in range(10):
        write_clip(folder / ("sub" if number % 2 else ".") / f"{number}.mp4", 150 + number, 64, 64)
    return folder


@pytest.fixture(scope="module")
def one_worker(clips: Path, small_checkpoint: Path) -> Path:
    """What one worker makes of them."""
    out = clips.parent / "one"
    assert run("encode", clips, "-r", "-q", "-m", small_checkpoint, "--threads", 1, "-o", out).exit_code == 0
    return out


@pytest.fixture
def arguments(clips: Path, small_checkpoint: Path) -> Arguments:
    """A command for two workers, but for its output."""
    return ("encode", clips, "-r", "-q", "-m", small_checkpoint, "--threads", 1, "--workers", 2)


def workers_of(process: subprocess.Popen[bytes]) -> list[psutil.Process]:
    """Those that are at work, by what only they have in their command lines."""
    return [child for child in psutil.Process(process.pid).children() if "spawn_main" in " ".join(child.cmdline())]


def test_two_workers_make_what_one_makes(tmp_path: Path, arguments: Arguments, one_worker: Path) -> None:
    result = run(*arguments, "-o", tmp_path / "out", "--json")
    assert result.exit_code == 0, result.stderr
    found = json_lines(result)
    assert sorted(str(line["output"]) for line in found) == sorted(
        str(tmp_path / "out" / name) for name in identities(one_worker)
    )
    assert {(line["device"], line["model"]) for line in found} == {("cpu", "small.safetensors")}
    assert_done_once(tmp_path / "out", one_worker)
    assert run(*arguments, "-o", tmp_path / "out", "--skip-existing").stdout == ""


def test_a_clip_that_fails_is_one_line_and_the_rest_is_done(tmp_path: Path, small_checkpoint: Path) -> None:
    for number in range(4):
        write_clip(tmp_path / f"{number}.mp4", 5)
    (tmp_path / "2.mp4").write_text("no video")
    result = run("encode", tmp_path, "-r", "-q", "-m", small_checkpoint, "--workers", 3)
    assert result.exit_code == 1
    assert len(result.stdout.splitlines()) == 3
    bad, summary = result.stderr.splitlines()
    assert bad.startswith(f"vae3d: error: {tmp_path}/2.mp4: not a readable video")
    assert summary == f"vae3d: error: 1 of 4 inputs failed: {tmp_path}/2.mp4"
    assert [line["output"] for line in manifest(tmp_path) if "error" in line] == ["2.safetensors"]


def test_a_worker_that_is_killed_loses_nothing(tmp_path: Path, arguments: Arguments, one_worker: Path) -> None:
    out = tmp_path / "out"
    with start(*arguments, "-o", out, stdout=subprocess.PIPE) as process:
        wait_for(lambda: len(identities(out)) >= 2, process)
        workers_of(process)[0].kill()
        stdout, errors = process.communicate(timeout=PATIENCE_SECONDS)
    assert (process.returncode, errors) == (0, b"")
    assert len(stdout.splitlines()) == 10
    assert_done_once(out, one_worker)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_all_workers_and_leaves_whole_files(
    tmp_path: Path, arguments: Arguments, one_worker: Path, number: signal.Signals
) -> None:
    out = tmp_path / "out"
    with start(*arguments, "-o", out, stdout=subprocess.DEVNULL, start_new_session=True) as process:
        wait_for(lambda: len(identities(out)) >= 2, process)
        workers = workers_of(process)
        assert len(workers) == 2
        os.killpg(process.pid, number)  # as a terminal does it
        _, errors = process.communicate(timeout=PATIENCE_SECONDS)
    assert (process.returncode, errors) == (-number, b"")
    assert not any(worker.is_running() for worker in workers)
    assert not [*out.rglob(".vae3d-*")]
    assert run(*arguments, "-o", out, "--skip-existing").exit_code == 0
    assert_done_once(out, one_worker)


def test_a_signal_ends_a_run_whose_other_worker_has_nothing_to_do(tmp_path: Path, small_checkpoint: Path) -> None:
    (tmp_path / "clips").mkdir()
    write_clip(tmp_path / "clips" / "a.mp4", 1)
    write_clip(tmp_path / "clips" / "b.mp4", 10000, 64, 64)
    arguments = ("encode", tmp_path / "clips", "-r", "-q", "-m", small_checkpoint, "--workers", 2)
    with start(*arguments, stdout=subprocess.DEVNULL) as process:
        wait_for(lambda: identities(tmp_path / "clips"), process)
        time.sleep(1)  # by now the other has its model, too
        process.send_signal(signal.SIGTERM)
        _, errors = process.communicate(timeout=PATIENCE_SECONDS)
    assert (process.returncode, errors) == (-signal.SIGTERM, b"")
    assert [line["output"] for line in manifest(tmp_path / "clips")] == ["a.safetensors"]
    assert not [*tmp_path.rglob(".vae3d-*")]


def test_ctrl_c_ends_workers_that_start_with_sigterm_ignored(tmp_path: Path, arguments: Arguments) -> None:
    def ignore() -> None:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        signal.signal(signal.SIGINT, signal.SIG_DFL)

    with start(*arguments, "-o", tmp_path / "out", stdout=subprocess.DEVNULL, preexec_fn=ignore) as process:
        wait_for(lambda: len(workers_of(process)) == 2, process)
        time.sleep(0.3)  # they are importing torch now
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=PATIENCE_SECONDS)
    assert (process.returncode, errors) == (-signal.SIGINT, b"")


def test_workers_end_with_a_run_that_is_killed_and_the_next_one_goes_on(
    tmp_path: Path, arguments: Arguments, one_worker: Path
) -> None:
    out = tmp_path / "out"
    with start(*arguments, "-o", out, stdout=subprocess.DEVNULL) as process:
        wait_for(lambda: len(identities(out)) >= 3, process)
        workers = workers_of(process)
        process.kill()
    _, alive = psutil.wait_procs(workers, timeout=PATIENCE_SECONDS)
    assert not alive
    kept = identities(out)
    assert run(*arguments, "-o", out, "--skip-existing").exit_code == 0
    assert kept.items() <= identities(out).items(), "a clip was encoded again"
    assert_done_once(out, one_worker)


@dataclass(frozen=True)
class DeadlyClip(ModelSource):
    """A model whose workers die of the clip `deadly.mp4`."""

    def load(self) -> Model:
        """Load it."""
        run_clip = Encoding.run

        def run_or_die(encoding: Encoding, progress: Progress) -> None:
            if str(encoding._source).endswith("deadly.mp4"):
                os.kill(os.getpid(), signal.SIGKILL)
            run_clip(encoding, progress)

        Encoding.run = run_or_die  # type: ignore[method-assign, assignment]
        return super().load()


@dataclass(frozen=True)
class DeadlyStart(ModelSource):
    """A model whose first workers die while they load it: each takes a file from `deaths`, as long as there are any."""

    deaths: Path = Path()

    def load(self) -> Model:
        """Load it."""
        for death in self.deaths.iterdir():
            death.unlink()
            os.kill(os.getpid(), signal.SIGKILL)
        return super().load()


def encode_all(folder: Path, *sources: ModelSource) -> list[Outcome]:
    found = find_clips([Found(folder, Path())], recursive=True, output=folder / "out").clips
    planned = plan_clips(found, folder / "out", lambda _: EncodeOptions())
    outcomes: list[Outcome] = []
    engine = Processes([*sources], lambda _facts: None)
    with open_manifests(planned) as manifests:
        encode_clips(planned, engine, Policy(), manifests, unwatched, outcomes.append)
    return outcomes


@contextmanager
def unwatched(_clip: Clip) -> Iterator[Progress]:
    yield lambda _done, _total: None


def test_a_signal_while_a_worker_starts_is_not_lost(
    tmp_path: Path, small_checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_clip(tmp_path / "a.mp4", 5)
    start_process = SpawnProcess.start

    def interrupt_and_start(process: SpawnProcess) -> None:
        os.kill(os.getpid(), signal.SIGINT)
        start_process(process)

    monkeypatch.setattr(SpawnProcess, "start", interrupt_and_start)
    with pytest.raises(KeyboardInterrupt):
        encode_all(tmp_path, ModelSource(str(small_checkpoint), "cpu", "fp32", 1))
    assert not [*tmp_path.rglob("*.safetensors")]


def test_a_clip_that_kills_its_workers_fails_alone(tmp_path: Path, small_checkpoint: Path) -> None:
    for name in ("a", "b", "deadly", "c", "d", "e"):
        write_clip(tmp_path / f"{name}.mp4", 5)
    source = DeadlyClip(str(small_checkpoint), "cpu", "fp32", 1)
    outcomes = encode_all(tmp_path, source, source)
    errors = {outcome.clip.name: outcome.error for outcome in outcomes}
    assert len(errors) == len(outcomes) == 6
    (error,) = [error for error in errors.values() if error is not None]
    assert isinstance(error, WorkerError)
    assert str(error).startswith(f"{tmp_path}/deadly.mp4: the worker that encoded it died 3 times (SIGKILL)")


def test_a_worker_that_dies_before_it_has_a_model_is_replaced_twice(tmp_path: Path, small_checkpoint: Path) -> None:
    write_clip(tmp_path / "a.mp4", 5)
    deaths = tmp_path / "deaths"
    deaths.mkdir()
    source = DeadlyStart(str(small_checkpoint), "cpu", "fp32", 1, deaths)
    for number in range(2):
        (deaths / str(number)).touch()
    (outcome,) = encode_all(tmp_path, source)
    assert outcome.error is None
    assert not [*deaths.iterdir()]
    for number in range(3):
        (deaths / str(number)).touch()
    with pytest.raises(WorkerError, match=r"a worker died 3 times \(SIGKILL\) before its model was loaded"):
        encode_all(tmp_path, source)


def test_a_model_that_cannot_be_loaded_ends_the_run(tmp_path: Path, small_checkpoint: Path) -> None:
    write_clip(tmp_path / "a.mp4", 5)
    with pytest.raises(WeightsError, match="there is no such CUDA device here"):
        encode_all(tmp_path, ModelSource(str(small_checkpoint), "cuda:9", "fp32", 1))


def test_what_no_clip_could_make_right_is_the_error_of_the_run(arguments: Arguments, tmp_path: Path) -> None:
    result = run(*arguments, "-o", tmp_path / "out", "--strategy", "layerwise")
    assert_failed(result, 2, "--strategy layerwise: the model has none of that name")
    result = run("encode", "a.mp4", "b.mp4", "--workers", 2, "--worker-cpus", 2)
    assert_failed(result, 2, "--worker-cpus: only --engine ray has it")
    with pytest.raises(UsageError):
        ModelSource("tiny", "cpu", "fp64").load()


def test_workers_share_out_gpus_and_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    def devices(device: str, num_workers: int | None = None, num_clips: int = 100) -> list[str]:
        return [source.device for source in local_sources("tiny", device, "auto", None, num_workers, num_clips)]

    monkeypatch.setattr(torch, "get_num_threads", lambda: 6)
    assert devices("auto") == ["auto"]
    assert [source.threads for source in local_sources("tiny", "cpu", "auto", None, 4, 100)] == [1, 1, 1, 1]
    assert [source.threads for source in local_sources("tiny", "cpu", "auto", None, 2, 100)] == [3, 3]
    assert [source.threads for source in local_sources("tiny", "cpu", "auto", 5, 2, 100)] == [5, 5]
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 3)
    assert devices("auto") == devices("cuda") == ["cuda:0", "cuda:1", "cuda:2"]
    assert devices("auto", 4) == ["cuda:0", "cuda:1", "cuda:2", "cuda:0"]
    assert devices("auto", num_clips=2) == ["cuda:0", "cuda:1"]
    assert devices("cuda:1") == ["cuda:1"]
    assert devices("cpu", 2) == ["cpu", "cpu"]
