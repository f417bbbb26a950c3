"""Finding, checking and loading models."""

from vae3d_cli.weights.checkpoint import Checkpoint, read_checkpoint, write_checkpoint
from vae3d_cli.weights.configs import config_from_metadata, config_to_metadata, read_config
from vae3d_cli.weights.files import read_tensors
from vae3d_cli.weights.load import (
    DTYPES,
    EMBEDDED,
    KNOWN_MODELS,
    Model,
    ModelFacts,
    Network,
    build_network,
    check_device,
    fetch_model,
    find_device,
    load_model,
    model_files,
)

__all__ = [
    "DTYPES",
    "EMBEDDED",
    "KNOWN_MODELS",
    "Checkpoint",
    "Model",
    "ModelFacts",
    "Network",
    "build_network",
    "check_device",
    "config_from_metadata",
    "config_to_metadata",
    "fetch_model",
    "find_device",
    "load_model",
    "model_files",
    "read_checkpoint",
    "read_config",
    "read_tensors",
    "write_checkpoint",
]
