"""What is read and where it goes, decided before any work."""

import os
import stat
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from itertools import product
from pathlib import Path, PurePath
from typing import TYPE_CHECKING

from vae3d_cli.errors import OutputError, UsageError
from vae3d_cli.files import STDIN_FD, STDOUT_FD, check_input, check_output, check_stdout_is_open

if TYPE_CHECKING:
    from vae3d_cli.batch import Kind, Use

PIPE = "-"
_STREAMS = {STDIN_FD: "/dev/stdin", STDOUT_FD: "/dev/stdout"}


@dataclass(frozen=True)
class Job:
    """One input (`name` is what the user gave) and its outputs by name; `None` is standard input or output.

    `folders` hold outputs with default names, and are made if they are missing. `model` is the name of the model that
    it is for, where the command has several. `common` are outputs of all jobs together. `overwrite` says that outputs
    may be replaced, also those that appear during the run.
    """

    name: str
    source: Path | None
    outputs: dict[str, Path | None]
    folders: frozenset[Path] = frozenset()
    model: str = ""
    common: dict[str, Path | None] = field(default_factory=dict)
    overwrite: bool = False


@dataclass(frozen=True)
class Target:
    """An output option: what the user gave, the kind of file, and its default name in a folder.

    `name_after` takes the input, and a part for the model that is empty for a single model. An output for all inputs
    together has a `common_name` instead. `is_folder` says that files of this option cannot be named.
    """

    option: str
    given: str | None
    kind: "Kind"
    name_after: Callable[[Path, str], str] | None = None
    common_name: str = ""
    beside_input: bool = False
    is_folder: bool = False


def plan_jobs(
    inputs: Sequence[str],
    targets: dict[str, Target],
    models: Sequence[str] = ("",),
    also_read: Iterable["Use"] = (),
) -> list[Job]:
    """A job for each input and model: all inputs of the first model come first.

    An output option names a file or a folder for one job, and a folder for several. Where it is not given, the output
    lies beside the input (`beside_input`) or there is none. `also_read` are files beside the inputs and the models.

    Raises:
        UsageError: A pipe or a terminal where it cannot be, an output with the name of another kind of file, or one
            that is an input or another output.
    """
    inputs = [as_pipe(text, STDIN_FD) for text in inputs]
    if PIPE in inputs and len(inputs) > 1:
        raise UsageError("-: standard input is one clip; give it alone")
    if PIPE in inputs and len(models) > 1:
        raise UsageError("-: standard input is read once; give one model, or a file")
    for text in inputs:
        if text != PIPE and not Path(text).name:
            raise UsageError(f"{text!r}: names no file")
    num_jobs = len(inputs) * len(models)
    targets = {
        name: replace(target, given=None if target.given is None else as_pipe(target.given, STDOUT_FD))
        for name, target in targets.items()
    }
    common = {name: path for name, target in targets.items() if target.common_name for path in _place_common(target)}
    folders = frozenset(
        Path(target.given)
        for target in targets.values()
        if target.given not in (None, PIPE) and _is_folder(target, num_jobs)
    )
    jobs = []
    for model, text in product(models, inputs):
        source = None if text == PIPE else Path(text)
        part = f".{PurePath(model).stem}" if len(models) > 1 else ""
        own = {name: target for name, target in targets.items() if target.name_after}
        outputs = {name: path for name, target in own.items() for path in _place(source, part, target, num_jobs)}
        if [*outputs.values(), *common.values()].count(None) > 1:
            raise UsageError("standard output takes one output; give the other a file")
        jobs.append(Job(text, source, outputs, folders, model, common))
    if targets:
        _refuse_collisions(jobs, targets, models, also_read)
    return jobs


def _refuse_collisions(
    jobs: Sequence[Job], targets: dict[str, Target], models: Sequence[str], also_read: Iterable["Use"]
) -> None:
    """Refuse an output that is an input, a model's file or another output.

    Raises:
        UsageError: An output is one of these.
    """
    from vae3d_cli.batch import refuse_collisions
    from vae3d_cli.weights import model_files

    reads: list[Use] = [("the input", job.source) for job in jobs]
    reads += [("the model", path) for model in models for path in model_files(model)]
    writes: list[Use] = [(targets[name].option, path) for name, path in (jobs[0].common if jobs else {}).items()]
    for job in jobs:
        of = f" of {job.name}" if len(jobs) > 1 else ""
        writes += [(f"{targets[name].option}{of}", path) for name, path in job.outputs.items()]
    refuse_collisions([*also_read, *reads], writes)


