"""Completion in shells."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.commands import run_bytes


def asked_by(shell: str, line: str) -> str:
    """What the program answers when a shell asks it to complete this line."""
    words = line.split(" ")
    environment = {
        "bash": {"COMP_WORDS": "\n".join(words), "COMP_CWORD": str(len(words) - 1)},
        "zsh": {"_TYPER_COMPLETE_ARGS": line},
        "fish": {"_TYPER_COMPLETE_ARGS": line, "_TYPER_COMPLETE_FISH_ACTION": "get-args"},
    }[shell]
    return run_bytes(environment=environment | {"_VAE3D_COMPLETE": f"complete_{shell}"}).stdout.decode()


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_commands_options_and_their_values_are_completed(shell: str) -> None:
    assert "encode" in (commands := asked_by(shell, "vae3d enc"))
    assert "decode" not in commands
    assert "--posterior" in asked_by(shell, "vae3d encode --post")
    assert "sample" in (values := asked_by(shell, "vae3d encode --posterior sa"))
    assert "moments" not in values


@pytest.mark.skipif(shutil.which("bash") is None, reason="bash is not installed")
def test_what_is_installed_completes_in_bash(tmp_path: Path) -> None:
    environment = os.environ | {"HOME": str(tmp_path), "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}

    def bash(script: str) -> str:
        done = subprocess.run(["bash", "-c", script], env=environment, capture_output=True, text=True, check=True)
        return done.stdout

    bash("vae3d --install-completion; true")
    ask = "COMP_WORDS=(vae3d round); COMP_CWORD=1; _vae3d_completion vae3d; echo ${COMPREPLY[@]}"
    assert bash(f". ~/.bashrc; {ask}") == "roundtrip\n"
