"""Running the jobs of a command: check all, prepare once, run each, and say which failed."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TypeVar

import typer

from vae3d_cli.cli.guard import FAILED, report
from vae3d_cli.cli.jobs import Job, is_done, make_folders, ready
from vae3d_cli.console import print_error, print_note
from vae3d_cli.errors import Interrupted, PrintError, UsageError

T = TypeVar("T")
_MOST_NAMES = 100
"""That a summary lists; every error was reported when it came."""


@dataclass
class Settings:
    """What all commands take: how to treat outputs that exist, and what to print."""

    force: bool = False
    skip_existing: bool = False
    update: bool = False
    json: bool = False
    quiet: bool = False
    verbose: bool = False
    progress: bool = True
    _said: set[str] = field(default_factory=set)

    def note(self, text: str) -> None:
        """Print a note, once in a run, unless it is to be quiet."""
        if not self.quiet and text not in self._said:
            print_note(text)
        self._said.add(text)

    @property
    def shows_progress(self) -> bool:
        """Whether a progress bar is wanted."""
        return self.progress and not self.quiet


def run_jobs(
    jobs: list[Job],
    settings: Settings,
    prepare: Callable[[], T],
    run: Callable[[Job, T], None],
    finish: Callable[[], None] | None = None,
    reason_to_skip: "Callable[[Job, Settings], str | None] | None" = None,
) -> None:
    """Run every job that can be run; one that fails does not stop the others. `finish` follows the last.

    `reason_to_skip` says why a job is skipped, and reads on from "skipped, its output"; by default it is skipped where
    its outputs exist and `--skip-existing` was given.

    Outputs are checked before `prepare` loads a model, which is before any work.

    Raises:
        UsageError: The command is called wrongly, whatever the input.
        typer.Exit: A job failed, with status 1.
    """
    failures = Failures()
    checked = []
    for job in jobs:
        with failures.of(job):
            reason = (reason_to_skip or _exists)(job, settings)
            if reason is None:
                checked.append(ready(job, force=settings.force))
            else:
                settings.note(f"{job.name}: skipped, its output {reason}")
    if checked:
        prepared = prepare()
        for job in checked:
            with failures.of(job):
                make_folders(job)
                run(job, prepared)
        if finish:
            finish()
    failures.conclude(len(jobs))


def _exists(job: Job, settings: Settings) -> str | None:
    return "exists" if is_done(job, overwrite=settings.force, skip_existing=settings.skip_existing) else None


class Failures:
    """The inputs that failed, each reported when it did."""

    def __init__(self) -> None:
        self._names: list[str] = []

    @contextmanager
    def of(self, job: Job) -> Iterator[None]:
        """Report and remember an error of this job; what ends the whole command goes on."""
        try:
            yield
        except (UsageError, Interrupted, PrintError, BrokenPipeError):
            raise
        except Exception as error:
            self.add(job.name, error)

    def add(self, name: str, error: Exception) -> None:
        """Report and remember an error of the input of this name."""
        report(error)
        self._names.append(name)

    def conclude(self, num_jobs: int) -> None:
        """End with status 1 if any failed, and sum up if there were several.

        Raises:
            typer.Exit: One failed.
        """
        if self._names:
            if num_jobs > 1:
                more = len(self._names) - _MOST_NAMES
                names = [*self._names[:_MOST_NAMES], *([f"and {more} more"] if more > 0 else [])]
                print_error(f"{len(self._names)} of {num_jobs} inputs failed: {', '.join(names)}")
            raise typer.Exit(FAILED)
