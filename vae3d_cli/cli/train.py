"""`vae3d train`: from folders of clips and photos to a checkpoint."""

import json as json_format
import math
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from vae3d_cli.cli import options
from vae3d_cli.cli.guard import guarded
from vae3d_cli.cli.runner import Settings
from vae3d_cli.console import print_json, print_path, progress_bar, show_log
from vae3d_cli.errors import UsageError

if TYPE_CHECKING:
    from vae3d_cli.training import Progress, Run

Data = Annotated[list[Path] | None, typer.Argument(metavar="DATA", help="Clips and photos, and folders of them.")]
RunFolder = Annotated[
    Path,
    typer.Option("-o", "--output", metavar="RUN", help="Folder for model.safetensors, the state and the log of a run."),
]
Resume = Annotated[bool, typer.Option("--resume", help="Go on with the run in RUN, with its own settings.")]
Init = Annotated[
    str | None,
    typer.Option(metavar="MODEL", help="Start from tiny, hunyuanvideo, a checkpoint or a hub id instead of anew."),
]
FreezeEncoder = Annotated[
    bool, typer.Option("--freeze-encoder", help="Train the decoder alone: latents stay what they are.")
]
Config = Annotated[Path | None, typer.Option(metavar="JSON", help="Config of a new network.  [default: that of tiny]")]
LatentSpace = Annotated[
    str | None, typer.Option(metavar="NAME", help="What the new latents are called.  [default: a name that is drawn]")
]
Steps = Annotated[int | None, typer.Option(metavar="N", min=0, help="Steps in all.  [default: 10000]")]
BatchSize = Annotated[int | None, typer.Option(metavar="N", min=1, help="Crops a step.  [default: 4]")]
CropFrames = Annotated[int | None, typer.Option(metavar="N", help="Frames of a crop, 1 + 4k.  [default: 9]")]
CropSide = Annotated[
    int | None, typer.Option(metavar="PX", min=32, help="Side of a crop, a multiple of 8.  [default: 96]")
]
LearningRate = Annotated[float | None, typer.Option(metavar="RATE", min=0, help="The highest.  [default: 0.001]")]
KlWeight = Annotated[
    float | None, typer.Option(metavar="W", min=0, help="Weight of the KL divergence.  [default: 0.000001]")
]
HoldOut = Annotated[
    list[str] | None,
    typer.Option(metavar="SCENE", help="Validate on a scene's clips: street for street_1.mp4. May be repeated."),
]
TrainSeed = Annotated[
    int | None, typer.Option(metavar="N", min=0, max=2**31 - 1, help="Seed of all that is drawn.  [default: 0]")
]
SaveEvery = Annotated[
    int | None, typer.Option(metavar="N", min=1, help="Steps between saves, and validations.  [default: 500]")
]
Cache = Annotated[
    Path | None, typer.Option(metavar="FOLDER", help="Where decoded frames are kept.  [default: RUN/frames]")
]


@guarded
def train(
    output: RunFolder,
    sources: Data = None,
    resume: Resume = False,
    init: Init = None,
    freeze_encoder: FreezeEncoder = False,
    config: Config = None,
    latent_space: LatentSpace = None,
    steps: Steps = None,
    batch_size: BatchSize = None,
    frames: CropFrames = None,
    crop: CropSide = None,
    learning_rate: LearningRate = None,
    kl_weight: KlWeight = None,
    hold_out: HoldOut = None,
    seed: TrainSeed = None,
    save_every: SaveEvery = None,
    cache: Cache = None,
    device: options.Device = "auto",
    dtype: options.Dtype = options.ComputeDtypeChoice.auto,
    threads: options.Threads = None,
    json: Annotated[bool, typer.Option("--json", help="Print a JSON object at the end.")] = False,
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
    progress: options.ShowProgress = True,
) -> None:
    """Train a model on clips and photos, or fine-tune one."""
    settings = Settings(json=json, quiet=quiet, verbose=verbose, progress=progress)
    given: dict[str, Any] = {
        "batch_size": batch_size,
        "num_frames": frames,
        "size_px": crop,
        "learning_rate": learning_rate,
        "kl_weight": kl_weight,
        "seed": seed,
        "sources": tuple(path.absolute() for path in sources or ()) or None,
        "held_out": tuple(hold_out or ()) or None,
        "freeze_encoder": freeze_encoder or None,
        "save_every": save_every,
        "cache": None if cache is None else cache.absolute(),
        "dtype": None if dtype is options.ComputeDtypeChoice.auto else dtype.value,
    }
    given = {name: value for name, value in given.items() if value is not None}
    if resume and (given or init is not None or config is not None or latent_space is not None):
        raise UsageError("--resume: goes on with the settings of the run; only --steps may be another")
    if not resume and sources is None:
        raise UsageError("DATA: give clips and photos, or folders of them")
    run = _prepare(output, given, (init, config, latent_space), steps, device, threads, settings, resume)
    _go(run, output, settings)


def _prepare(
    folder: Path,
    given: dict[str, Any],
    start: tuple[str | None, Path | None, str | None],
    steps: int | None,
    device: str,
    threads: int | None,
    settings: Settings,
    resume: bool,
) -> "Run":
    """The run that is started or resumed, at the step where it stands."""
    import torch

    from vae3d_cli import training
    from vae3d_cli.weights import hub, read_config

    show_log(quiet=settings.quiet, verbose=settings.verbose)
    hub.show_progress(settings.shows_progress)
    if threads is not None:
        torch.set_num_threads(threads)
    if resume:
        return training.resume_run(folder, steps, device)
    if steps is not None:
        given["steps"] = steps
    init, config, latent_space = start
    origin = training.Origin(init, None if config is None else read_config(config), latent_space)
    return training.start_run(folder, training.TrainOptions(**given), origin, device)


def _go(run: "Run", folder: Path, settings: Settings) -> None:
    """Take the steps that are left, and present what came of it."""
    from vae3d_cli.training import MODEL_FILE, train

    with progress_bar(folder.name, show=settings.shows_progress, unit="steps") as update:

        def show(progress: "Progress") -> None:
            quality = progress.quality
            update(progress.step, progress.steps, "" if quality is None else f"PSNR {quality.psnr:.2f} dB")

        quality = train(run, folder, show)
    model = folder / MODEL_FILE
    if settings.json:
        figures = None if quality is None else {name: _figure(value) for name, value in asdict(quality).items()}
        facts = {"model": str(model), "latent_space": run.network.config.latent_space, "step": run.step}
        print_json(json_format.dumps({**facts, "validation": figures}), to_stderr=False)
    else:
        if quality is not None:
            settings.note(f"validation PSNR {quality.psnr:.2f} dB, {quality.sample_psnr:.2f} dB of samples")
        print_path(str(model))


def _figure(value: float) -> float | None:
    """A figure as JSON has it, which has no NaN."""
    return value if math.isfinite(value) else None
