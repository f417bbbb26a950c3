"""VMAF against a run of ffmpeg by hand, and what becomes of the process that measures it."""

import contextlib
import csv
import gc
import json
import math
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import imageio_ffmpeg
import numpy as np
import psutil
import pytest
import torch
from torch import Tensor

from tests.clips import moving_frames, write_clip
from tests.commands import PATIENCE_SECONDS, assert_failed, json_lines, run, start, wait_for
from tests.test_metrics import noisy, real_frames
from vae3d_cli.codec import Extras, roundtrip_video
from vae3d_cli.errors import MeasureError
from vae3d_cli.metrics import FidelityMeter, VmafMeter
from vae3d_cli.weights import Model

# What its model gives a frame that came back exactly, where nothing moves around it, as around the first frame.
EXACT_AND_STILL = 97.43


def clip_of(num_frames: int, width: int, height: int) -> list[Tensor]:
    return [torch.from_numpy(frame) for frame in moving_frames(num_frames, width, height)]


def vmaf(references: list[Tensor], others: list[Tensor]) -> list[float]:
    with VmafMeter() as meter:
        for pair in zip(references, others, strict=True):
            meter.add(*pair)
        return list(meter.values())


def blurred(frame: Tensor) -> Tensor:
    return torch.nn.functional.avg_pool2d(frame.float(), 5, 1, 2, count_include_pad=False).round().byte()


def luma(frame: Tensor) -> bytes:
    """By BT.709 of limited range, by numpy, as the Y of yuv444p without colours."""
    r, g, b = frame.numpy().astype(float)
    values = 16 + 219 / 255 * (0.2126 * r + 0.7152 * g + 0.0722 * b)
    rounded: bytes = values.round().astype(np.uint8).tobytes()
    return rounded + bytes([128]) * (2 * len(rounded))


def rgb(frame: Tensor) -> bytes:
    """As rgb24."""
    return frame.permute(1, 2, 0).numpy().tobytes()


CONVERSION = "scale=out_color_matrix=bt709:out_range=tv,format=yuv420p"


@pytest.mark.parametrize(
    ("pixels", "pix_fmt", "filters", "tolerance"),
    [
        (rgb, "rgb24", f"[0]{CONVERSION}[a];[1]{CONVERSION}[b];[a][b]", 1e-3),
        # One value in 200 is rounded to the other side.
        (luma, "yuv444p", "", 0.05),
    ],
)
def test_vmaf_is_that_of_ffmpeg_run_by_hand_on_two_files(
    tmp_path: Path, pixels: Callable[[Tensor], bytes], pix_fmt: str, filters: str, tolerance: float
) -> None:
    references = [frame[:, 100:301, 200:457] for frame in real_frames(4)]
    others = [noisy(frame, seed) for seed, frame in enumerate(references)]
    inputs: list[str | Path] = []
    for name, frames in (("other", others), ("reference", references)):
        (tmp_path / name).write_bytes(b"".join(map(pixels, frames)))
        inputs += ["-f", "rawvideo", "-pix_fmt", pix_fmt, "-s", "257x201", "-i", tmp_path / name]
    graph = f"{filters}libvmaf=log_fmt=json:log_path=log.json"
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", *inputs, "-lavfi", graph, "-f", "null", "-"]
    subprocess.run(command, check=True, cwd=tmp_path, stdin=subprocess.DEVNULL)
    log = json.loads((tmp_path / "log.json").read_text())
    expected = [frame["metrics"]["vmaf"] for frame in log["frames"]]
    assert 20 < min(expected) < max(expected) < 95
    assert vmaf(references, others) == pytest.approx(expected, abs=tolerance)


def test_a_clip_that_came_back_exactly_has_100_where_it_moves_and_a_worse_one_has_less() -> None:
    clip = real_frames(4)
    exact, worse, worst = (
        vmaf(clip, others) for others in (clip, [*map(blurred, clip)], [noisy(blurred(f)) for f in clip])
    )
    assert exact[0] == pytest.approx(EXACT_AND_STILL, abs=0.01)
    assert min(exact) == exact[0]
    assert exact[-1] > 99
    assert all(a > b > c for a, b, c in zip(exact, worse, worst, strict=True))


