"""The commands: each parses, calls one function of the codec, and presents what it gives."""

import functools
from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated

import typer

from vae3d_cli import __version__
from vae3d_cli.cli import options, present
from vae3d_cli.cli.guard import guarded
from vae3d_cli.cli.jobs import Job, Target, parse_frames, parse_gates, plan_jobs
from vae3d_cli.cli.runner import Failures, Settings, run_jobs
from vae3d_cli.console import print_error, progress_bar
from vae3d_cli.errors import UsageError

# torch and PyAV are imported inside the commands, so that --help answers at once.
if TYPE_CHECKING:
    from vae3d_cli.codec import EncodeOptions
    from vae3d_cli.weights import Model

GATE_MISSED = 3

app = typer.Typer(
    name="vae3d",
    help="Turn video into the latents of a causal 3D VAE and back, and measure what is lost.",
    epilog="vae3d COMMAND --help says more. Standard input and output are written as -.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"vae3d {__version__}")
        raise typer.Exit


@app.callback()
def main(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Turn video into the latents of a causal 3D VAE and back, and measure what is lost."""


@app.command()
@guarded
def encode(
    inputs: options.Inputs,
    output: Annotated[
        str | None,
        typer.Option(
            "-o",
            "--output",
            metavar="OUTPUT",
            help="Latents file; a folder for several inputs; - is standard output. "
            "Default: clip.safetensors beside clip.mp4.",
        ),
    ] = None,
    model: options.ModelName = "tiny",
    device: options.Device = "auto",
    dtype: options.Dtype = options.ComputeDtypeChoice.auto,
    strategy: options.StrategyName = "auto",
    posterior: options.Posterior = options.PosteriorChoice.mode,
    seed: options.Seed = None,
    latents_dtype: options.LatentsDtype = None,
    frames: options.Frames = None,
    threads: options.Threads = None,
    force: options.Force = False,
    skip_existing: options.SkipExisting = False,
    json: options.Json = False,
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
    progress: options.ShowProgress = True,
) -> None:
    """Encode videos into latents files."""
    settings = Settings(
        force=force, skip_existing=skip_existing, json=json, quiet=quiet, verbose=verbose, progress=progress
    )
    target = Target("-o", output, lambda source: f"{source.stem}.safetensors", beside_input=True)
    jobs = plan_jobs(inputs, {"output": target})
    encode_options = _encode_options(posterior, seed, frames, latents_dtype, strategy, device)
    from vae3d_cli.codec import encode_video

    def run(job: Job, loaded: "Model") -> None:
        with progress_bar(job.name, show=settings.shows_progress) as update:
            result = encode_video(job.source, job.outputs["output"], loaded, encode_options, update)
        present.present_result(result, settings)

    run_jobs(jobs, settings, lambda: _load(model, device, dtype, threads, settings), run)


@app.command()
@guarded
def decode(
    inputs: options.LatentsInputs,
    output: options.VideoOutput = None,
    model: Annotated[
        str | None,
        typer.Option("-m", "--model", metavar="MODEL", help="A checkpoint file. Default: what the latents file names."),
    ] = None,
    any_model: Annotated[
        bool, typer.Option("--any-model", help="Decode even with a model of another latent space.")
    ] = False,
    device: options.Device = "auto",
    dtype: options.Dtype = options.ComputeDtypeChoice.auto,
    strategy: options.StrategyName = "auto",
    frames: options.Frames = None,
    threads: options.Threads = None,
    force: options.Force = False,
    skip_existing: options.SkipExisting = False,
    json: options.Json = False,
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
    progress: options.ShowProgress = True,
) -> None:
    """Decode latents files into videos."""
    settings = Settings(
        force=force, skip_existing=skip_existing, json=json, quiet=quiet, verbose=verbose, progress=progress
    )
    target = Target("-o", output, lambda source: f"{source.stem}.decoded.mp4", beside_input=True)
    jobs = plan_jobs(inputs, {"output": target})
    from vae3d_cli.codec import DecodeOptions, decode_video
    from vae3d_cli.weights import check_device

    check_device(device)
    _check_videos(jobs, "output")
    decode_options = DecodeOptions(frames=parse_frames(frames), strategy=_strategy(strategy), any_model=any_model)

    def prepare() -> "Callable[[str], Model]":
        load = functools.cache(lambda name: _load(name, device, dtype, threads, settings))
        if model is not None:
            load(model)
        return load

    def run(job: Job, load: "Callable[[str], Model]") -> None:
        with progress_bar(job.name, show=settings.shows_progress) as update:
            result = decode_video(job.source, job.outputs["output"], model, decode_options, load=load, progress=update)
        present.present_result(result, settings)

    run_jobs(jobs, settings, prepare, run)


@app.command()
@guarded
def roundtrip(
    inputs: options.Inputs,
    output: options.ReconOutput = None,
    latents: Annotated[
        str | None,
        typer.Option("--latents", metavar="FILE", help="Keep the latents; a folder for several inputs."),
    ] = None,
    fail_under: Annotated[
        list[str] | None,
        typer.Option(
            "--fail-under",
            metavar="NAME=VALUE",
            help="End with status 3 where psnr, psnr.min, psnr.pooled, ssim or ssim.min is lower. May be repeated.",
        ),
    ] = None,
    per_frame: Annotated[bool, typer.Option("--per-frame", help="Add every frame's figures to the JSON.")] = False,
    model: options.ModelName = "tiny",
    device: options.Device = "auto",
    dtype: options.Dtype = options.ComputeDtypeChoice.auto,
    strategy: options.StrategyName = "auto",
    posterior: options.Posterior = options.PosteriorChoice.mode,
    seed: options.Seed = None,
    latents_dtype: options.LatentsDtype = None,
    frames: options.Frames = None,
    threads: options.Threads = None,
    force: options.Force = False,
    skip_existing: options.SkipExisting = False,
    json: options.Json = False,
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
    progress: options.ShowProgress = True,
) -> None:
    """Encode and decode videos, and report PSNR and SSIM."""
    settings = Settings(
        force=force, skip_existing=skip_existing, json=json, quiet=quiet, verbose=verbose, progress=progress
    )
    targets = {
        "recon": Target("-o", output, lambda source: f"{source.stem}.mp4"),
        "latents": Target("--latents", latents, lambda source: f"{source.stem}.safetensors"),
    }
    jobs = plan_jobs(inputs, targets)
    gates = parse_gates(fail_under or [])
    encode_options = _encode_options(posterior, seed, frames, latents_dtype, strategy, device)
    from vae3d_cli.codec import roundtrip_video

    _check_videos(jobs, "recon")
    missed_inputs = []

    def run(job: Job, loaded: "Model") -> None:
        with progress_bar(job.name, show=settings.shows_progress) as update:
            result = roundtrip_video(job.source, loaded, encode_options, outputs=job.outputs, progress=update)
        missed = result.missed_gates(gates)
        present.present_roundtrip(result, missed, settings, per_frame=per_frame)
        if missed:
            missed_inputs.append(job.name)
            print_error(f"{job.name}: below --fail-under: {', '.join(missed)}")

    run_jobs(jobs, settings, lambda: _load(model, device, dtype, threads, settings), run)
    if missed_inputs:
        raise typer.Exit(GATE_MISSED)


@app.command()
@guarded
def info(
    files: Annotated[
        list[str], typer.Argument(metavar="FILE", help="Latents files, videos or images; - is standard input.")
    ],
    json: options.Json = False,
) -> None:
    """Say what a latents file holds, or what a video is and how it would be padded."""
    settings = Settings(json=json)
    from vae3d_cli.codec import describe

    jobs, failures = plan_jobs(files, {}), Failures()
    for job in jobs:
        with failures.of(job):
            present.present_info(describe(job.source), settings)
    failures.conclude(len(jobs))


def _encode_options(
    posterior: options.PosteriorChoice,
    seed: int | None,
    frames: str | None,
    latents_dtype: options.DtypeChoice | None,
    strategy: str,
    device: str,
) -> "EncodeOptions":
    if seed is not None and posterior is not options.PosteriorChoice.sample:
        raise UsageError("--seed: only --posterior sample draws anything")
    frame_range = parse_frames(frames)
    from vae3d_cli.codec import EncodeOptions
    from vae3d_cli.weights import DTYPES, check_device

    check_device(device)
    return EncodeOptions(
        posterior=posterior.value,
        seed=seed,
        frames=frame_range,
        latents_dtype=None if latents_dtype is None else DTYPES[latents_dtype.value],
        strategy=_strategy(strategy),
    )


def _strategy(name: str) -> str:
    """The name of a strategy, once it is known to be one."""
    from vae3d_cli.execution import choose_strategy

    return choose_strategy(name).name


def _check_videos(jobs: list[Job], output: str) -> None:
    """See that every video can be written under its name."""
    from vae3d_cli.video import check_suffix

    for job in jobs:
        path = job.outputs.get(output)
        if path is not None:
            check_suffix(path)


def _load(
    name: str, device: str, dtype: options.ComputeDtypeChoice, threads: int | None, settings: Settings
) -> "Model":
    """Load a model, and say which."""
    import torch

    from vae3d_cli.weights import load_model

    if threads is not None:
        torch.set_num_threads(threads)
    loaded = load_model(name, device=device, dtype=dtype.value)
    present.present_model(loaded, settings)
    return loaded
