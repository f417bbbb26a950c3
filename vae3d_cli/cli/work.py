"""What `decode` and `roundtrip` do once their options are parsed."""

import functools
from collections.abc import Callable
from typing import TYPE_CHECKING

import typer

from vae3d_cli.cli import present
from vae3d_cli.cli.jobs import Job
from vae3d_cli.cli.runner import Settings, run_jobs
from vae3d_cli.console import print_error, progress_bar

if TYPE_CHECKING:
    from vae3d_cli.codec import DecodeOptions, EncodeOptions
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
    gates: dict[str, float],
    load: Callable[[], "Model"],
    *,
    per_frame: bool,
) -> None:
    """Measure every job.

    Raises:
        typer.Exit: A gate was missed, with status 3.
    """
    from vae3d_cli.codec import roundtrip_video

    missed_inputs = []

    def run(job: Job, loaded: "Model") -> None:
        with progress_bar(job.name, show=settings.shows_progress) as update:
            result = roundtrip_video(job.source, loaded, options, outputs=job.outputs, encoder=encoder, progress=update)
        missed = result.missed_gates(gates)
        present.present_roundtrip(result, missed, settings, per_frame=per_frame)
        if missed:
            missed_inputs.append(job.name)
            print_error(f"{job.name}: below --fail-under: {', '.join(missed)}")

    run_jobs(jobs, settings, load, run)
    if missed_inputs:
        raise typer.Exit(GATE_MISSED)
