"""Rich: what people see. Results go to standard output, everything else to standard error."""

import logging
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, TextIO

from vae3d_cli.errors import PrintError

if TYPE_CHECKING:
    from rich.console import Console, RenderableType
    from rich.progress import Progress, TaskID

# Rich is imported where it is used: `--help` and errors need none of it.

PROGRAM = "vae3d"
_UNBOUNDED = 10_000
# Columns for the names of clip and model, which are folded to fit.
_LEAST_NAMES = 16
_BARS, _MOST_BARS = "▁▂▃▄▅▆▇█", 48


def print_error(text: str) -> None:
    """One line `vae3d: error: FILE: what is wrong; what to do`."""
    _print_line(f"{PROGRAM}: error: {text}")


def print_note(text: str) -> None:
    """One line that a user should know, of a run that goes well."""
    _print_line(f"{PROGRAM}: note: {text}")


def print_detail(text: str) -> None:
    """One line on a decision taken, for `-v`."""
    _print_line(f"{PROGRAM}: {text}")


def show_log(*, quiet: bool, verbose: bool) -> None:
    """Print what the package logs: warnings as notes unless `quiet`, the rest as details where `verbose`."""
    handler = _LogLines()
    handler.setLevel(logging.INFO if verbose else logging.ERROR if quiet else logging.WARNING)
    log = logging.getLogger("vae3d_cli")
    log.handlers = [handler]
    log.setLevel(logging.INFO)


class _LogLines(logging.Handler):
    """Log records as lines for people."""

    def emit(self, record: logging.LogRecord) -> None:
        (print_note if record.levelno >= logging.WARNING else print_detail)(record.getMessage())


def print_path(path: str) -> None:
    """The path of a result, byte for byte, for the next program.

    Raises:
        PrintError: Standard output does not take it.
    """
    with _results() as stream:
        stream.flush()
        stream.buffer.write(os.fsencode(path) + b"\n")


def print_json(text: str, *, to_stderr: bool) -> None:
    """One JSON object on a line.

    Raises:
        PrintError: Standard output does not take it.
    """
    with _results(to_stderr=to_stderr) as stream:
        stream.write(f"{text}\n")


def print_rows(title: str, rows: list[tuple[str, str]], *, to_stderr: bool = False) -> None:
    """A table of names and values.

    Raises:
        PrintError: Standard output does not take it.
    """
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(title=Text(_one_line(title)), title_justify="left", show_header=False, box=None, padding=(0, 2, 0, 0))
    for name, value in rows:
        table.add_row(Text(name, style="bold"), Text(_one_line(value), overflow="fold"))
    _print_rich(table, Console(stderr=to_stderr, highlight=False))


def print_table(columns: tuple[str, ...], rows: list[tuple[str, ...]], *, to_stderr: bool = False) -> None:
    """A table with a header; all but its first two columns are figures.

    On a terminal too narrow for the figures each row is a table of its own.

    Raises:
        PrintError: Standard output does not take it.
    """
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    # A file or a pipe has no width to keep to.
    is_terminal = (sys.stderr if to_stderr else sys.stdout).isatty()
    console = Console(stderr=to_stderr, highlight=False, width=None if is_terminal else _UNBOUNDED)
    figures = sum(max(map(len, cells)) + 2 for cells in zip(columns[2:], *(row[2:] for row in rows), strict=True))
    if console.width < figures + _LEAST_NAMES:
        for row in rows:
            print_rows(", ".join(row[:2]), list(zip(columns[2:], row[2:], strict=True)), to_stderr=to_stderr)
        return
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold")
    for index, column in enumerate(columns):
        if index < 2:
            table.add_column(column, overflow="fold")
        else:
            table.add_column(column, justify="right", min_width=max(len(cells[index]) for cells in (columns, *rows)))
    for row in rows:
        table.add_row(*(Text(_one_line(cell)) for cell in row))
    _print_rich(table, console)