def as_pipe(text: str, number: int) -> str:
    """Return `-` for other names of standard input (0) or output (1), and any other name as it is."""
    if os.path.normpath(text) in (_STREAMS[number], f"/dev/fd/{number}", f"/proc/self/fd/{number}"):
        return PIPE
    try:
        status = os.stat(text)  # noqa: PTH116 - any text
        is_same = stat.S_ISFIFO(status.st_mode) and os.path.samestat(status, os.fstat(number))
    except (OSError, ValueError):
        return text
    return PIPE if is_same else text


def refuse_outputs(inputs: Sequence[str], suffixes: Iterable[str]) -> None:
    """Refuse an input that looks like the output: not the first, not there, and with a suffix of the output.

    Raises:
        UsageError: An input looks like the output.
    """
    for text in inputs[1:]:
        if PurePath(text).suffix.lower() in suffixes and not os.path.lexists(text):
            raise UsageError(f"{text}: No such file or directory; if it is the output, write -o {text}")


def check_names(inputs: Sequence[str], output: str | None) -> None:
    """See that neither input nor output is a pipe: musubi-tuner knows its caches by their names.

    Raises:
        UsageError: One is.
    """
    if PIPE in [as_pipe(text, STDIN_FD) for text in inputs]:
        raise UsageError("-: standard input has no name to name musubi-tuner's cache after; give a file")
    if output is not None and as_pipe(output, STDOUT_FD) == PIPE:
        raise UsageError("-o -: musubi-tuner knows its caches by their names; give a folder")


def _is_folder(target: Target, num_jobs: int) -> bool:
    """Tell whether an output option names a folder.

    Raises:
        UsageError: It must, but names a file.
    """
    from vae3d_cli.batch import names_folder

    assert target.given is not None
    is_one_file = num_jobs == 1 or bool(target.common_name)
    return names_folder(target.given, target.option, for_several=target.is_folder or not is_one_file)


def _place(source: Path | None, model_part: str, target: Target, num_jobs: int) -> list[Path | None]:
    """The path of an output of one job, in a list that is empty where there is none."""
    assert target.name_after is not None
    given, option = target.given, target.option
    if given is None:
        if not target.beside_input:
            return []
        if source is None:
            raise UsageError(f"-: standard input has no name to name the output after; give {option}")
        return [source.with_name(target.name_after(source, model_part))]
    if given == PIPE:
        if num_jobs > 1:
            raise UsageError(f"{option} -: standard output takes one clip; give a folder")
        check_stdout(option, given)
        return [None]
    if not _is_folder(target, num_jobs):
        return [_named(target)]
    if source is None:
        raise UsageError(f"{option} {given}: standard input has no name to name the output after; name a file")
    return [Path(given, target.name_after(source, model_part))]


def _place_common(target: Target) -> list[Path | None]:
    """The path of the one output of this option, in a list that is empty where there is none."""
    check_stdout(target.option, target.given)
    if target.given is None:
        return []
    if target.given == PIPE:
        return [None]
    return [Path(target.given, target.common_name) if _is_folder(target, 1) else _named(target)]


def _named(target: Target) -> Path:
    """Return the file that an output option names.

    Raises:
        UsageError: Its suffix means another kind of file.
    """
    from vae3d_cli.batch import check_suffix

    assert target.given is not None
    check_suffix(target.given, target.kind)
    return Path(target.given)


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
    """Make the folders that hold outputs with default names.

    Raises:
        OutputError: One cannot be made.
    """
    for folder in job.folders:
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
    outputs = _outputs(job)
    for path in outputs:
        check_output(path, overwrite=overwrite or skip_existing, makes_folder=path.parent in job.folders)
    if skip_existing and outputs:
        existing = [path for path in outputs if path.exists()]
        if len(existing) == len(outputs):
            return True
        if existing and not overwrite:
            raise OutputError(f"{existing[0]}: exists already, and another output does not; overwrite it with --force")
    return False


def ready(job: Job, *, force: bool) -> Job:
    """Note of a checked job whether its outputs may be overwritten: with `force`, or because they existed before."""
    return replace(job, overwrite=force or any(path.exists() for path in _outputs(job)))


def _outputs(job: Job) -> list[Path]:
    return [path for path in (*job.outputs.values(), *job.common.values()) if path is not None]