def test_a_single_frame_is_a_clip_that_stands_still() -> None:
    (frame,) = clip_of(1, 64, 48)
    assert vmaf([frame], [frame]) == pytest.approx([EXACT_AND_STILL], abs=0.01)
    assert vmaf([frame] * 3, [frame] * 3) == pytest.approx([EXACT_AND_STILL] * 3, abs=0.01)
    assert vmaf([frame], [blurred(frame)])[0] < EXACT_AND_STILL - 1


@pytest.mark.parametrize("size", [(33, 33), (47, 35), (34, 121)])
def test_frames_of_odd_and_small_sizes_are_measured(size: tuple[int, int]) -> None:
    clip = clip_of(2, *size)
    assert vmaf(clip, clip)[0] == pytest.approx(EXACT_AND_STILL, abs=0.01)
    assert vmaf(clip, [noisy(frame) for frame in clip])[0] < 90


def test_frames_that_are_too_small_have_no_vmaf() -> None:
    clip = clip_of(2, 64, 32)
    with VmafMeter() as vmaf_meter:
        meter = FidelityMeter(extras=[vmaf_meter])
        for frame in clip:
            meter.add(frame, frame)
        result = meter.result()
    assert "vmaf" not in result.metrics
    assert result.absent["vmaf"] == "needs frames of at least 33x33"
    assert all(math.isnan(value) for value in vmaf_meter.values())


def children() -> list[psutil.Process]:
    """Those that measure: Python has one of its own once workers were started."""
    return [child for child in psutil.Process().children() if "ffmpeg" in child.name()]


def test_a_meter_that_is_interrupted_leaves_no_process_and_no_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    clip = clip_of(2, 160, 120)
    with pytest.raises(KeyboardInterrupt), VmafMeter() as meter:  # noqa: PT012
        meter.add(clip[0], clip[1])
        (process,) = children()
        assert list(tmp_path.iterdir()) == []  # not even while it runs
        raise KeyboardInterrupt
    assert not process.is_running()
    assert children() == []
    gc.collect()  # a file that was left open would warn


def test_a_process_that_hangs_is_ended_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    other = tmp_path / "ffmpeg"
    other.write_text("#!/bin/sh\nexec sleep 1000\n")
    other.chmod(0o755)
    monkeypatch.setenv("IMAGEIO_FFMPEG_EXE", str(other))
    frame = clip_of(1, 64, 48)[0]
    began = time.monotonic()
    with VmafMeter() as meter:
        meter.add(frame, frame)
    assert time.monotonic() - began < PATIENCE_SECONDS
    assert children() == []


def test_a_process_that_dies_is_one_line() -> None:
    frame = clip_of(1, 320, 240)[0]
    with pytest.raises(MeasureError, match=r"^ffmpeg cannot measure VMAF \(it was ended by signal 9\); leave"):  # noqa: PT012, SIM117
        with VmafMeter() as meter:
            meter.add(frame, frame)
            children()[0].kill()
            for _ in range(20):  # more than a pipe holds
                meter.add(frame, frame)
    assert children() == []


def test_a_process_that_dies_in_a_run_names_the_clip(tiny: Model, tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "large.mp4", 6, 64, 48)

    def kill(done: int, total: int | None) -> None:
        if total and done == total:
            children()[0].kill()

    with pytest.raises(MeasureError, match=rf"^{clip}: ffmpeg cannot measure VMAF .*signal 9"):
        roundtrip_video(clip, tiny, outputs={"csv": tmp_path / "out.csv"}, extras=Extras(vmaf=True), progress=kill)
    assert list(tmp_path.glob("*.csv")) == []


@pytest.mark.parametrize(
    ("script", "reason"),
    [
        (
            "echo '[Parsed_libvmaf_1 @ 0x3d2d8400] no such model' >&2; echo 'Error : more' >&2; exit 1",
            "(no such model)",
        ),
        ("exit 3", "(it ended with 3)"),
        ("cat > /dev/null", "(it measured 0 of 1 frames)"),
    ],
)
def test_an_ffmpeg_that_cannot_is_found_before_any_work(
    clip: Path, monkeypatch: pytest.MonkeyPatch, script: str, reason: str
) -> None:
    other = clip.with_name("ffmpeg")
    other.write_text(f"#!/bin/sh\n{script}\n")
    other.chmod(0o755)
    monkeypatch.setenv("IMAGEIO_FFMPEG_EXE", str(other))
    result = run("roundtrip", clip, "--vmaf", "-m", "no-such-model")
    assert_failed(result, 2, reason)
    assert 'pip install "vae3d-cli[vmaf]"' in result.stderr
    other.unlink()
    assert_failed(run("roundtrip", clip, "--vmaf"), 2, "No such file")


