"""How a command ends: by an exit status, or by the signal that stopped it."""

import functools
import io
import os
import signal
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import NoReturn, ParamSpec

import typer

from vae3d_cli.console import print_error
from vae3d_cli.errors import Interrupted, UsageError, Vae3dError

P = ParamSpec("P")

FAILED, USAGE = 1, 2
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class _Signalled(KeyboardInterrupt):
    """One of the signals that end a run, on its way up through whatever has to be cleaned."""

    last = signal.SIGINT


def guarded(command: Callable[P, None]) -> Callable[P, None]:
    """Turn errors into one line and a status, and signals into a clean end by that signal."""

    @functools.wraps(command)
    def run(*args: P.args, **kwargs: P.kwargs) -> None:
        try:
            _open_standard_streams()
            with _signals():
                command(*args, **kwargs)
            return
        except (KeyboardInterrupt, Interrupted):
            number = _Signalled.last
        except BrokenPipeError:
            number = signal.SIGPIPE
        except Vae3dError as error:
            report(error)
            raise typer.Exit(USAGE if isinstance(error, UsageError) else FAILED) from None
        except (typer.Exit, typer.Abort, typer.BadParameter):
            raise
        except Exception as error:  # a bug: still one line, unless a developer asks
            report(error)
            raise typer.Exit(FAILED) from None
        # Not before the exception is gone, and with it what it kept from being cleaned.
        _die_by(number)

    return run


def _open_standard_streams() -> None:
    """Have all three, so that no file of ours takes the place of one that the caller closed."""
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest free number
    if sys.stdout is None:
        sys.stdout = open(1, "w", closefd=False)  # noqa: SIM115 - a descriptor, for the whole process
    if sys.stderr is None:
        sys.stderr = open(2, "w", closefd=False)  # noqa: SIM115
    # What is no UTF-8 in a file name must not fail where it is printed.
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def report(error: Exception) -> None:
    """Print one line on standard error, or the traceback where `VAE3D_DEBUG` asks for it."""
    if os.environ.get("VAE3D_DEBUG"):
        traceback.print_exception(error)
    elif isinstance(error, Vae3dError):
        print_error(str(error))
    else:
        print_error(f"{type(error).__name__}: {error}; this is a bug, VAE3D_DEBUG=1 shows where")


@contextmanager
def _signals() -> Iterator[None]:
    """Have INT, TERM and HUP unwind the stack, except where the caller had them ignored (`nohup`)."""

    def unwind(number: int, _frame: FrameType | None) -> None:
        _Signalled.last = signal.Signals(number)
        raise _Signalled

    before = {number: signal.getsignal(number) for number in _SIGNALS}
    for number, handler in before.items():
        if handler != signal.SIG_IGN:
            signal.signal(number, unwind)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _die_by(number: signal.Signals) -> NoReturn:
    """End by a signal, so that a shell sees 130, 143, 129 or 141."""
    # Python flushes standard output on its way out and would complain of a pipe that has gone.
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    signal.signal(number, signal.SIG_DFL)
    os.kill(os.getpid(), number)
    raise SystemExit(128 + number)
