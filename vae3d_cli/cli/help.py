"""How the commands are listed, what they say of their arguments, and what a word is told that is no command."""

import os
import shlex
from pathlib import Path
from typing import TYPE_CHECKING

from typer.core import TyperCommand, TyperGroup

if TYPE_CHECKING:  # Typer has no public names for these
    import typer._click as click

# By how often they are used.
_ORDER = ("encode", "decode", "roundtrip", "info", "convert", "models", "train")
_LATENTS_SUFFIXES = {".safetensors", ".latent", ".pt"}


class Command(TyperCommand):
    """A command whose help names its arguments plainly: without their Python types, and without braces."""

    def collect_usage_pieces(self, ctx: "click.Context") -> list[str]:
        """Return the parts of the line `Usage`."""
        return [piece.translate({ord(brace): None for brace in "{}"}) for piece in super().collect_usage_pieces(ctx)]

    def format_options(self, ctx: "click.Context", formatter: "click.HelpFormatter") -> None:
        """Write the arguments, and then the options."""
        rows: dict[str, list[tuple[str, str]]] = {"argument": [], "option": []}
        for param in self.get_params(ctx):
            if (record := param.get_help_record(ctx)) is not None:
                name, text = record
                kind = param.param_type_name
                rows[kind].append((str(param.metavar) if kind == "argument" else name, text))
        for title, kind in (("Arguments", "argument"), ("Options", "option")):
            if rows[kind]:
                with formatter.section(title):
                    formatter.write_dl(rows[kind])


class Commands(TyperGroup):
    """The commands in the order of their use; a file in place of one is told which command takes it."""

    def list_commands(self, ctx: "click.Context") -> list[str]:  # noqa: ARG002
        """Return the names of all commands."""
        return sorted(self.commands, key=_ORDER.index)

    def resolve_command(
        self, ctx: "click.Context", args: list[str]
    ) -> tuple[str | None, "click.Command | None", list[str]]:
        """Find the command that the first word names."""
        word = args[0]
        if word not in self.commands and _is_file(word):
            ctx.fail(f"{word} is a file and not a command. Try: vae3d {_command_for(word)} {shlex.quote(word)}")
        return super().resolve_command(ctx, args)


def _is_file(word: str) -> bool:
    """Whether a word is a file or a folder, or looks like the name of one."""
    return Path(word).suffix != "" or os.path.exists(word)  # noqa: PTH110 - any text


def _command_for(name: str) -> str:
    if os.path.isdir(name):  # noqa: PTH112
        return "encode -r"
    return "decode" if Path(name).suffix.lower() in _LATENTS_SUFFIXES else "encode"
