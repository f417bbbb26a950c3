"""How the commands are listed and found."""

import re
from pathlib import Path

import pytest

from tests.commands import run

COMMANDS = ["encode", "decode", "roundtrip", "info", "convert", "models", "train"]


def test_commands_are_listed_by_their_use() -> None:
    listed = run("--help").stdout.partition("Commands:")[2]
    assert re.findall(r"^  ([a-z]+) ", listed, re.MULTILINE)[: len(COMMANDS)] == COMMANDS
    assert "..." not in listed


@pytest.mark.parametrize("command", COMMANDS)
def test_help_shows_no_types_of_python(command: str) -> None:
    text = run(command, "--help").stdout
    assert not re.search(r"<(list|str|int|float|bool|Path)\b", text)
    assert "{" not in text.splitlines()[0]


@pytest.mark.parametrize(
    ("word", "suggestion"),
    [
        ("clip.mp4", "vae3d encode clip.mp4"),
        ("missing.mov", "vae3d encode missing.mov"),
        ("my clip.mov", "vae3d encode 'my clip.mov'"),
        ("clip.safetensors", "vae3d decode clip.safetensors"),
        ("folder", "vae3d encode -r folder"),
    ],
)
def test_a_file_in_place_of_a_command_is_told_the_command(
    clip: Path, monkeypatch: pytest.MonkeyPatch, word: str, suggestion: str
) -> None:
    monkeypatch.chdir(clip.parent)
    Path("folder").mkdir()
    result = run(word)
    assert result.exit_code == 2
    assert result.stderr.endswith(f"Error: {word} is a file and not a command. Try: {suggestion}\n")


def test_another_word_is_no_command() -> None:
    assert "No such command 'encod'. Did you mean 'encode'" in run("encod").stderr
    assert run("x" * 400).exit_code == 2
