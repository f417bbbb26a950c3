"""Where clips are encoded: in this process, or by workers."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from vae3d_cli.cli import options, present
from vae3d_cli.cli.build import load, prepare
from vae3d_cli.cli.runner import Settings
from vae3d_cli.errors import UsageError

if TYPE_CHECKING:
    from vae3d_cli.batch import Engine
    from vae3d_cli.weights import ModelFacts


@dataclass(frozen=True)
class EngineOptions:
    """Where clips are encoded, and how many at a time; `cpus` and `gpus` are of a worker of a Ray cluster.

    Raises:
        UsageError: The engine has no such option.
    """

    name: options.EngineChoice
    workers: int | None
    cpus: float | None
    gpus: float | None

    def __post_init__(self) -> None:
        for option, value in (("--worker-cpus", self.cpus), ("--worker-gpus", self.gpus)):
            if value is not None and self.name is not options.EngineChoice.ray:
                raise UsageError(f"{option}: only --engine ray has it; here use --threads, --device and --workers")


def engine_for(
    by: EngineOptions,
    model: str,
    device: str,
    dtype: options.ComputeDtypeChoice,
    threads: int | None,
    format_: options.FormatChoice,
    settings: Settings,
    num_clips: int,
) -> "Engine":
    """The engine for so many clips; on this machine it is this process where one worker is enough.

    Raises:
        UsageError: The model is loaded here, and the format does not hold its latents.
    """
    from vae3d_cli.batch import Cluster, InProcess, ModelSource, Processes, Resources, local_sources
    from vae3d_cli.codec import check_format
    from vae3d_cli.weights import fetch_model

    def loaded(facts: "ModelFacts") -> None:
        present.present_model(facts, settings)

    if by.name is options.EngineChoice.ray:
        prepare(model, settings)
        cpus = 1 if by.cpus is None else by.cpus
        source = ModelSource(model, device, dtype.value, threads or max(1, int(cpus)))
        return Cluster(source, Resources(cpus=cpus, gpus=by.gpus, most_at_once=by.workers), loaded)
    sources = local_sources(model, device, dtype.value, threads, by.workers, num_clips)
    if len(sources) == 1:
        loaded_here = load(model, device, dtype, threads, settings)
        check_format(format_.value, loaded_here)
        return InProcess(loaded_here)
    prepare(model, settings)
    fetch_model(model)
    return Processes(sources, loaded)
