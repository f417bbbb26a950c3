"""From the name of a model to a network that is ready to run."""

import os
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, fields
from importlib.resources import as_file, files
from pathlib import Path

import torch
from torch import Tensor

from vae3d_cli.config import HunyuanVideoConfig, TinyConfig, VaeConfig
from vae3d_cli.errors import UsageError, WeightsError
from vae3d_cli.model.hunyuanvideo import HunyuanVideoVae
from vae3d_cli.model.tiny import TinyVae
from vae3d_cli.weights import hub
from vae3d_cli.weights.checkpoint import Checkpoint, checkpoint_of
from vae3d_cli.weights.files import INDEX, SHARD, find_source
from vae3d_cli.weights.layouts import is_counter

EMBEDDED = "tiny"
# A latents file that says one of these needs no `-m`.
KNOWN_MODELS = (EMBEDDED, hub.HUNYUANVIDEO)
Network = TinyVae | HunyuanVideoVae
DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


@dataclass(frozen=True, kw_only=True)
class ModelFacts:
    """What is said of a model, without its network: what a latents file says, where it runs, and in what."""

    name: str
    config: VaeConfig
    encoder_sha256: str
    device: torch.device
    dtype: torch.dtype
    load_seconds: float

    @property
    def dtype_name(self) -> str:
        """`fp32`, `bf16` or `fp16`."""
        return next(name for name, dtype in DTYPES.items() if dtype == self.dtype)


@dataclass(frozen=True, kw_only=True)
class Model(ModelFacts):
    """A network on its device, and what is said of it."""

    network: Network

    @property
    def facts(self) -> ModelFacts:
        """What can go where the network cannot, as to another process."""
        return ModelFacts(**{each.name: getattr(self, each.name) for each in fields(ModelFacts)})


def load_model(name: str = EMBEDDED, *, device: str = "auto", dtype: str = "auto") -> Model:
    """Load `tiny`, `hunyuanvideo`, a checkpoint file or folder (`./tiny` if it is called that), or what a hub id names.

    In fp32 it turns TF32 off for the convolutions of the whole process: torch has no narrower switch.

    Raises:
        UsageError: The device or the dtype is no name of one.
        WeightsError: There is no such model, its weights do not fit it, or the device is not there.
    """
    start = time.perf_counter()
    torch_device = find_device(device)
    if dtype == "auto":
        dtype = "bf16" if torch_device.type == "cuda" else "fp32"
    if dtype not in DTYPES:
        raise UsageError(f"--dtype {dtype}: use auto, {', '.join(DTYPES)}")
    with _located(name) as (path, label):
        network, encoder_sha256 = _built(path)
    if dtype == "fp32":
        torch.backends.cudnn.allow_tf32 = False  # ten bits of mantissa, and on by default
    network.set_compute_dtype(DTYPES[dtype])
    order = torch.channels_last_3d if isinstance(network, HunyuanVideoVae) else torch.channels_last
    network.to(torch_device, memory_format=order)  # type: ignore[call-overload]  # missing in torch's types
    return Model(
        name=label,
        config=network.config,
        network=network,
        encoder_sha256=encoder_sha256,
        device=torch_device,
        dtype=DTYPES[dtype],
        load_seconds=time.perf_counter() - start,
    )


@contextmanager
def _located(name: str) -> Iterator[tuple[Path, str]]:
    """Where the model of that name lies, and what a latents file calls it."""
    if name == EMBEDDED:
        with as_file(files("vae3d_cli.weights") / "tiny.safetensors") as embedded:
            yield embedded, EMBEDDED
    else:
        yield _found(name)


def fetch_model(name: str) -> None:
    """Have the checkpoint of a model here, for whoever loads it later.

    Raises:
        WeightsError: There is no such model, or it cannot be fetched.
    """
    with _located(name):
        pass


