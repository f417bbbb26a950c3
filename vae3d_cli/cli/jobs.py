"""What is read and where it goes, decided before any work."""

import sys
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path, PurePath

from vae3d_cli.errors import OutputError, UsageError
from vae3d_cli.files import check_input, check_output, check_stdout_is_open, same_file

PIPE = "-"


@dataclass(frozen=True)
class Job:
    """One input (`name` is what the user gave) and its outputs by name; `None` is standard input or output.

    `shares_folders` says that the outputs lie in folders for several inputs, which are made if need be. `model` is the
    name of the model that it is for, where the command has several. `common` are outputs of all jobs together.
    """

    name: str
    source: Path | None
    outputs: dict[str, Path | None]
    shares_folders: bool = False
    model: str = ""
    common: dict[str, Path | None] = field(default_factory=dict)


@dataclass(frozen=True)
class Target:
    """An output option: what the user gave, and how an output is named where several share a folder.

    That is after the stem of its input, and of the model if there are several. One without `name_after` is common to
    all.
    """

    option: str
    given: str | None
    name_after: Callable[[str], str] | None = None
    beside_input: bool = False


def plan_jobs(inputs: list[str], targets: dict[str, Target], models: Sequence[str] = ("",)) -> list[Job]:
    """A job for each input and model: all inputs of the first model come first.

    An output option names a file for one job and a folder for several. Where it is not given, the output lies beside
    the input (`beside_input`) or there is none.

    Raises:
        UsageError: A pipe or a terminal where it cannot be, or two jobs with one output.
    """
    if PIPE in inputs and len(inputs) > 1:
        raise UsageError("-: standard input is one clip; give it alone")
    if PIPE in inputs and len(models) > 1:
        raise UsageError("-: standard input is read once; give one model, or a file")
    num_jobs = len(inputs) * len(models)
    common = {name: path for name, target in targets.items() if not target.name_after for path in _place_common(target)}
    jobs = []
    for model, text in product(models, inputs):
        source = None if text == PIPE else Path(text)
        if source is not None and not source.name:
            raise UsageError(f"{text!r}: names no file")
        part = f".{PurePath(model).stem}" if len(models) > 1 else ""
        outputs = {name: path for name, target in targets.items() for path in _place(source, part, target, num_jobs)}
        if [*outputs.values(), *common.values()].count(None) > 1:
            raise UsageError("standard output takes one output; give the other a file")
        shares_folders = num_jobs > 1 and any(target.given for target in targets.values() if target.name_after)
        jobs.append(Job(text, source, outputs, shares_folders, model, common))
    counts = Counter([path for job in jobs for path in job.outputs.values()] + list(common.values()))
    for path, count in counts.items():
        if count > 1 and path is not None:
            raise UsageError(f"{path}: {count} outputs would have this name; name them apart")
    return jobs


def check_names(inputs: Sequence[str], output: str | None) -> None:
    """See that neither input nor output is a pipe: musubi-tuner knows its caches by their names.

    Raises:
        UsageError: One is.
    """
    if PIPE in inputs:
        raise UsageError("-: standard input has no name to name musubi-tuner's cache after; give a file")
    if output == PIPE:
        raise UsageError("-o -: musubi-tuner knows its caches by their names; give a folder")


def _place(source: Path | None, model_part: str, target: Target, num_jobs: int) -> list[Path | None]:
    """The path of an output of one job, in a list that is empty where there is none."""
    if target.name_after is None:
        return []
    given, option = target.given, target.option
    if given is None:
        if not target.beside_input:
            return []
        if source is None:
            raise UsageError(f"-: standard input has no name to name the output after; give {option}")
        return [source.with_name(target.name_after(source.stem))]
    if num_jobs == 1:
        return _place_common(target)
    if given == PIPE:
        raise UsageError(f"{option} -: standard output takes one clip; give a folder")
    assert source is not None  # standard input comes alone
    return [Path(given) / target.name_after(source.stem + model_part)]


def _place_common(target: Target) -> list[Path | None]:
    """The path of the one output of this option, in a list that is empty where there is none."""
    check_stdout(target.option, target.given)
    return [] if target.given is None else [None if target.given == PIPE else Path(target.given)]


def check_stdout(option: str, given: str | None) -> None:
    """See that standard output, where it is an output, takes bytes and is no terminal.

    Raises:
        UsageError: It is a terminal.
        OutputError: It is closed.
    """
    if given != PIPE:
        return
    if sys.stdout.isatty():
        raise UsageError(f"{option} -: standard output is a terminal; redirect it or give it to a pipe")
    check_stdout_is_open()


def make_folders(job: Job) -> None:
    """Make the folders that the outputs of several inputs share; that of a single output must be there.

    Raises:
        OutputError: One cannot be made.
    """
    if not job.shares_folders:
        return
    for folder in {path.parent for path in job.outputs.values() if path is not None}:
        try:
            folder.mkdir(exist_ok=True)
        except OSError as error:
            raise OutputError(f"{folder}: {error.strerror}; name another folder with -o") from error


def is_done(job: Job, *, overwrite: bool, skip_existing: bool) -> bool:
    """Whether all outputs are there and may be skipped.

    Raises:
        InputError: The input is not there.
        OutputError: An output cannot be written, or may not be overwritten.
    """
    check_input(job.source)
    outputs = [path for path in job.outputs.values() if path is not None]
    common = [path for path in job.common.values() if path is not None]
    for path in outputs:
        check_output(path, overwrite=overwrite or skip_existing, makes_folder=job.shares_folders)
    for path in common:
        check_output(path, overwrite=overwrite or skip_existing)
    outputs += common
    if skip_existing and outputs:
        existing = [path for path in outputs if path.exists()]
        if len(existing) == len(outputs):
            return True
        if existing and not overwrite:
            raise OutputError(f"{existing[0]}: exists already, and another output does not; overwrite it with --force")
    for path in outputs:
        if job.source is not None and same_file(job.source, path):
            raise OutputError(f"{path}: is the input itself; name another output")
    return False
