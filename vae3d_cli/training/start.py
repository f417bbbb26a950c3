"""Where a run starts, or goes on."""

import secrets
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from vae3d_cli.config import TinyConfig, VaeConfig
from vae3d_cli.errors import OutputError, UsageError
from vae3d_cli.training.data import FrameCache, scene_of
from vae3d_cli.training.fit import fit
from vae3d_cli.training.material import gather
from vae3d_cli.training.options import TrainOptions
from vae3d_cli.training.run import STATE_FILE, Run
from vae3d_cli.training.state import read_state
from vae3d_cli.weights import Network, build_network, find_device, load_model


@dataclass(frozen=True)
class Origin:
    """What a new run starts from: a checkpoint, or a fresh network of a config, by default the embedded model's.

    A fresh embedded model is the linear codec fitted on the material. New latents are a new latent space, whose name is
    drawn if none is given; with a frozen encoder it stays that of the checkpoint.
    """

    init: str | None = None
    config: VaeConfig | None = None
    latent_space: str | None = None


def start_run(folder: Path, options: TrainOptions, origin: Origin, cache: FrameCache, device: str) -> Run:
    """A new run in `folder`, at step 0.

    Raises:
        UsageError: The options contradict each other.
        VideoError: A source is not there or cannot be read, or no clip is left to train on.
        WeightsError: The checkpoint or the device is not there.
        OutputError: There is a run in the folder already, or no room for the decoded frames.
    """
    torch_device = find_device(device)
    if options.dtype == "fp16":
        raise UsageError("--dtype fp16: gradients vanish in it; use bf16 or fp32")
    if options.freeze_encoder and (origin.init is None or origin.latent_space is not None):
        raise UsageError("--freeze-encoder: keeps the latents of a checkpoint; give --init, and no --latent-space")
    if origin.init is not None and origin.config is not None:
        raise UsageError("--config: the checkpoint of --init has its own; leave it out")
    if (folder / STATE_FILE).exists():
        raise OutputError(f"{folder}: holds a run; go on with it by --resume, or name another folder")
    model = None if origin.init is None else load_model(origin.init, device="cpu", dtype="fp32")
    config = origin.config or TinyConfig() if model is None else model.config
    if not options.freeze_encoder:
        name = origin.latent_space or f"{config.latent_space.partition('/')[0]}/{secrets.token_hex(4)}"
        config = replace(config, latent_space=name)
    material = gather(options, cache, config)
    notes = {
        "data": f"{len(material.clips)} clips of {', '.join(sorted(set(map(scene_of, material.clips))))}; "
        f"{len(material.photos)} photos",
        "held_out_scenes": ", ".join(options.held_out),
    }
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


def resume_run(folder: Path, changes: Mapping[str, Any], cache: FrameCache, device: str) -> Run:
    """The run in a folder, where it stands; `changes` are of its options: another number of steps.

    Raises:
        VideoError: A source is not there any more, or cannot be read.
        WeightsError: There is no run, its state is damaged, or the device is not there.
    """
    torch_device = find_device(device)
    state = read_state(folder / STATE_FILE)
    options = replace(state.options, **changes)
    material = gather(options, cache, state.config)
    network = _placed(build_network(state.config), torch_device)
    run = Run(network, options, material, state.notes)
    run.load(state)
    return run


def _placed(network: Network, device: torch.device) -> Network:
    order = torch.channels_last if isinstance(network.config, TinyConfig) else torch.channels_last_3d
    return network.to(device, memory_format=order)  # type: ignore[call-overload, no-any-return]
