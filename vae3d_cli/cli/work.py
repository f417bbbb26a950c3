"""What `decode` and `roundtrip` do once their options are parsed."""

import functools
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

import typer

from vae3d_cli.cli import present
from vae3d_cli.cli.jobs import PIPE, Job
from vae3d_cli.cli.parse import CEILINGS
from vae3d_cli.cli.reporting import Reporter
from vae3d_cli.cli.runner import Settings, run_jobs
from vae3d_cli.console import print_error, progress_bar

if TYPE_CHECKING:
    from vae3d_cli.codec import DecodeOptions, EncodeOptions, Extras
    from vae3d_cli.video import EncoderOptions
    from vae3d_cli.weights import Model

GATE_MISSED = 3


def decode_jobs(
    jobs: list[Job],
    settings: Settings,
    options: "DecodeOptions",
    model: str | None,
    load: Callable[[str], "Model"],
) -> None:
    """Decode every job with the model that is named, or that its file names; each is loaded once."""
    from vae3d_cli.codec import decode_video

    def prepare() -> "Callable[[str], Model]":
        load_once = functools.cache(load)
        if model is not None:
            load_once(model)
        return load_once

    def run(job: Job, load_once: "Callable[[str], Model]") -> None:
        with progress_bar(job.name, show=settings.shows_progress) as update:
            result = decode_video(job.source, job.outputs["output"], model, options, load=load_once, progress=update)
        present.present_result(result, settings)

    run_jobs(jobs, settings, prepare, run)


def roundtrip_jobs(
    jobs: list[Job],
    settings: Settings,
    options: "EncodeOptions",
    encoder: "EncoderOptions",
    extras: "Extras",
    gates: dict[str, float],
    load: Callable[[str], "Model"],
    *,
    per_frame: bool,
) -> None:
    """Measure every job: one in detail, several in a table with a row each.

    Raises:
        typer.Exit: A gate was missed, with status 3.
    """
    from vae3d_cli.codec import roundtrip_video

    missed_inputs = []
    reporter = Reporter(jobs)
    common = {name: PIPE if path is None else str(path) for name, path in jobs[0].common.items()}
    measured: list[tuple[Job, dict[str, float]]] = []

    def prepare() -> "Callable[[str], Model]":
        load_once = functools.lru_cache(maxsize=1)(load)  # the jobs come model by model
        if len({job.model for job in jobs}) == 1:  # without it nothing can be done; of several, one may fail
            load_once(jobs[0].model)
        return load_once

    def run(job: Job, load_once: "Callable[[str], Model]") -> None:
        model = load_once(job.model)
        with progress_bar(job.name, show=settings.shows_progress) as update:
            result = roundtrip_video(
                job.source,
                model,
                options,
                outputs=job.outputs,
                encoder=encoder,
                extras=extras,
                viewer=reporter.viewer(job),
                progress=update,
            )
        result = replace(result, outputs=result.outputs | common)
        reporter.add(job, result)
        missed = result.missed_gates(gates)
        if settings.json or len(jobs) == 1:
            present.present_roundtrip(result, missed, settings, per_frame=per_frame)
        else:
            present.present_run(result, settings)
            measured.append((job, result.fidelity.by_name() | {present.SPEED: result.frames_per_second}))
        if missed:
            missed_inputs.append(job.name)
            print_error(f"{job.name}: {_missed_text(missed)}")

    try:
        run_jobs(jobs, settings, prepare, run, reporter.write)
    finally:  # also of what was done before a job failed, or a signal came
        if measured:
            protocol = options.protocol.name if options.protocol else None
            present.present_comparison(measured, extras, protocol, to_stderr=PIPE in common.values())
    if missed_inputs:
        raise typer.Exit(GATE_MISSED)


def _missed_text(missed: list[str]) -> str:
    """Which gates were missed, from which side."""
    sides = {
        "below --fail-under": [name for name in missed if name not in CEILINGS],
        "above --fail-over": [name for name in missed if name in CEILINGS],
    }
    return "; ".join(f"{side}: {', '.join(names)}" for side, names in sides.items() if names)
