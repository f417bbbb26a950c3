"""A training run: from folders of clips and photos to a checkpoint, in steps that can be resumed."""

import hashlib
import json
import math
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import asdict, dataclass, replace
from itertools import count
from pathlib import Path

import torch
from torch import Tensor
from torch.utils.data import DataLoader

from vae3d_cli.errors import OutputError, TrainingError
from vae3d_cli.files import atomic_output
from vae3d_cli.model.hunyuanvideo import HunyuanVideoVae
from vae3d_cli.training.material import Material
from vae3d_cli.training.objective import objective, reconstruct
from vae3d_cli.training.optimizer import Optimizer, clip_gradients
from vae3d_cli.training.options import TrainOptions
from vae3d_cli.training.schedule import average_decay, is_of_logarithm, rate_factor
from vae3d_cli.training.state import RunState, write_state
from vae3d_cli.training.validation import Quality, validate
from vae3d_cli.weights import DTYPES, Checkpoint, Network, write_checkpoint

MODEL_FILE, STATE_FILE, LOG_FILE = "model.safetensors", "training.state", "log.jsonl"
LOG_EVERY = 20
MAX_GRADIENT_NORM = 1.0
NETWORK, AVERAGE = "network.", "average."
LOWER = "the run has diverged; start it anew at a lower --learning-rate"


@dataclass(frozen=True)
class Progress:
    """How far a run is: `quality` is that of the last validation, of the averaged weights."""

    step: int
    steps: int
    quality: Quality | None


class Run:
    """A network on its way: weights, their running average, and the optimiser."""

    def __init__(self, network: Network, options: TrainOptions, material: Material, notes: Mapping[str, str]) -> None:
        self.network, self.options, self.material = network, options, material
        self.notes, self.step = notes, 0
        network.requires_grad_(True)
        if options.freeze_encoder:
            for name, weight in network.named_parameters():
                weight.requires_grad_(not name.startswith(("encoder.", "quant_conv.")))
        self.trained = {name: weight for name, weight in network.named_parameters() if weight.requires_grad}
        self.average = {name: weight.detach().clone() for name, weight in self.trained.items()}
        self.optimizer = Optimizer(network, options.learning_rate)
        self.device = next(network.parameters()).device
        # As the other commands have it: bf16 on a GPU.
        name = ("bf16" if self.device.type == "cuda" else "fp32") if options.dtype == "auto" else options.dtype
        self.dtype = DTYPES[name]
        self._reconstruct = torch.compile(reconstruct) if self.device.type == "cuda" else reconstruct

    def load(self, state: RunState) -> None:
        """Go on from a state; a `KeyError` names what it lacks."""
        with torch.no_grad():
            for name, weight in self.network.named_parameters():
                weight.copy_(state.tensors[NETWORK + name])
            for name, average in self.average.items():
                average.copy_(state.tensors[AVERAGE + name])
        if state.step:  # before the first there is nothing that the optimiser remembers
            self.optimizer.load(state.tensors)
        self.step = state.step

    def state(self) -> RunState:
        """Where the run stands."""
        tensors = {NETWORK + name: weight.detach() for name, weight in self.network.named_parameters()}
        tensors |= {AVERAGE + name: weight for name, weight in self.average.items()}
        tensors |= self.optimizer.state()
        return RunState(self.step, self.options, self.network.config, self.notes, tensors)

    def advance(self, pixels: Tensor) -> dict[str, float]:
        """Take a step on a batch `[B, 3, T, S, S]` in [-1, 1], and return its figures.

        Raises:
            TrainingError: The run has diverged.
        """
        options = self.options
        factor = rate_factor(self.step, options.steps)
        # What is drawn depends on the seed and the step alone, so that a resumed run is the same run.
        generator = torch.Generator().manual_seed((options.seed << 32) + self.step)
        with self.autocast():
            decoded, posterior = self._reconstruct(self.network, pixels, generator)
        terms = objective(pixels, decoded, posterior)
        loss = terms.loss(options.kl_weight, of_logarithm=is_of_logarithm(self.step, options.steps))
        self.network.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        norm = clip_gradients(self.trained.values(), MAX_GRADIENT_NORM)
        if not math.isfinite(loss.item()) or not math.isfinite(norm):
            raise TrainingError(f"step {self.step}: loss {loss.item()}, gradient {norm}; {LOWER}")
        self.optimizer.step(factor)
        averages, weights = list(self.average.values()), [weight.detach() for weight in self.trained.values()]
        torch._foreach_lerp_(averages, weights, 1 - average_decay(self.step))
        self.step += 1
        return {
            "loss": loss.item(),
            "mse": terms.error.mean().item(),
            "kl": terms.divergence.mean().item(),
            "gradient_norm": norm,
            "learning_rate": options.learning_rate * factor,
        }

    def check(self) -> None:
        """See that the weights are worth saving.

        Raises:
            TrainingError: The run has diverged.
        """
        if not all(bool(torch.isfinite(weight).all()) for weight in self.trained.values()):
            raise TrainingError(f"step {self.step}: a weight is not finite; {LOWER}")

    def autocast(self) -> AbstractContextManager[object]:
        """The networks in the run's dtype, the weights in fp32."""
        return torch.autocast(self.device.type, self.dtype, enabled=self.dtype != torch.float32)

    def quality(self) -> Quality | None:
        """That of the averaged weights, on the validation clips, if there are any."""
        if not self.material.validation:
            return None
        current = {name: weight.detach().clone() for name, weight in self.trained.items()}
        self._put(self.average)
        with self.autocast():
            quality = validate(self.network, self.material.validation, self.options.seed)
        self._put(current)
        return quality

    def checkpoint(self) -> Checkpoint:
        """The averaged weights, as they are stored: fp16, and fp32 for HunyuanVideo."""
        dtype = torch.float32 if isinstance(self.network, HunyuanVideoVae) else torch.float16
        weights = {name: weight.detach() for name, weight in self.network.named_parameters()} | self.average
        stored = {name: weight.to("cpu", dtype) for name, weight in weights.items()}
        return Checkpoint(self.network.config, stored, self.notes)

    @torch.no_grad()
    def _put(self, weights: dict[str, Tensor]) -> None:
        for name, weight in self.trained.items():
            weight.copy_(weights[name])


