"""`vae3d convert`: files of latents from one tool to another."""

import json as json_format
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from vae3d_cli.cli import options
from vae3d_cli.cli.build import told
from vae3d_cli.cli.guard import guarded
from vae3d_cli.cli.jobs import PIPE, Job, Target, check_names, is_done, make_folders, plan_jobs
from vae3d_cli.cli.runner import Settings, run_jobs
from vae3d_cli.console import print_detail, print_json, print_path, progress_bar

if TYPE_CHECKING:
    from vae3d_cli.codec import ConvertResult

Output = Annotated[
    str,
    typer.Option(
        "-o",
        "--output",
        metavar="OUTPUT",
        help="Latents file; a folder for several inputs, and for musubi, whose files have names of their own; - is "
        "standard output.",
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
    skip_existing: options.SkipExisting = False,
    json: options.Json = False,
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
    progress: options.ShowProgress = True,
) -> None:
    """Convert latents files from one tool's format to another's."""
    settings = Settings(force, skip_existing, json, quiet, verbose, progress)
    jobs = _plan(inputs, output, format_)
    said = told(fps, scaled)
    from vae3d_cli.codec import Conversion

    def run(job: Job, _: None) -> None:
        with Conversion(job.source, format_.value, said) as conversion:
            if format_ is options.FormatChoice.musubi:
                job = replace(job, outputs={"output": Path(output, conversion.musubi_name)})
                if not _is_open(job, settings):
                    return
            if verbose:
                print_detail(f"{job.name}: {conversion.read_as}")
            with progress_bar(job.name, show=settings.shows_progress) as update:
                result = conversion.write(job.outputs["output"], update)
        _present(result, settings)

    run_jobs(jobs, settings, lambda: None, run)


def _plan(inputs: list[str], output: str, format_: options.FormatChoice) -> list[Job]:
    """A job for each input, without its output where only the input says how that is named."""
    if format_ is not options.FormatChoice.musubi:
        from vae3d_cli.codec import SUFFIXES

        return plan_jobs(inputs, {"output": Target("-o", output, lambda stem: f"{stem}{SUFFIXES[format_]}")})
    check_names(inputs, output)
    jobs = plan_jobs(inputs, {"output": Target("-o", output, lambda stem: stem)})
    return [replace(job, outputs={}) for job in jobs]


def _is_open(job: Job, settings: Settings) -> bool:
    """Whether an output whose name was not known before is to be written; its folder is made then."""
    if is_done(job, overwrite=settings.force, skip_existing=settings.skip_existing):
        settings.note(f"{job.name}: skipped, its output exists")
        return False
    make_folders(job)
    return True


def _present(result: "ConvertResult", settings: Settings) -> None:
    """The path that was written, or JSON."""
    stdout_taken = result.output == PIPE
    for note in result.notes:
        settings.note(note)
    if settings.json:
        print_json(json_format.dumps(result.to_json()), to_stderr=stdout_taken)
    elif not stdout_taken:
        print_path(result.output)
