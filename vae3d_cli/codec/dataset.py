"""Latents files for training."""

import logging
from pathlib import Path
from typing import TypedDict

import torch
from torch import Tensor
from torch.utils.data import Dataset

from vae3d_cli.errors import LatentsError
from vae3d_cli.files import visible_files
from vae3d_cli.latents import LatentsReader, Owner, owner_of
from vae3d_cli.model.posterior import Posterior

logger = logging.getLogger(__name__)


class LatentsItem(TypedDict):
    """Latents `[C, T', H/8, W/8]`, and of the clip that they stand for the frames, their size and rate; the file."""

    latents: Tensor
    num_frames: int
    height: int
    width: int
    fps: float
    path: str


class LatentsDataset(Dataset[LatentsItem]):
    """The latents files of vae3d in a folder and its subfolders, sorted by name. An item is read when it is asked for.

    Hidden files are left out: they include files that a run is still writing. `.safetensors` files of other programs
    are left out, too, with a log message: they do not hold all that an item says.

    `scaled` has all latents multiplied by the scaling factor, else none are, however they are stored. Of moments each
    item is a new draw, by torch's own generator.

    Raises:
        LatentsError: The folder has no such file; one cannot be read, or is of another latent space than the first.
    """

    def __init__(self, folder: str | Path, *, scaled: bool = False) -> None:
        owners = {path: owner_of(path) for path in sorted(visible_files(Path(folder), "*.safetensors"))}
        # A damaged file, whose owner is unknown, stays: it is an error when it is read.
        self.paths = [path for path, owner in owners.items() if owner is not Owner.OTHERS]
        others = [path for path, owner in owners.items() if owner is Owner.OTHERS]
        if others:
            logger.warning("%s: left out %d files of other programs, such as %s", folder, len(others), others[0].name)
        if not self.paths:
            raise LatentsError(
                f"{folder}: has no latents file of vae3d; encode clips into it, or convert the files of other tools"
            )
        self._scaled = scaled
        with LatentsReader(self.paths[0]) as first:
            self.latent_space = first.header.latent_space

    def __len__(self) -> int:
        """How many files there are."""
        return len(self.paths)

    def __getitem__(self, index: int) -> LatentsItem:
        """The latents of a file, as fp32."""
        with LatentsReader(self.paths[index]) as file:
            header = file.header
            if header.latent_space != self.latent_space:
                raise LatentsError(
                    f"{file.name}: its latent space is {header.latent_space!r} and that of {self.paths[0].name} is "
                    f"{self.latent_space!r}; keep them in folders of their own"
                )
            latents = file.read(0, file.shape[1]).float()
        if header.posterior == "moments":
            latents = Posterior.from_moments(latents[None]).sample(torch.default_generator)[0]
        factor = header.scaling_factor ** (self._scaled - header.scaled)
        return LatentsItem(
            latents=latents * factor,
            num_frames=header.num_frames,
            height=header.height,
            width=header.width,
            fps=float(header.rate),
            path=str(self.paths[index]),
        )
