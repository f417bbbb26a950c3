"""The commands: each parses, calls one function of the codec, and presents what it gives."""

import os
from functools import partial
from typing import TYPE_CHECKING, Annotated

import typer

from vae3d_cli import __version__
from vae3d_cli.cli import models, options, present
from vae3d_cli.cli.build import (
    audio_source,
    by_protocol,
    encode_options,
    encoder_options,
    extra_measures,
    load,
    read_options,
    strategy_options,
    told,
)
from vae3d_cli.cli.clips import encode_all, plan_encode
from vae3d_cli.cli.convert import convert
from vae3d_cli.cli.engines import EngineOptions, engine_for
from vae3d_cli.cli.guard import guarded
from vae3d_cli.cli.help import Command, Commands
from vae3d_cli.cli.jobs import plan_jobs
from vae3d_cli.cli.parse import parse_frames, parse_gates
from vae3d_cli.cli.runner import Failures, Settings
from vae3d_cli.cli.train import train
from vae3d_cli.cli.verifying import verify_all
from vae3d_cli.cli.work import decode_jobs, plan_decode, plan_roundtrip, roundtrip_jobs

# torch and PyAV are imported inside the commands, so that --help answers at once.
if TYPE_CHECKING:
    from vae3d_cli.weights import Model

app = typer.Typer(
    name="vae3d",
    cls=Commands,
    help="Turn video into the latents of a causal 3D VAE and back, and measure what is lost.",
    epilog="vae3d COMMAND --help says more. Standard input and output are written as -.",
    no_args_is_help=True,
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


app.add_typer(models.app)
app.command(cls=Command)(train)


@app.command(cls=Command)
@guarded
def encode(
    inputs: options.ClipInputs = None,
    listed: options.ListedInputs = None,
    recursive: options.Recursive = False,
    output: options.LatentsOutput = None,
    model: options.ModelName = "tiny",
    device: options.Device = "auto",
    dtype: options.Dtype = options.ComputeDtypeChoice.auto,
    strategy: options.StrategyName = "auto",
    memory: options.Memory = None,
    tile_px: options.TilePx = None,
    tile_overlap_px: options.TileOverlapPx = None,
    chunk_frames: options.ChunkFrames = None,
    chunk_overlap_frames: options.ChunkOverlapFrames = None,
    posterior: options.Posterior = options.PosteriorChoice.mode,
    seed: options.Seed = None,
    latents_dtype: options.LatentsDtype = None,
    scaled: options.Scaled = False,
    format_: options.EncodedFormat = options.FormatChoice.vae3d,
    frames: options.Frames = None,
    fps: options.Fps = None,
    size: options.Size = None,
    stream: options.VideoTrack = None,
    deinterlace: options.Deinterlace = False,
    allow_damaged: options.AllowDamaged = False,
    threads: options.Threads = None,
    workers: options.Workers = None,
    engine: options.Engine = options.EngineChoice.local,
    worker_cpus: options.WorkerCpus = None,
    worker_gpus: options.WorkerGpus = None,
    force: options.Force = False,
    skip_existing: options.SkipWhole = False,
    update: options.Update = False,
    json: options.Json = False,
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
    progress: options.ShowProgress = True,
) -> None:
    """Encode videos into latents files."""
    settings = Settings(force, skip_existing, update, json, quiet, verbose, progress)
    run_by = strategy_options(strategy, memory, tile_px, tile_overlap_px, chunk_frames, chunk_overlap_frames)
    read_by = read_options(fps, size, stream, deinterlace=deinterlace, allow_damaged=allow_damaged)
    codec_options = encode_options(
        posterior, seed, frames, latents_dtype, run_by, read_by, device, scaled=scaled, format_=format_
    )
    engine_options = EngineOptions(engine, workers, worker_cpus, worker_gpus)
    plan = plan_encode(inputs or [], listed, output, codec_options, model, recursive=recursive)
    encode_all(plan, settings, partial(engine_for, engine_options, model, device, dtype, threads, format_, settings))


@app.command(cls=Command)
@guarded
def decode(
    inputs: options.LatentsInputs,
    output: options.VideoOutput = None,
    model: Annotated[
        str | None,
        typer.Option(
            "-m",
            "--model",
            metavar="MODEL",
            help="hunyuanvideo, a checkpoint file or folder, or a hub id. Default: the model that the latents file "
            f"names (your own checkpoint: if it is next to the latents), then that of {options.MODEL_VARIABLE}.",
        ),
    ] = None,
    any_model: Annotated[
        bool, typer.Option("--any-model", help="Decode even with a model of another latent space.")
    ] = False,
    device: options.Device = "auto",
    dtype: options.Dtype = options.ComputeDtypeChoice.auto,
    strategy: options.StrategyName = "auto",
    memory: options.Memory = None,
    tile_px: options.TilePx = None,
    tile_overlap_px: options.TileOverlapPx = None,
    chunk_frames: options.ChunkFrames = None,
    chunk_overlap_frames: options.ChunkOverlapFrames = None,
    frames: options.Frames = None,
    fps: options.RateOfLatents = None,
    scaled: options.ScaleOfLatents = None,
    codec: options.Codec = None,
    crf: options.Crf = None,
    preset: options.Preset = None,
    pix_fmt: options.PixFmt = None,
    lossless: options.Lossless = False,
    container: options.ContainerName = None,
    audio: Annotated[
        str | None,
        typer.Option("--audio", metavar="SOURCE", help="Copy the audio of this file, unchanged, from the same start."),
    ] = None,
    threads: options.Threads = None,
    force: options.Force = False,
    skip_existing: options.SkipExisting = False,
    json: options.Json = False,
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
    progress: options.ShowProgress = True,
) -> None:
    """Decode latents files into videos."""
    settings = Settings(force, skip_existing, json=json, quiet=quiet, verbose=verbose, progress=progress)
    from vae3d_cli.codec import DecodeOptions
    from vae3d_cli.weights import check_device

    wants_video = {codec, crf, preset, pix_fmt, container, audio} != {None}
    named = model or os.environ.get(options.MODEL_VARIABLE)
    jobs = plan_decode(inputs, output, named, audio, wants_video=wants_video)
    check_device(device)
    encoder = encoder_options(jobs, ("output",), codec, crf, preset, pix_fmt, container, lossless=lossless)
    run_by = strategy_options(strategy, memory, tile_px, tile_overlap_px, chunk_frames, chunk_overlap_frames)
    codec_options = DecodeOptions(
        frames=parse_frames(frames),
        strategy=run_by,
        any_model=any_model,
        default_model=os.environ.get(options.MODEL_VARIABLE) or None,
        encoder=encoder,
        audio=audio_source(audio, jobs, "output", encoder),
        told=told(fps, scaled),
    )

    decode_jobs(jobs, settings, codec_options, model, lambda name: load(name, device, dtype, threads, settings))


@app.command(cls=Command)
@guarded
def roundtrip(
    inputs: options.Inputs,
    output: options.ReconOutput = None,
    compare: options.Compare = None,
    latents: options.KeptLatents = None,
    csv: options.Csv = None,
    report: options.Report = None,
    vmaf: options.Vmaf = False,
    lpips: options.LpipsWeights = None,
    fail_under: options.FailUnder = None,
    fail_over: options.FailOver = None,
    per_frame: options.PerFrame = False,
    model: options.ModelNames = None,
    device: options.Device = "auto",
    dtype: options.Dtype = options.ComputeDtypeChoice.auto,
    strategy: options.StrategyName = "auto",
    memory: options.Memory = None,
    tile_px: options.TilePx = None,
    tile_overlap_px: options.TileOverlapPx = None,
    chunk_frames: options.ChunkFrames = None,
    chunk_overlap_frames: options.ChunkOverlapFrames = None,
    posterior: options.Posterior = options.PosteriorChoice.mode,
    seed: options.Seed = None,
    latents_dtype: options.LatentsDtype = None,
    scaled: options.Scaled = False,
    frames: options.Frames = None,
    fps: options.Fps = None,
    size: options.Size = None,
    protocol: options.ProtocolName = None,
    stream: options.VideoTrack = None,
    deinterlace: options.Deinterlace = False,
    allow_damaged: options.AllowDamaged = False,
    codec: options.Codec = None,
    crf: options.Crf = None,
    preset: options.Preset = None,
    pix_fmt: options.PixFmt = None,
    lossless: options.Lossless = False,
    container: options.ContainerName = None,
    threads: options.Threads = None,
    force: options.Force = False,
    skip_existing: options.SkipExisting = False,
    json: options.Json = False,
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
    progress: options.ShowProgress = True,
) -> None:
    """Encode and decode videos, and measure what is lost."""
    settings = Settings(force, skip_existing, json=json, quiet=quiet, verbose=verbose, progress=progress)
    names = list(dict.fromkeys(model or [os.environ.get(options.MODEL_VARIABLE) or "tiny"]))
    jobs = plan_roundtrip(inputs, output, compare, latents, csv, report, models=names, lpips=lpips)
    gates = parse_gates(fail_under or [], fail_over or [], {"vmaf": vmaf, "lpips": lpips is not None})
    run_by = strategy_options(strategy, memory, tile_px, tile_overlap_px, chunk_frames, chunk_overlap_frames)
    read_by = read_options(fps, size, stream, deinterlace=deinterlace, allow_damaged=allow_damaged)
    codec_options = encode_options(posterior, seed, frames, latents_dtype, run_by, read_by, device, scaled=scaled)
    codec_options = by_protocol(codec_options, protocol, frames)
    encoder = encoder_options(jobs, ("recon", "compare"), codec, crf, preset, pix_fmt, container, lossless=lossless)
    extras = extra_measures(vmaf=vmaf, lpips=lpips)

    def load_model(name: str) -> "Model":
        return load(name, device, dtype, threads, settings)

    roundtrip_jobs(jobs, settings, codec_options, encoder, extras, gates, load_model, per_frame=per_frame)


app.command(cls=Command)(convert)


@app.command(cls=Command)
@guarded
def info(
    files: Annotated[
        list[str], typer.Argument(metavar="FILE", help="Latents files, videos or images; - is standard input.")
    ],
    verify: Annotated[
        bool,
        typer.Option(
            "--verify", help="Read latents files, and all of them in folders, to their end: say which are not whole."
        ),
    ] = False,
    json: options.Json = False,
    progress: options.ShowProgress = True,
) -> None:
    """Show what a latents file or a video holds."""
    settings = Settings(json=json, progress=progress)
    if verify:
        verify_all(files, settings)
        return
    from vae3d_cli.codec import describe

    jobs, failures = plan_jobs(files, {}), Failures()
    for job in jobs:
        with failures.of(job):
            present.present_info(describe(job.source), settings)
    failures.conclude(len(jobs))
