"""Where clips are encoded: in this process, or by workers."""

from typing import TYPE_CHECKING

from vae3d_cli.cli import options, present
from vae3d_cli.cli.build import load, prepare
from vae3d_cli.cli.runner import Settings

if TYPE_CHECKING:
    from vae3d_cli.batch import Engine


def local_engine(
    model: str,
    device: str,
    dtype: options.ComputeDtypeChoice,
    threads: int | None,
    workers: int | None,
    settings: Settings,
    num_clips: int,
) -> "Engine":
    """This process where one worker is enough for so many clips, else a process for each worker."""
    from vae3d_cli.batch import InProcess, Processes, local_sources
    from vae3d_cli.weights import fetch_model

    sources = local_sources(model, device, dtype.value, threads, workers, num_clips)
    if len(sources) == 1:
        return InProcess(load(model, device, dtype, threads, settings))
    prepare(model, settings)
    fetch_model(model)
    return Processes(sources, lambda facts: present.present_model(facts, settings))
