"""Where a run starts, or goes on."""

import math
import secrets
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from vae3d_cli.config import TinyConfig, VaeConfig
from vae3d_cli.errors import OutputError, UsageError, VideoError, WeightsError
from vae3d_cli.execution.memory import free_bytes, size_text
from vae3d_cli.training.data import FrameCache, make_folder, printable
from vae3d_cli.training.fit import fit
from vae3d_cli.training.material import check_crops, find_sources, gather
from vae3d_cli.training.options import TrainOptions
from vae3d_cli.training.run import MODEL_FILE, STATE_FILE, Run
from vae3d_cli.training.state import read_state
from vae3d_cli.weights import Network, build_network, find_device, load_model
from vae3d_cli.weights.configs import LONGEST_NAME, is_latent_space


@dataclass(frozen=True)
class Origin:
    """What a new run starts from: a checkpoint, or a fresh network of a config, by default the embedded model's.

    A fresh embedded model is the linear codec fitted on the material. New latents are a new latent space, whose name is
    drawn if none is given; with a frozen encoder it stays that of the checkpoint.
    """

    init: str | None = None
    config: VaeConfig | None = None
    latent_space: str | None = None


def start_run(folder: Path, options: TrainOptions, origin: Origin, device: str) -> Run:
    """A new run in `folder`, which is made, at step 0.

    Raises:
        UsageError: The options contradict each other, or the latent space has no name that a file can hold.
        VideoError: A source is not there or cannot be read, or no clip is left to train on.
        WeightsError: The checkpoint or the device is not there, or no network has the config.
        OutputError: There is a run in the folder already, or no room for the decoded frames.
    """
    torch_device = find_device(device)
    if options.dtype == "fp16":
        raise UsageError("--dtype fp16: gradients vanish in it; use bf16 or fp32")
    for option, value in (("--learning-rate", options.learning_rate), ("--kl-weight", options.kl_weight)):
        if not math.isfinite(value):
            raise UsageError(f"{option} {value}: give a finite number")
    if options.freeze_encoder and (origin.init is None or origin.latent_space is not None):
        raise UsageError("--freeze-encoder: keeps the latents of a checkpoint; give --init, and no --latent-space")
    if origin.latent_space is not None and not is_latent_space(origin.latent_space):
        raise UsageError(f"--latent-space {origin.latent_space!r}: give a name of up to {LONGEST_NAME} characters")
    if origin.init is not None and origin.config is not None:
        raise UsageError("--config: the checkpoint of --init has its own; leave it out")
    check_crops(options, origin.config or TinyConfig())
    sources = find_sources(options)
    if (folder / STATE_FILE).exists():
        raise OutputError(f"{folder}: holds a run; go on with it by --resume, or name another folder")
    if (folder / MODEL_FILE).exists():
        raise OutputError(
            f"{folder / MODEL_FILE}: exists already, and there is no run to go on with; name another folder"
        )
    model = None if origin.init is None else load_model(origin.init, device="cpu", dtype="fp32")
    config = origin.config or TinyConfig() if model is None else model.config
    if not options.freeze_encoder:
        name = origin.latent_space or f"{config.latent_space.partition('/')[0]}/{secrets.token_hex(4)}"
        config = replace(config, latent_space=name)
    if origin.config is not None:
        _check_memory(config)
    make_folder(folder, "-o")
    cache = _cache_of(options, folder)
    material = gather(sources, options, cache, config)
    notes = {"data": material.description, "held_out_scenes": printable(", ".join(options.held_out))}
    if model is not None:
        network = model.network
        notes["initialised_from"] = f"{model.name}, encoder {model.encoder_sha256}"
    elif isinstance(config, TinyConfig):
        network = fit(material.clips, material.photos, cache, config, options.seed)
    else:
        torch.manual_seed(options.seed)
        network = build_network(config)
    network.config = config  # type: ignore[assignment]  # of the network's own kind
    return Run(_placed(network, torch_device), options, material, notes)


def resume_run(folder: Path, steps: int | None, device: str) -> Run:
    """The run in a folder, where it stands; it goes on to another number of `steps`, if that is given.

    Raises:
        UsageError: It has taken more steps already.
        VideoError: A source is not there any more, is another, or cannot be read.
        WeightsError: There is no run, its state is damaged, or the device is not there.
    """
    torch_device = find_device(device)
    path = folder / STATE_FILE
    state = read_state(path)
    options = state.options if steps is None else replace(state.options, steps=steps)
    if options.steps < state.step:
        raise UsageError(f"--steps {steps}: the run has taken {state.step} already; give more")
    material = gather(find_sources(options), options, _cache_of(options, folder), state.config)
    if material.description != state.notes["data"]:
        raise VideoError(
            f"{folder}: the run was trained on {state.notes['data']}, and now there are {material.description}; bring "
            "the same files, or start a new run with --init"
        )
    run = Run(_placed(build_network(state.config), torch_device), options, material, state.notes)
    try:
        run.load(state)
    except (KeyError, RuntimeError) as error:
        raise WeightsError(f"{path}: is not the state of its own network ({error}); start the run anew") from error
    return run


def _cache_of(options: TrainOptions, folder: Path) -> FrameCache:
    return FrameCache(options.cache or folder / "frames")


def _check_memory(config: VaeConfig) -> None:
    """Check that a new network of a config fits this machine's memory: its weights, before anything is made of them.

    Raises:
        WeightsError: It does not.
    """
    with torch.device("meta"):
        size = sum(weight.nbytes for weight in build_network(config).parameters())
    if size > (free := free_bytes(torch.device("cpu"))):
        raise WeightsError(
            f"--config: describes a network of {size_text(size)}, and {size_text(free)} of memory are free; give a "
            "smaller one"
        )


def _placed(network: Network, device: torch.device) -> Network:
    torch.backends.cudnn.allow_tf32 = False  # fp32 is fp32, for the linear codec too
    order = torch.channels_last if isinstance(network.config, TinyConfig) else torch.channels_last_3d
    return network.to(device, memory_format=order)  # type: ignore[call-overload, no-any-return]
