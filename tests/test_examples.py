"""Every example runs, on the sample clip."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.clips import read_back

EXAMPLES = Path(__file__).parent.parent / "examples"
SCRIPTS = sorted(path for path in EXAMPLES.iterdir() if path.suffix in {".sh", ".py"})


def run(script: Path, folder: Path) -> str:
    """Run an example as its reader would, with the commands of this environment first on the path."""
    environment = os.environ | {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    environment.pop("OMP_NUM_THREADS")  # as a reader has it: here both cores have work to do
    command = ["bash", str(script)] if script.suffix == ".sh" else [sys.executable, str(script)]
    result = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    return result.stdout


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_every_example_runs_and_is_listed(script: Path, tmp_path: Path) -> None:
    assert f"`{script.name}`" in (EXAMPLES / "README.md").read_text()
    assert run(script, tmp_path)


def test_the_design_of_hunyuanvideo_is_what_the_example_says(tmp_path: Path) -> None:
    text = run(EXAMPLES / "one_plus_4k.py", tmp_path)
    rows = [line.split() for line in text.splitlines()]
    moved = {int(row[0]): (float(row[1]), float(row[3])) for row in rows if len(row) == 5 and row[2] == row[4] == "%"}
    assert [moved[index][0] for index in range(3)] == [0, 0, 0]
    assert all(moved[index][1] > 1 for index in range(4))
    assert moved[3][0] > 1
    assert float(re.findall("by frame +differs by +(.*) %", text)[0]) < 1e-3
    assert float(re.findall("over the clip +differs by +(.*) %", text)[0]) > 1
    costs = next(row for row in rows if row[:1] == ["17"])
    assert costs[2:4] == ["5", "40.8"]
    assert [float(cost) for cost in costs[4:]] == pytest.approx([9.3, 17.5], abs=0.5)


def test_the_pipeline_gives_the_frames_of_the_clip(tmp_path: Path) -> None:
    assert "PSNR of 17 frames" in run(EXAMPLES / "pipeline.sh", tmp_path)
    frames, _ = read_back(tmp_path / "reconstruction.mkv")
    assert [frame.shape for frame in frames] == [(480, 854, 3)] * 17
