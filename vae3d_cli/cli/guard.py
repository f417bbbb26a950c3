"""How the program and its commands end: by an exit status, or by the signal that stopped them."""

import functools
import io
import os
import signal
import sys
import threading
import traceback
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import TYPE_CHECKING, NoReturn, ParamSpec

import typer

from vae3d_cli.console import print_error
from vae3d_cli.errors import InputError, Interrupted, PrintError, UsageError, Vae3dError
from vae3d_cli.files import STDOUT_FD, STDOUT_NAME
from vae3d_cli.temporary import remove_temporary_orphans

if TYPE_CHECKING:
    from sys import UnraisableHookArgs

P = ParamSpec("P")

FAILED, USAGE = 1, 2
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
# After which a signal comes again that was lost.
_AGAIN_SECONDS = 0.01


class _Signalled(KeyboardInterrupt):
    """One of the signals that end a run, on its way up through whatever has to be cleaned."""

    last = signal.SIGINT


def run_program(command_line: Callable[[], object]) -> NoReturn:
    """Run what the command line says, in a process of its own, and exit."""
    _open_standard_streams()
    _silence_libraries()
    status: str | int | None = 0
    try:
        command_line()
    except SystemExit as end:
        status = end.code
    except OSError as error:  # of --help and the like; commands have errors of their own
        status = _cannot_print(error)
    try:
        sys.stdout.flush()
    except OSError as error:
        status = status or _cannot_print(error)
        _discard_standard_output()
    raise SystemExit(status)


def guarded(command: Callable[P, None]) -> Callable[P, None]:
    """Turn errors into one line and a status, and signals into a clean end by that signal."""

    @functools.wraps(command)
    def run(*args: P.args, **kwargs: P.kwargs) -> None:
        try:
            _check_working_folder()
            # All that takes long, before signals unwind: extension modules do not bear that while they are imported.
            import vae3d_cli.codec  # noqa: F401

            with _signals():
                remove_temporary_orphans()
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
            # It takes the lowest free number. Writing to standard output stays an error.
            os.open(os.devnull, os.O_RDONLY if number == STDOUT_FD else os.O_RDWR)
    if sys.stdout is None:
        sys.stdout = open(1, "w", closefd=False)  # noqa: SIM115 - a descriptor, for the whole process
    if sys.stderr is None:
        sys.stderr = open(2, "w", closefd=False)  # noqa: SIM115
    # What is no UTF-8 in a file name must not fail where it is printed.
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def _silence_libraries() -> None:
    """Keep warnings for developers from users, also in processes that this one starts, unless they ask for them."""
    if not sys.warnoptions:
        warnings.simplefilter("ignore")
        os.environ["PYTHONWARNINGS"] = "ignore"
    os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")


def _check_working_folder() -> None:
    """See that the working folder is there: without it a library of torch ends the process.

    Raises:
        InputError: It is not.
    """
    try:
        os.getcwd()  # noqa: PTH109 - for its error alone
    except OSError as error:
        raise InputError("the current folder was deleted; change to another one") from error


def _cannot_print(error: OSError) -> int:
    report(PrintError(f"{STDOUT_NAME}: {error.strerror or error}"))
    return FAILED


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

    def repeat_lost(lost: "UnraisableHookArgs") -> None:
        """Have a signal come again that came while Python called back what can raise nothing."""
        if isinstance(lost.exc_value, _Signalled):
            threading.Timer(_AGAIN_SECONDS, os.kill, (os.getpid(), _Signalled.last)).start()
        else:
            hook(lost)

    hook, sys.unraisablehook = sys.unraisablehook, repeat_lost
    before = {number: signal.getsignal(number) for number in _SIGNALS}
    before[signal.SIGPIPE] = signal.signal(signal.SIGPIPE, signal.SIG_IGN)  # so that it is an error
    for number in _SIGNALS:
        if before[number] != signal.SIG_IGN:
            signal.signal(number, unwind)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        sys.unraisablehook = hook


def _die_by(number: signal.Signals) -> NoReturn:
    """End by a signal, so that a shell sees 130, 143, 129 or 141."""
    _discard_standard_output()
    signal.signal(number, signal.SIG_DFL)
    os.kill(os.getpid(), number)
    raise SystemExit(128 + number)


def _discard_standard_output() -> None:
    """Have it take anything: Python writes what is left for it on its way out, and would complain."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), STDOUT_FD)
