"""The state of a run between two steps: a safetensors file, written whole or not at all."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from vae3d_cli.config import VaeConfig
from vae3d_cli.errors import WeightsError
from vae3d_cli.files import atomic_output, check_regular
from vae3d_cli.training.options import TrainOptions
from vae3d_cli.weights import config_from_metadata, config_to_metadata

FORMAT = "vae3d.training/1"


@dataclass(frozen=True)
class RunState:
    """Where a run stands after `step` steps: `tensors` by name, and what it goes on with."""

    step: int
    options: TrainOptions
    config: VaeConfig
    notes: Mapping[str, str]
    tensors: dict[str, Tensor]


def write_state(path: Path, state: RunState) -> None:
    """Write a state in the place of the one before.

    Raises:
        OutputError: It cannot be written; the old one is still there.
    """
    metadata = {
        "format": FORMAT,
        "step": str(state.step),
        "options": state.options.to_json(),
        "config": config_to_metadata(state.config),
        "notes": json.dumps(dict(state.notes)),
    }
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in state.tensors.items()}
    with atomic_output(path) as temporary:
        temporary.write_bytes(save(tensors, metadata))


def read_state(path: Path) -> RunState:
    """Read a state.

    Raises:
        WeightsError: It is missing, damaged or of another version.
    """
    try:
        check_regular(path)
        with safe_open(path, framework="pt", backend="pread") as file:
            metadata = file.metadata() or {}
            if metadata.get("format") != FORMAT:
                raise WeightsError(f"{path}: not the state of a run of this version; start the run anew")
            return RunState(
                step=int(metadata["step"]),
                options=TrainOptions.from_json(metadata["options"]),
                config=config_from_metadata(metadata["config"]),
                notes=json.loads(metadata["notes"]),
                tensors={name: file.get_tensor(name) for name in file.keys()},  # noqa: SIM118 - it is no mapping
            )
    except OSError as error:
        raise WeightsError(f"{path}: {error.strerror or error}; there is no run to resume in this folder") from error
    except (SafetensorError, KeyError, ValueError, TypeError) as error:
        raise WeightsError(f"{path}: damaged ({error}); start the run anew") from error
