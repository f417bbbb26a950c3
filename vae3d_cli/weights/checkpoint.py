"""Checkpoints: weights by canonical name with the config of their network, whatever file they come from."""

import hashlib
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import save
from torch import Tensor

from vae3d_cli.config import VaeConfig
from vae3d_cli.errors import WeightsError
from vae3d_cli.files import check_regular
from vae3d_cli.weights.configs import config_from_metadata, config_to_metadata, from_json, from_shapes
from vae3d_cli.weights.files import Source, find_source
from vae3d_cli.weights.layouts import FORMAT, Layout, canonical

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Checkpoint:
    """Weights by canonical name, the config of their network, and the notes of who made them.

    The weights are as they are stored, but fp64 is rounded to fp32: no network of ours runs in more.
    """

    config: VaeConfig
    weights: Mapping[str, Tensor]
    notes: Mapping[str, str]

    @property
    def encoder_sha256(self) -> str:
        """What identifies the encoder: a hash over its parameters by name (name, shape, dtype, bytes)."""
        digest = hashlib.sha256()
        for name in sorted(self.weights):
            if name.startswith(("encoder.", "quant_conv.")):
                tensor = self.weights[name].contiguous()
                dtype = str(tensor.dtype).removeprefix("torch.")
                digest.update(f"{name} {list(tensor.shape)} {dtype}\n".encode())
                digest.update(tensor.flatten().view(torch.uint8).numpy().data)
        return digest.hexdigest()


def read_checkpoint(path: Path) -> Checkpoint:
    """Read a checkpoint of ours or of HunyuanVideo's VAE, in any of its layouts; of a folder, the best that is there.

    Raises:
        WeightsError: It is missing, damaged, or of a kind that is not known.
    """
    return checkpoint_of(find_source(path))


def checkpoint_of(source: Source) -> Checkpoint:
    """Read the checkpoint that was found.

    Raises:
        WeightsError: It is damaged, or its config is not one of its network.
    """
    notes = dict(source.metadata)
    notes.pop("format", None)
    described = notes.pop("config", None)
    logger.info("%s: weights in the layout of %s", source.path, source.layout.value)
    try:
        if source.layout is Layout.OURS:
            # Before the tensors: one that has no config is no checkpoint.
            return Checkpoint(config_from_metadata(described or ""), _rounded(source.read()), notes)
        weights = canonical(_rounded(source.read()), source.layout)
        config = _config_beside(source.path) or (from_json(described) if described else None)
        return Checkpoint(config or _inferred(source.path, weights), weights, notes)
    except ValueError as error:
        raise WeightsError(f"{source.path}: {error}") from error


def write_checkpoint(path: Path, checkpoint: Checkpoint) -> None:
    """Write a checkpoint file of our own."""
    metadata = {**checkpoint.notes, "format": FORMAT, "config": config_to_metadata(checkpoint.config)}
    weights = {name: tensor.contiguous() for name, tensor in checkpoint.weights.items()}
    path.write_bytes(save(weights, metadata))


def _rounded(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: tensor.float() if tensor.dtype == torch.float64 else tensor for name, tensor in weights.items()}


def _config_beside(weights: Path) -> VaeConfig | None:
    """The config in `config.json` in the folder of the weights, where there is one of a VAE."""
    path = weights.with_name("config.json")
    try:
        check_regular(path)
        config = from_json(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except OSError as error:
        raise WeightsError(f"{path}: {error.strerror or error}; the config cannot be read") from error
    except ValueError as error:
        raise WeightsError(f"{path}: {error}") from error
    logger.info("%s: %s", path, "the config" if config else "of something else, and not used")
    return config


def _inferred(path: Path, weights: Mapping[str, Tensor]) -> VaeConfig:
    config = from_shapes({name: tuple(tensor.shape) for name, tensor in weights.items()})
    logger.info(
        "%s: no config; from the weights: %s; assumed: norm_num_groups %d, scaling_factor %s",
        *(path, f"blocks {config.block_out_channels}, latent channels {config.latent_channels}"),
        *(config.norm_num_groups, config.scaling_factor),
    )
    return config
