"""Finding, checking and loading models."""

from vae3d_cli.weights.checkpoint import Checkpoint, read_checkpoint, write_checkpoint
from vae3d_cli.weights.load import DTYPES, EMBEDDED, KNOWN_MODELS, Model, check_device, load_model

__all__ = [
    "DTYPES",
    "EMBEDDED",
    "KNOWN_MODELS",
    "Checkpoint",
    "Model",
    "check_device",
    "load_model",
    "read_checkpoint",
    "write_checkpoint",
]
