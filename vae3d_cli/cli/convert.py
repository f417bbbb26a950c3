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
    skip_existing: options.SkipWhole = False,
    update: options.Update = False,
    json: options.Json = False,
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
    progress: options.ShowProgress = True,
) -> None:
    """Convert latents files from one tool's format to another's."""
    settings = Settings(force, skip_existing, update, json, quiet, verbose, progress)
    jobs = _plan(inputs, output, format_)
    said = told(fps, scaled)
    from vae3d_cli.codec import Conversion

    def run(job: Job, _: None) -> None:
        with Conversion(job.source, format_.value, said) as conversion:
            if format_ is options.FormatChoice.musubi:
                job = replace(job, outputs={"output": Path(output, conversion.musubi_name)})
                reason = _reason_to_skip(job, settings)
                if reason is not None:
                    settings.note(f"{job.name}: skipped, its output {reason}")
                    return
                make_folders(job)
            if verbose:
                print_detail(f"{job.name}: {conversion.read_as}")
            with progress_bar(job.name, show=settings.shows_progress) as update:
                result = conversion.write(job.outputs["output"], update)
        _present(result, settings)

    run_jobs(jobs, settings, lambda: None, run, reason_to_skip=_reason_to_skip)


def _plan(inputs: list[str], output: str, format_: options.FormatChoice) -> list[Job]:
    """A job for each input, without its output where only the input says how that is named."""
    if format_ is not options.FormatChoice.musubi:
        from vae3d_cli.codec import SUFFIXES

        return plan_jobs(inputs, {"output": Target("-o", output, lambda stem: f"{stem}{SUFFIXES[format_]}")})
    check_names(inputs, output)
    jobs = plan_jobs(inputs, {"output": Target("-o", output, lambda stem: stem)})
    return [replace(job, outputs={}) for job in jobs]


def _reason_to_skip(job: Job, settings: Settings) -> str | None:
    """Why an existing output is kept; `None` where it is written, or where its name is not known yet."""
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
