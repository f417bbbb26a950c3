"""Running the commands."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from types import TracebackType
from typing import Any, TypeVar

from typer.testing import CliRunner, Result

from vae3d_cli.cli import app

T = TypeVar("T")
# What takes longer hangs, on the busiest of machines.
PATIENCE_SECONDS = 300


def run(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def run_bytes(
    *arguments: object, stdin: bytes = b"", environment: dict[str, str] | None = None
) -> subprocess.CompletedProcess[bytes]:
    """In a process of its own, for what goes through pipes."""
    command = [sys.executable, "-m", "vae3d_cli", *map(str, arguments)]
    settings = os.environ | (environment or {})
    return subprocess.run(
        command, input=stdin, capture_output=True, check=False, timeout=PATIENCE_SECONDS, env=settings
    )


class _Process(subprocess.Popen[bytes]):
    """A process that a failure in its context ends: it may be one that hangs."""

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if kind is not None:
            self.kill()
        super().__exit__(kind, value, traceback)


def start(*arguments: object, **options: Any) -> subprocess.Popen[bytes]:
    """In a process of its own that signals reach, also where whoever runs the tests has them ignored (`nohup`, `&`)."""
    command = [sys.executable, "-m", "vae3d_cli", *map(str, arguments)]
    settings: dict[str, Any] = {"stderr": subprocess.PIPE, "preexec_fn": _have_signals, **options}
    return _Process(command, **settings)


def wait_for(condition: Callable[[], T], process: subprocess.Popen[bytes]) -> T:
    """Wait until something is so, while a process runs, and say what it then is."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not (result := condition()):
        assert process.poll() is None, process.stderr.read() if process.stderr else ""
        assert time.monotonic() < deadline
        time.sleep(0.02)
    return result


def _have_signals() -> None:
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)


def assert_failed(result: Result, status: int, reason: str) -> None:
    """The status, one line on standard error, and nothing on standard output."""
    assert result.exit_code == status, result.output
    assert result.stdout == ""
    assert result.stderr.startswith("vae3d: error: ")
    assert result.stderr.count("\n") == 1
    assert reason in result.stderr, result.stderr


def json_lines(result: Result) -> list[dict[str, object]]:
    return [json.loads(line) for line in result.stdout.splitlines()]
