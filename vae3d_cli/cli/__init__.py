"""The command line: parse, call one function, present."""

from vae3d_cli.cli.commands import app

__all__ = ["app"]
