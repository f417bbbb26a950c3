"""What `decode` and `roundtrip` do once their options are parsed."""

import functools
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from vae3d_cli.cli import present
from vae3d_cli.cli.jobs import PIPE, Job, Target, plan_jobs, refuse_outputs
from vae3d_cli.cli.reporting import REPORT, Reporter
from vae3d_cli.cli.runner import Settings, run_jobs
from vae3d_cli.console import progress_bar

if TYPE_CHECKING:
    from vae3d_cli.codec import DecodeOptions, EncodeOptions, Extras
    from vae3d_cli.video import EncoderOptions
    from vae3d_cli.weights import Model

GATE_MISSED = 3


def plan_decode(
    inputs: list[str], output: str | None, model: str | None, audio: str | None, *, wants_video: bool
) -> list[Job]:
    """Plan the files to decode; by default a still image becomes a picture, unless the options ask for a video."""
    from vae3d_cli.batch import PICTURE_SUFFIXES, VIDEO, VIDEO_SUFFIXES, is_still

    def name_after(source: Path, _: str) -> str:
        return f"{source.stem}.decoded.{'png' if is_still(source) and not wants_video else 'mp4'}"

    refuse_outputs(inputs, VIDEO_SUFFIXES | PICTURE_SUFFIXES)
    target = Target("-o", output, VIDEO, name_after, beside_input=True)
    also_read = [] if audio is None else [("the audio source", Path(audio))]
    return plan_jobs(inputs, {"output": target}, [model or ""], also_read)


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
            result = decode_video(
                job.source,
                job.outputs["output"],
                model,
                options,
                load=load_once,
                overwrite=job.overwrite,
                progress=update,
            )
        present.present_result(result, settings)

    run_jobs(jobs, settings, prepare, run)


def plan_roundtrip(
    inputs: list[str],
    recon: str | None,
    compare: str | None,
    latents: str | None,
    csv: str | None,
    report: str | None,
    *,
    models: list[str],
    lpips: str | None,
) -> list[Job]:
    """Plan the clips of a roundtrip; outputs are named as in the JSON."""
    from vae3d_cli.batch import PAGE, TABLE, VIDEO, Kind, latents_kind

    def target(option: str, given: str | None, kind: Kind, suffix: str) -> Target:
        return Target(option, given, kind, lambda source, model_part: f"{source.stem}{model_part}{suffix}")

    targets = {
        "recon": target("-o", recon, VIDEO, ".mp4"),
        "compare": target("--compare", compare, VIDEO, ".compare.mp4"),
        "latents": target("--latents", latents, latents_kind("vae3d"), ".safetensors"),
        "csv": target("--csv", csv, TABLE, ".csv"),
        REPORT: Target("--report", report, PAGE, common_name="report.html"),
    }
    return plan_jobs(inputs, targets, models, [] if lpips is None else [("the LPIPS weights", Path(lpips))])


def roundtrip_jobs(
    jobs: list[Job],
    settings: Settings,
    options: "EncodeOptions",
    encoder: "EncoderOptions",
    extras: "Extras",
    thresholds: dict[str, float],
    load: Callable[[str], "Model"],
    *,
    per_frame: bool,
) -> None:
    """Measure every job: one in detail, several in a table with a row each.

    Raises:
        typer.Exit: A gate was missed, with status 3.
    """
    from vae3d_cli.codec import roundtrip_video
    from vae3d_cli.files import OutputGroup
    from vae3d_cli.metrics import check_gates

    has_missed = False
    reporter = Reporter(jobs, overwrite=settings.force)
    common = {name: PIPE if path is None else str(path) for name, path in jobs[0].common.items()}
    measured: list[tuple[Job, dict[str, float]]] = []

    def prepare() -> "Callable[[str], Model]":
        load_once = functools.lru_cache(maxsize=1)(load)  # the jobs come model by model
        if len({job.model for job in jobs}) == 1:  # without it nothing can be done; of several, one may fail
            load_once(jobs[0].model)
        return load_once

    def run(job: Job, load_once: "Callable[[str], Model]") -> None:
        nonlocal has_missed
        model = load_once(job.model)
        with (
            OutputGroup(overwrite=job.overwrite) as group,
            progress_bar(job.name, show=settings.shows_progress) as update,
        ):
            result = roundtrip_video(
                job.source,
                model,
                options,
                outputs=job.outputs,
                encoder=encoder,
                extras=extras,
                viewer=reporter.viewer(job),
                group=group,
                progress=update,
            )
            result = replace(result, outputs=result.outputs | common)
            gates = check_gates(result.fidelity, thresholds)
            reporter.add(job, result, gates)
            if len(jobs) == 1:  # of several, the outputs of each appear when it is done
                reporter.write(group)
        if settings.json or len(jobs) == 1:
            present.present_roundtrip(result, gates, settings, per_frame=per_frame)
        else:
            present.present_run(result, settings)
            measured.append((job, result.fidelity.by_name() | {present.SPEED: result.frames_per_second}))
        has_missed |= present.present_missed(job, gates)

    try:
        run_jobs(jobs, settings, prepare, run, reporter.write)
    finally:  # also of what was done before a job failed, or a signal came
        if measured:
            protocol = options.protocol.name if options.protocol else None
            present.present_comparison(measured, extras, protocol, to_stderr=PIPE in common.values())
    if has_missed:
        raise typer.Exit(GATE_MISSED)
