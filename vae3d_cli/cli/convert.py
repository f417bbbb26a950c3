"""`vae3d convert`: files of latents from one tool to another."""

import json as json_format
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from vae3d_cli.cli import options
from vae3d_cli.cli.build import told
from vae3d_cli.cli.guard import guarded
from vae3d_cli.cli.jobs import PIPE, Job, Target, check_names, is_done, plan_jobs
from vae3d_cli.cli.runner import Settings, run_jobs
from vae3d_cli.console import print_detail, print_json, print_path, progress_bar
from vae3d_cli.errors import LatentsError, UsageError
from vae3d_cli.files import is_read_once

if TYPE_CHECKING:
    from vae3d_cli.codec import ConvertResult, Told

Output = Annotated[
    str,
    typer.Option(
        "-o",
        "--output",
        metavar="OUTPUT",
        help="Latents file, or a folder: NAME/, or one that exists. Always a folder for several inputs, and for "
        "musubi, whose files have names of their own. - is standard output.",
    ),
]


@guarded
def convert(
    inputs: options.LatentsInputs,
    output: Output,
    format_: options.Format,
    fps: options.RateOfLatents = None,
    scaled: options.ScaleOfLatents = None,
    force: options.Force = False,
    skip_existing: options.SkipWhole = False,
    update: options.Update = False,
    json: options.Json = False,
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
    progress: options.ShowProgress = True,
) -> None:
    """Convert latents files from one tool's format to another's."""
    settings = Settings(force, skip_existing, update, json, quiet, verbose, progress)
    said = told(fps, scaled)
    jobs = _plan(inputs, output, format_, said)
    from vae3d_cli.codec import Conversion

    def run(job: Job, _: None) -> None:
        with Conversion(job.source, format_.value, said) as conversion:
            if verbose:
                print_detail(f"{job.name}: {conversion.read_as}")
            with progress_bar(job.name, show=settings.shows_progress) as update:
                result = conversion.write(job.outputs["output"], update, overwrite=job.overwrite)
        _present(result, settings)

    run_jobs(jobs, settings, lambda: None, run, reason_to_skip=_reason_to_skip)


def _plan(inputs: list[str], output: str, format_: options.FormatChoice, said: "Told") -> list[Job]:
    """Plan a job for each input; musubi-tuner's names are in the inputs, whose headers are read for them."""
    from vae3d_cli.batch import latents_kind
    from vae3d_cli.codec import SUFFIXES, Conversion, musubi_pattern

    def name_after(source: Path, _: str) -> str:
        if format_ is not options.FormatChoice.musubi:
            return f"{source.stem}{SUFFIXES[format_]}"
        if is_read_once(source):
            raise UsageError(f"{source}: a pipe has no name to name musubi-tuner's cache after; give a file")
        try:
            with Conversion(source, format_.value, said) as conversion:
                return conversion.musubi_name
        except LatentsError:  # reported when the file is converted
            return musubi_pattern(source.stem, None)

    is_musubi = format_ is options.FormatChoice.musubi
    if is_musubi:
        check_names(inputs, output)
    target = Target("-o", output, latents_kind(format_.value), name_after, is_folder=is_musubi)
    return plan_jobs(inputs, {"output": target})


def _reason_to_skip(job: Job, settings: Settings) -> str | None:
    """Why an existing output is kept; `None` where it is written."""
    from vae3d_cli.batch import Policy, judge_converted

    policy = Policy(force=settings.force, skip_existing=settings.skip_existing, update=settings.update)
    if not is_done(job, overwrite=settings.force, skip_existing=policy.looks):
        return None
    output = job.outputs["output"]
    assert output is not None
    if job.source is None or not (job.source.is_file() and output.is_file()):
        return "is there, and cannot be compared"
    judgement = judge_converted(job.source, output)
    return f"is {judgement.reason}" if policy.keeps(judgement.state) else None


def _present(result: "ConvertResult", settings: Settings) -> None:
    """The path that was written, or JSON."""
    stdout_taken = result.output == PIPE
    for note in result.notes:
        settings.note(note)
    if settings.json:
        print_json(json_format.dumps(result.to_json()), to_stderr=stdout_taken)
    elif not stdout_taken:
        print_path(result.output)
