"""What the workers of all engines share: their model, and what becomes of errors and of clips whose worker was lost."""

import contextlib
import pickle
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import torch

from vae3d_cli.batch.tasks import Deliver, Outcome, Task
from vae3d_cli.errors import Vae3dError, WorkerError
from vae3d_cli.weights import Model, ModelFacts, load_model

# A clip whose workers were lost this often is tried once more: it may have been a neighbour that took all memory.
MAX_LOSSES = 2
Loaded = Callable[[ModelFacts], None]
"""Told of a model that a worker has loaded."""


@dataclass(frozen=True)
class ModelSource:
    """What a worker loads; `threads` are CPU threads, as many as torch likes if not given."""

    name: str
    device: str
    dtype: str
    threads: int | None = None

    def load(self) -> Model:
        """Load it here.

        Raises:
            WeightsError: See `load_model`.
        """
        if self.threads is not None:
            torch.set_num_threads(self.threads)
        return load_model(self.name, device=self.device, dtype=self.dtype)


def local_sources(
    name: str, device: str, dtype: str, threads: int | None, num_workers: int | None, num_clips: int
) -> list[ModelSource]:
    """A model for each worker on this machine: one on each GPU, by turns if there are more workers, else on the CPU.

    Without `num_workers` there are as many as there are GPUs to use, or one, and never more than clips. CPU threads are
    shared out.
    """
    num_gpus = torch.cuda.device_count() if device in ("auto", "cuda") else 0
    count = min(num_workers or num_gpus or 1, num_clips)
    devices = [f"cuda:{number % num_gpus}" if num_gpus else device for number in range(count)]
    return [ModelSource(name, each, dtype, threads or max(1, torch.get_num_threads() // count)) for each in devices]


def hand_over(
    outcomes: Iterator[Outcome], last: Callable[[], Iterator[Outcome]], record: Deliver, show: Deliver
) -> None:
    """Record and show outcomes as they come; if the run is ended before, record the `last` ones, which are written."""
    try:
        for outcome in outcomes:
            record(outcome)
            show(outcome)
    except BaseException:
        for outcome in last():
            with contextlib.suppress(Vae3dError):  # what ended the run says more
                record(outcome)
        raise


def lost(task: Task, cause: str) -> Outcome:
    """What comes of a clip that was tried too often."""
    text = (
        f"{task.clip.name}: the worker that encoded it died {MAX_LOSSES + 1} times ({cause}); if memory ran out, take "
        "fewer --workers, or a lower --memory"
    )
    return Outcome(clip=task.clip, error=WorkerError(text))


def portable(outcome: Outcome) -> Outcome:
    """The same, able to go to another process."""
    return outcome if outcome.error is None else replace(outcome, error=portable_error(outcome.error))


def portable_error(error: Exception) -> Exception:
    """The same, able to go to another process, with its traceback as a note."""
    note = "".join(traceback.format_exception(error))
    try:
        copy = pickle.loads(pickle.dumps(error))
    except Exception:
        copy = RuntimeError(f"{type(error).__name__}: {error}")
    assert isinstance(copy, Exception)
    copy.add_note(note)
    return copy
