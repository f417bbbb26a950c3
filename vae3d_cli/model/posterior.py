"""The Gaussian that an encoder gives for a clip."""

from dataclasses import dataclass

import torch
from torch import Tensor

LOGVAR_RANGE = (-30.0, 20.0)


@dataclass(frozen=True)
class Posterior:
    """A diagonal Gaussian over latents: `mean` and `logvar`, each `[B, C, T', H/8, W/8]`."""

    mean: Tensor
    logvar: Tensor

    @classmethod
    def from_moments(cls, moments: Tensor) -> "Posterior":
        """Split moments `[B, 2C, T', H/8, W/8]` into mean and logvar, the latter clamped to [-30, 20]."""
        mean, logvar = moments.chunk(2, dim=1)
        return cls(mean, logvar.clamp(*LOGVAR_RANGE))

    def mode(self) -> Tensor:
        """The most probable latents: the mean."""
        return self.mean

    def sample(self, generator: torch.Generator) -> Tensor:
        """A random draw.

        The noise is drawn in fp32 on the generator's device, one latent frame after the other, so that neither the
        device of the latents nor the way a clip is cut into chunks changes it.
        """
        batch, channels, frames, height, width = self.mean.shape
        noise = [
            torch.randn(batch, channels, height, width, generator=generator, device=generator.device)
            for _ in range(frames)
        ]
        return self.mean + torch.exp(0.5 * self.logvar) * torch.stack(noise, dim=2).to(self.mean)
