"""Every example runs, on the sample clip."""

import os
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
    command = ["bash", str(script)] if script.suffix == ".sh" else [sys.executable, str(script)]
    result = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    return result.stdout


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_every_example_runs_and_is_listed(script: Path, tmp_path: Path) -> None:
    assert f"`{script.name}`" in (EXAMPLES / "README.md").read_text()
    assert run(script, tmp_path)


def test_the_pipeline_gives_the_frames_of_the_clip(tmp_path: Path) -> None:
    assert "PSNR of 17 frames" in run(EXAMPLES / "pipeline.sh", tmp_path)
    frames, _ = read_back(tmp_path / "reconstruction.mkv")
    assert [frame.shape for frame in frames] == [(480, 854, 3)] * 17