def sparkline(values: Sequence[float]) -> str:
    """Values over time as a line of bars, the lowest of each bar's share; empty where it says or can show nothing."""
    try:
        _BARS.encode(sys.stdout.encoding or "ascii")
    except UnicodeEncodeError:
        return ""
    count = min(_MOST_BARS, len(values))
    lows = [min(values[index * len(values) // count : (index + 1) * len(values) // count]) for index in range(count)]
    least, most = min(lows), max(lows)
    if least == most:
        return ""
    bars = "".join(_BARS[int((low - least) / (most - least) * (len(_BARS) - 1) + 0.5)] for low in lows)
    return f"{bars} {least:.1f} to {most:.1f}"


@contextmanager
def progress_bar(label: str, *, show: bool, unit: str = "frames") -> Iterator[Callable[..., None]]:
    """A function to tell of `unit` done, of how many there are if that is known, and of what else is to be shown.

    From its first call on it draws a bar, where standard error is a terminal and `show` allows.
    """
    with progress_bars(1, show=show, unit=unit) as bars, bars.inner(label) as update:
        yield update


@contextmanager
def progress_bars(num_clips: int, *, show: bool, unit: str = "frames") -> Iterator["Bars"]:
    """A bar for the clip at work and, where there are several, one for all; see `progress_bar`."""
    if not show or not sys.stderr.isatty():
        yield Bars(None, unit)
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}"),
        TimeRemainingColumn(),
        TextColumn("{task.fields[text]}", markup=False),
    )
    progress = Progress(*columns, console=Console(stderr=True), transient=True, redirect_stdout=False)
    bars = Bars(progress, unit)
    if num_clips > 1:
        bars.add_outer(num_clips)
    try:
        yield bars
    finally:
        progress.stop()


class Bars:
    """The bars of a run: `inner` draws that of a clip, `advance` counts clips, and `paused` leaves room for results."""

    def __init__(self, progress: "Progress | None", unit: str) -> None:
        self._progress = progress
        self._unit = unit
        self._outer: TaskID | None = None

    def add_outer(self, num_clips: int) -> None:
        """Draw a bar for all clips."""
        if self._progress is not None:
            self._outer = self._progress.add_task("clips", total=num_clips, rate="", text="")

    @contextmanager
    def inner(self, label: str) -> Iterator[Callable[..., None]]:
        """A function to tell of what is done of a clip; see `progress_bar`."""
        progress, unit = self._progress, self._unit
        if progress is None:
            yield lambda _done, _total, _text="": None
            return
        task = progress.add_task(_one_line(label), total=None, rate="", text="")

        def update(done: int, total: int | None, text: str = "") -> None:
            progress.start()  # not before: what is fetched first has bars of its own
            speed = next(each.speed for each in progress.tasks if each.id == task)
            progress.update(task, completed=done, total=total, rate=f"{speed:.1f} {unit}/s" if speed else "", text=text)

        try:
            yield update
        finally:
            progress.remove_task(task)

    def advance(self) -> None:
        """Count a clip that is done with."""
        if self._progress is not None and self._outer is not None:
            self._progress.start()
            self._progress.advance(self._outer)

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Take the bars away while results are printed, perhaps on the same terminal; they come back by themselves."""
        if self._progress is not None:
            self._progress.stop()
        yield


@contextmanager
def _results(*, to_stderr: bool = False) -> Iterator[TextIO]:
    """The stream for results; a reader of a pipe that went away stays a `BrokenPipeError`."""
    try:
        stream = sys.stderr if to_stderr else sys.stdout
        yield stream
        stream.flush()
    except BrokenPipeError:
        raise
    except OSError as error:
        name = "standard error" if to_stderr else "standard output"
        raise PrintError(f"{name}: {error.strerror or error}") from error


def _print_rich(table: "RenderableType", console: "Console") -> None:
    with _results(to_stderr=console.stderr) as stream:
        with console.capture() as capture:  # Rich would end the program where a reader goes away
            console.print(table)
        stream.write(capture.get())


def _print_line(text: str) -> None:
    try:
        print(_one_line(text), file=sys.stderr, flush=True)
    except BrokenPipeError:
        raise
    except OSError:  # nobody can be told
        pass


def _one_line(text: str) -> str:
    """The text with line breaks and control characters escaped, as a file name may hold them."""
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in text)