def _found(name: str) -> tuple[Path, str]:
    path = Path(name)
    try:
        exists = bool(name) and name != hub.HUNYUANVIDEO and path.exists()
    except OSError as error:
        raise WeightsError(f"{name}: {error.strerror}; the checkpoint cannot be read") from error
    if exists:
        # Only a path like `..` needs to be resolved: a link is called as its user called it.
        base = path.name if path.name not in ("", "..") else path.resolve().name or name
        # Metadata is UTF-8; a file name need not be.
        label = os.fsencode(base).decode(errors="replace")
        return path, f"./{label}" if label in KNOWN_MODELS else label
    if not hub.is_hub_name(name):
        raise WeightsError(
            f"{name}: no such model or file; use {EMBEDDED}, {hub.HUNYUANVIDEO}, a checkpoint file or folder, or a "
            "hub id org/name"
        )
    return hub.find_in_hub(name), hub.HUNYUANVIDEO if name == hub.HUNYUANVIDEO_REPO else name


def model_files(name: str) -> list[Path]:
    """List the local files that loading a model may read; empty if the model is not given by a path."""
    path = Path(name)
    try:
        if not name or name in KNOWN_MODELS or not path.exists():
            return []
        if path.is_dir():
            return [file for folder in (path, path / "vae") if folder.is_dir() for file in folder.iterdir()]
        shards = path.parent.iterdir() if INDEX.search(path.name) else ()
        return [path, path.with_name("config.json"), *(file for file in shards if SHARD.search(file.name))]
    except OSError:  # loading the model reports it
        return []


def build_network(config: VaeConfig) -> Network:
    """A network of this config, with weights drawn by torch's generator."""
    if isinstance(config, HunyuanVideoConfig):
        return HunyuanVideoVae(config)
    assert isinstance(config, TinyConfig), "a checkpoint is of one of two architectures"
    return TinyVae(config)


def _built(path: Path) -> tuple[Network, str]:
    """The network of a checkpoint, and the hash of its encoder.

    The weights are the network's alone when this returns: what converts them one by one then frees each.
    """
    source = find_source(path)
    checkpoint = checkpoint_of(source)
    return _filled(checkpoint, source.path), checkpoint.encoder_sha256


def _filled(checkpoint: Checkpoint, path: Path) -> Network:
    """The network with the checkpoint's weights, of which none may be missing, left over or of another form."""
    try:
        with torch.device("meta"):
            network = build_network(checkpoint.config)
    except (RuntimeError, TypeError, ValueError) as error:
        raise WeightsError(f"{path}: its config describes no network ({error}); take a whole copy of it") from error
    expected = network.state_dict()
    found = {name: weight for name, weight in checkpoint.weights.items() if name in expected or not is_counter(name)}
    for key in sorted(expected.keys() | found.keys()):
        if key not in found:
            raise WeightsError(f"{path}: the weight {key} is missing; take a whole copy of the checkpoint")
        if key not in expected:
            raise WeightsError(f"{path}: the weight {key} belongs to no part of the model; it is another model's")
        if fault := _fault(found[key], expected[key].shape):
            raise WeightsError(f"{path}: the weight {key} {fault}")
    network.load_state_dict(found, strict=True, assign=True)
    return network.requires_grad_(False).eval()


def _fault(weight: Tensor, shape: torch.Size) -> str | None:
    """What is wrong with a weight that should have this shape, and what to do."""
    if weight.shape != shape:
        return (
            f"has the shape {list(weight.shape)}, the config says {list(shape)}; put the model's own config.json "
            "beside the weights"
        )
    if weight.dtype not in DTYPES.values():
        dtype = str(weight.dtype).removeprefix("torch.")
        reason = ", too coarse for a VAE" if dtype.startswith("float8") else ""
        return f"is {dtype}{reason}; take the checkpoint in fp32, bf16 or fp16"
    if not bool(torch.isfinite(weight).all()):
        return "holds values that are not finite; the training diverged or the file is damaged: take another copy"
    return None


def check_device(name: str) -> None:
    """See that this could be a device, be it there or not.

    Raises:
        UsageError: It could not.
    """
    if not re.fullmatch(r"auto|cpu|mps|cuda(:[0-9]{1,4})?", name):
        raise UsageError(f"--device {name}: use auto, cpu, cuda, cuda:N or mps")


def find_device(name: str) -> torch.device:
    """The device of that name; `auto` is CUDA, then MPS, then the CPU.

    Raises:
        UsageError: It is no name of a device.
        WeightsError: The device is not there.
    """
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