def train(run: Run, folder: Path, progress: Callable[[Progress], None] = lambda _progress: None) -> Quality | None:
    """Take the steps that are left, and keep checkpoint, state and log in `folder`; a stop loses those since a save.

    Returns the quality on the validation clips at the end, if there are any.

    Raises:
        OutputError: The folder cannot be written to.
        TrainingError: The run has diverged; what was saved last is still there.
    """
    log = _Log(folder / LOG_FILE, run.step)
    workers = 0 if run.device.type == "cpu" else min(8, torch.get_num_threads())
    loader = DataLoader(run.material.batches, batch_size=None, sampler=count(run.step), num_workers=workers)
    steps, quality = run.options.steps, None
    start = time.perf_counter()
    if run.step == steps:
        save(run, folder)
        return run.quality()
    for pixels in loader:
        figures = run.advance(pixels.to(run.device, non_blocking=True))
        if run.step % LOG_EVERY == 0 or run.step == steps:
            log.add(run.step, {**figures, "seconds": time.perf_counter() - start})
        if run.step % run.options.save_every == 0 or run.step == steps:
            run.check()
            quality = run.quality()
            if quality is not None:
                log.add(run.step, {"validation": asdict(quality)})
            save(run, folder)
        progress(Progress(run.step, steps, quality))
        if run.step == steps:
            break
    return quality


def save(run: Run, folder: Path) -> None:
    """Write the checkpoint of a run, and then its state.

    Raises:
        OutputError: They cannot be written.
    """
    checkpoint = run.checkpoint()
    log = folder / LOG_FILE
    notes = {
        **checkpoint.notes,
        "training_step": str(run.step),
        "training_settings": run.options.settings_json(),
        "training_log_sha256": hashlib.sha256(log.read_bytes() if log.exists() else b"").hexdigest(),
    }
    with atomic_output(folder / MODEL_FILE) as temporary:
        write_checkpoint(temporary, replace(checkpoint, notes=notes))
    write_state(folder / STATE_FILE, run.state())


class _Log:
    """A file of JSON lines, each of a step; those after the step that a run resumes from are dropped."""

    def __init__(self, path: Path, step: int) -> None:
        self._path = path
        with _log_errors(path):
            lines = path.read_text(errors="replace").splitlines(keepends=True) if path.exists() else []
        # A run that was killed may have written later lines, and half a line.
        kept = [line for line in lines if _is_of(line, step)]
        if kept != lines:
            with atomic_output(path) as temporary:
                temporary.write_text("".join(kept))

    def add(self, step: int, figures: Mapping[str, object]) -> None:
        with _log_errors(self._path), self._path.open("a") as file:
            file.write(json.dumps({"step": step, **figures}) + "\n")


def _is_of(line: str, last_step: int) -> bool:
    """Whether this is a whole line of the log, of a step up to that one."""
    try:
        return line.endswith("\n") and int(json.loads(line)["step"]) <= last_step
    except (ValueError, KeyError, TypeError):
        return False


@contextmanager
def _log_errors(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise OutputError(f"{path}: {error.strerror}; the log of the run cannot be kept") from error
