"""What `info --verify` does: read latents files to their end, and say which are damaged."""

import json
from pathlib import Path
from typing import TYPE_CHECKING

from vae3d_cli.cli.jobs import PIPE
from vae3d_cli.cli.runner import Failures, Settings
from vae3d_cli.console import print_json, print_rows, progress_bars
from vae3d_cli.errors import UsageError

if TYPE_CHECKING:
    from vae3d_cli.batch import Verdict


def verify_all(names: list[str], settings: Settings) -> None:
    """Verify files, and those in folders: a row of counts for each input, or JSON for each file.

    Raises:
        UsageError: An input is a pipe.
        typer.Exit: One is not whole, with status 1.
    """
    if PIPE in names or "" in names:
        raise UsageError("--verify: give files or folders")
    from vae3d_cli.batch import find_latents, verify

    found = {name: find_latents(Path(name)) for name in names}
    num_files = sum(map(len, found.values()))
    failures = Failures()
    with progress_bars(num_files, show=settings.shows_progress) as bars:
        for name, files in found.items():
            whole = foreign = 0
            for verdict in verify(files):
                if settings.json or verdict.error is not None:
                    with bars.paused():
                        _present(verdict, failures, settings)
                whole += verdict.error is None and not verdict.foreign
                foreign += verdict.foreign
                bars.advance()
            if not settings.json:
                rows = [("whole", str(whole)), ("not whole", str(len(files) - whole - foreign))]
                with bars.paused():
                    print_rows(name, [*rows, *([("of other programs", str(foreign))] if foreign else [])])
    failures.conclude(num_files)


def _present(verdict: "Verdict", failures: Failures, settings: Settings) -> None:
    """A file as JSON, and what is wrong with it."""
    if settings.json:
        whole = None if verdict.foreign else verdict.error is None
        error = None if verdict.error is None else str(verdict.error)
        print_json(json.dumps({"input": str(verdict.path), "whole": whole, "error": error}), to_stderr=False)
    if verdict.error is not None:
        failures.add(str(verdict.path), verdict.error)
