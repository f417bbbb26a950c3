"""From the name of a model to a network that is ready to run."""

import os
import re
import time
from dataclasses import dataclass
from importlib.resources import as_file, files
from pathlib import Path

import torch

from vae3d_cli.config import TinyConfig
from vae3d_cli.errors import UsageError, WeightsError
from vae3d_cli.model.tiny import TinyVae
from vae3d_cli.weights.checkpoint import Checkpoint, read_checkpoint

EMBEDDED = "tiny"
DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


@dataclass(frozen=True)
class Model:
    """A network on its device, and what a latents file says of it."""

    name: str
    config: TinyConfig
    network: TinyVae
    encoder_sha256: str
    device: torch.device
    dtype: torch.dtype
    load_seconds: float

    @property
    def dtype_name(self) -> str:
        """`fp32`, `bf16` or `fp16`."""
        return next(name for name, dtype in DTYPES.items() if dtype == self.dtype)


def load_model(name: str = EMBEDDED, *, device: str = "auto", dtype: str = "auto") -> Model:
    """Load `tiny` or a checkpoint file (`./tiny` if it has that name).

    Raises:
        UsageError: The device or the dtype is no name of one.
        WeightsError: There is no such model, its weights do not fit it, or the device is not there.
    """
    start = time.perf_counter()
    torch_device = _device(device)
    if dtype == "auto":
        dtype = "bf16" if torch_device.type == "cuda" else "fp32"
    if dtype not in DTYPES:
        raise UsageError(f"--dtype {dtype}: use auto, {', '.join(DTYPES)}")
    checkpoint, label = _find(name)
    network = _build(checkpoint, name)
    network.set_compute_dtype(DTYPES[dtype])
    network.to(torch_device)
    return Model(
        name=label,
        config=checkpoint.config,
        network=network,
        encoder_sha256=checkpoint.encoder_sha256,
        device=torch_device,
        dtype=DTYPES[dtype],
        load_seconds=time.perf_counter() - start,
    )


def _find(name: str) -> tuple[Checkpoint, str]:
    """The checkpoint of that name, and what a latents file calls it."""
    if name == EMBEDDED:
        with as_file(files("vae3d_cli.weights") / "tiny.safetensors") as embedded:
            return read_checkpoint(embedded), EMBEDDED
    path = Path(name)
    try:
        exists = path.exists()
    except OSError as error:
        raise WeightsError(f"{name}: {error.strerror}; the checkpoint cannot be read") from error
    if not exists:
        raise WeightsError(f"{name}: no such model or file; use {EMBEDDED}, or a checkpoint file")
    # Metadata is UTF-8; a file name need not be.
    return read_checkpoint(path), os.fsencode(path.name).decode(errors="replace")


def _build(checkpoint: Checkpoint, name: str) -> TinyVae:
    """The network with the checkpoint's weights, of which none may be missing, left over or of another shape."""
    try:
        with torch.device("meta"):
            network = TinyVae(checkpoint.config)
    except (RuntimeError, TypeError, ValueError) as error:
        raise WeightsError(f"{name}: its config describes no network ({error}); take a whole copy of it") from error
    expected, found = network.state_dict(), checkpoint.weights
    for key in sorted(expected.keys() | found.keys()):
        if key not in found:
            raise WeightsError(f"{name}: the weight {key} is missing; take a whole copy of the checkpoint")
        if key not in expected:
            raise WeightsError(f"{name}: the weight {key} belongs to no part of the model; it is another model's")
        if expected[key].shape != found[key].shape:
            raise WeightsError(
                f"{name}: the weight {key} has the shape {list(found[key].shape)}, the config says "
                f"{list(expected[key].shape)}"
            )
    network.load_state_dict(dict(found), strict=True, assign=True)
    network.requires_grad_(False).eval()
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # missing in torch's types
    return network


def check_device(name: str) -> None:
    """See that this could be a device, be it there or not.

    Raises:
        UsageError: It could not.
    """
    if not re.fullmatch(r"auto|cpu|mps|cuda(:[0-9]{1,4})?", name):
        raise UsageError(f"--device {name}: use auto, cpu, cuda, cuda:N or mps")


def _device(name: str) -> torch.device:
    check_device(name)
    has_mps = torch.backends.mps.is_available()
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "mps" if has_mps else "cpu"
    device = torch.device(name)
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise WeightsError(f"{name}: there is no such CUDA device here; use --device cpu")
    if device.type == "mps" and not has_mps:
        raise WeightsError("mps: there is no MPS device here; use --device cpu")
    return device
