"""Checkpoints of our own: a safetensors file with the model's config in its metadata."""

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from vae3d_cli.config import TinyConfig
from vae3d_cli.errors import WeightsError

FORMAT = "vae3d.checkpoint/1"


@dataclass(frozen=True)
class Checkpoint:
    """Weights by name as they are stored, the config of their network, and the notes of who made them."""

    config: TinyConfig
    weights: Mapping[str, Tensor]
    notes: Mapping[str, str]

    @property
    def encoder_sha256(self) -> str:
        """What identifies the encoder: a hash over its parameters by name (name, shape, dtype, bytes)."""
        digest = hashlib.sha256()
        for name in sorted(self.weights):
            if name.startswith("encoder."):
                tensor = self.weights[name].contiguous()
                dtype = str(tensor.dtype).removeprefix("torch.")
                digest.update(f"{name} {list(tensor.shape)} {dtype}\n".encode())
                digest.update(tensor.flatten().view(torch.uint8).numpy().tobytes())
        return digest.hexdigest()


def read_checkpoint(path: Path) -> Checkpoint:
    """Read a checkpoint file.

    Raises:
        WeightsError: It is missing, damaged, or of a kind that is not known.
    """
    try:
        if path.is_dir():
            raise WeightsError(f"{path}: is a directory; give the checkpoint file in it")
        path.open("rb").close()  # says what the system has against it; safetensors does not
        with safe_open(path, "pt", backend="pread") as file:
            notes = dict(file.metadata() or {})
            config = _config(path, notes)
            weights = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - no mapping
    except OSError as error:
        raise WeightsError(f"{path}: {error.strerror or error}; the checkpoint cannot be read") from error
    except SafetensorError as error:
        raise WeightsError(f"{path}: not a readable checkpoint ({error}); take a whole copy of it") from error
    return Checkpoint(config, weights, notes)


def write_checkpoint(path: Path, checkpoint: Checkpoint) -> None:
    """Write a checkpoint file."""
    config = {"architecture": "tiny", **dataclasses.asdict(checkpoint.config)}
    metadata = {**checkpoint.notes, "format": FORMAT, "config": json.dumps(config)}
    weights = {name: tensor.contiguous() for name, tensor in checkpoint.weights.items()}
    path.write_bytes(save(weights, metadata))


def _config(path: Path, metadata: dict[str, str]) -> TinyConfig:
    found = metadata.pop("format", None)
    if found != FORMAT:
        raise WeightsError(f"{path}: not a vae3d checkpoint (its format is {found!r}, expected {FORMAT!r})")
    try:
        fields: dict[str, Any] = json.loads(metadata.pop("config"))
        if fields.pop("architecture") != "tiny":
            raise WeightsError(f"{path}: its architecture is not known; update vae3d")
        values: dict[str, Any] = {
            key: tuple(value) if isinstance(value, list) else value for key, value in fields.items()
        }
        return TinyConfig(**values)
    except (KeyError, ValueError, TypeError, AttributeError) as error:
        raise WeightsError(f"{path}: its config cannot be read ({error}); take a whole copy of it") from error