def test_without_the_package_it_is_said_what_to_install(clip: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "imageio_ffmpeg", None)
    assert_failed(run("roundtrip", clip, "--vmaf", "-m", "none"), 2, 'pip install "vae3d-cli[vmaf]"')
    assert run("roundtrip", clip).exit_code == 0


def test_vmaf_is_in_every_report_where_it_is_asked_for(tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "clip.mp4", 6, 64, 48)
    result = run("roundtrip", clip, "--vmaf", "--json", "--per-frame", "--csv", tmp_path / "frames.csv")
    report = json.loads(result.stdout)
    summary = report["metrics"]["vmaf"]
    assert summary["model"] == "vmaf_v0.6.1"
    assert len(summary["per_frame"]) == 6
    assert summary["mean"] == pytest.approx(np.mean(summary["per_frame"]))
    assert summary["min"] == summary["per_frame"][summary["worst_frame"]] == min(summary["per_frame"])
    assert "vmaf" not in report["absent"]
    rows = list(csv.DictReader((tmp_path / "frames.csv").read_text().splitlines()))
    assert [float(row["vmaf"]) for row in rows] == pytest.approx(summary["per_frame"])
    assert f"VMAF (vmaf_v0.6.1)  {summary['mean']:.2f}, worst" in run("roundtrip", clip, "--vmaf").stdout
    shutil.copy(clip, tmp_path / "b.mp4")
    header, *table = run("roundtrip", clip, tmp_path / "b.mp4", "--vmaf").stdout.splitlines()
    assert header.split()[-2:] == ["VMAF", "frames/s"]
    assert [row.split()[-2] for row in table] == [f"{summary['mean']:.2f}"] * 3


def test_where_it_is_not_asked_for_the_json_says_so_and_the_table_nothing(clip: Path) -> None:
    (report,) = json_lines(run("roundtrip", clip, "--json"))
    assert report["metrics"]["vmaf"] is None  # type: ignore[index]
    assert report["absent"]["vmaf"] == "not asked for: --vmaf"  # type: ignore[index]
    assert "VMAF" not in run("roundtrip", clip).stdout


def test_vmaf_can_be_a_gate(tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "clip.mp4", 3, 64, 48)
    gates = ("--vmaf", "--fail-under", "vmaf=1", "--fail-under", "vmaf.min=100")
    missed = run("roundtrip", clip, *gates, "--json")
    assert missed.exit_code == 3
    gate = json.loads(missed.stdout)["gate"]
    assert (gate["passed"], gate["missed"]) == (False, ["vmaf.min"])
    assert re.search(r"vmaf\.min [0-9.]+ < 100 \(tiny, ", missed.stderr)
    assert run("roundtrip", clip, *gates[:3]).exit_code == 0
    assert_failed(run("roundtrip", clip, "--fail-under", "vmaf.min=1", "-m", "none"), 2, "give --vmaf too")


def test_a_frame_too_small_for_vmaf_misses_its_gate(clip: Path) -> None:
    missed = run("roundtrip", clip, "--vmaf", "--fail-under", "vmaf=1")
    assert missed.exit_code == 3
    assert "absent: needs frames of at least 33x33" in missed.stdout


def test_a_signal_ends_the_process_that_measures(tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "clip.mp4", 100, 96, 96)
    process = start("roundtrip", clip, "--vmaf", "--threads", 1, env=os.environ | {"TMPDIR": str(tmp_path)})

    def measuring() -> list[psutil.Process]:
        with contextlib.suppress(psutil.NoSuchProcess):  # those of the check measure one frame and are gone
            return [each for each in psutil.Process(process.pid).children() if "96x192" in each.cmdline()]
        return []

    meters = wait_for(measuring, process)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=PATIENCE_SECONDS)
    assert process.returncode == -signal.SIGINT
    assert b"Traceback" not in errors
    # One that was being started ends with its pipe, later, and not as a child of that process.
    assert not psutil.wait_procs(meters, timeout=PATIENCE_SECONDS)[1]
    assert list(tmp_path.iterdir()) == [clip]
