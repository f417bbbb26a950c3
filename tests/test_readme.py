"""The README holds the real `--help`; `python -m tests.test_readme` renews it."""

import re
import typing
from pathlib import Path

import pytest
from typer.models import OptionInfo
from typer.testing import CliRunner

from vae3d_cli.cli import app
from vae3d_cli.cli.options import Crf
from vae3d_cli.video.encoding import EncoderOptions, choose_encoding

ROOT = Path(__file__).parent.parent
README = ROOT / "README.md"
COMMANDS = (
    (),
    ("encode",),
    ("decode",),
    ("roundtrip",),
    ("convert",),
    ("info",),
    ("train",),
    ("models",),
    ("models", "pull"),
)
SECTION = re.compile(r"(?<=## All options\n\n).*?(?=## Licence)", re.DOTALL)


def reference() -> str:
    """The help of every command, 80 columns wide."""
    blocks = []
    for command in COMMANDS:
        result = CliRunner().invoke(app, [*command, "--help"], prog_name="vae3d", terminal_width=80)
        text = "\n".join(line.rstrip() for line in result.stdout.splitlines()).strip()
        blocks.append(f"```\n$ {' '.join(['vae3d', *command, '--help'])}\n{text}\n```\n\n")
    return "".join(blocks)


@pytest.mark.parametrize("codec", ["libx264", "libx265", "libvpx-vp9", "libsvtav1", "ffv1", "mpeg4"])
def test_help_and_readme_say_the_default_crf_of_every_encoder(codec: str) -> None:
    crf = choose_encoding(".mkv", EncoderOptions(codec=codec)).codec_options.get("crf")
    (help_text,) = {option.help for option in typing.get_args(Crf) if isinstance(option, OptionInfo)}
    for text in (help_text or "", README.read_text()):
        said = " ".join(text.split())
        assert (f"{crf} for {codec}," in said) if crf else (f" for {codec}," not in said)


def test_the_reference_is_what_the_commands_print() -> None:
    (found,) = SECTION.findall(README.read_text())
    assert found == reference(), "run python -m tests.test_readme"


def test_the_commands_that_start_everything_are_those_that_ci_runs() -> None:
    readme, ci = README.read_text(), (ROOT / ".ci" / "run").read_text()
    for start in re.findall(r"^python3 -m venv .*$", readme, re.MULTILINE):
        for step in start.split(" && ")[2:]:
            assert step.replace("pip install", "pip install --quiet") in ci


def test_nothing_is_left_to_fill_in() -> None:
    assert "@@" not in README.read_text()


def test_every_file_that_the_readme_links_to_exists() -> None:
    for link in re.findall(r"\]\((?!https?:)([^)#]+)\)", README.read_text()):
        assert (ROOT / link).exists(), link


if __name__ == "__main__":
    README.write_text(SECTION.sub(lambda _: reference(), README.read_text()))
