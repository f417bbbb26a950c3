"""Latents files for training."""

from pathlib import Path
from typing import TypedDict

import torch
from torch import Tensor
from torch.utils.data import Dataset

from vae3d_cli.errors import LatentsError
from vae3d_cli.latents import LatentsReader
from vae3d_cli.model.posterior import Posterior


class LatentsItem(TypedDict):
    """Latents `[C, T', H/8, W/8]`, and of the clip that they stand for the frames, their size and rate; the file."""

    latents: Tensor
    num_frames: int
    height: int
    width: int
    fps: float
    path: str


class LatentsDataset(Dataset[LatentsItem]):
    """The latents files in a folder and below it, in the order of their names, each read when it is asked for.

    `scaled` has all multiplied by the scaling factor, else none are, however they are stored. Of moments each item is a
    new draw, by torch's own generator.

    Raises:
        LatentsError: The folder has no such file; one cannot be read, or is of another latent space than the first.
    """

    def __init__(self, folder: str | Path, *, scaled: bool = False) -> None:
        self.paths = sorted(Path(folder).rglob("*.safetensors"))
        if not self.paths:
            raise LatentsError(f"{folder}: there is no .safetensors file in it; encode clips into it first")
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
