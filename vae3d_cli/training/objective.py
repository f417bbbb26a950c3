"""What is minimised: the error of the pixels, and a little of the posterior's divergence from a unit Gaussian."""

from dataclasses import dataclass

import torch
from torch import Tensor

from vae3d_cli.model.hunyuanvideo import HunyuanVideoVae
from vae3d_cli.model.posterior import Posterior
from vae3d_cli.model.tiny import TinyVae
from vae3d_cli.training.folding import decode_clips, encode_clips

# Where a clip is as good as this (50 dB), the logarithm does not ask for more.
LEAST_ERROR = 1e-5


@dataclass(frozen=True)
class Objective:
    """Of each clip of a batch, `[B]`: the mean squared error of pixels in [0, 1], and the KL divergence per latent."""

    error: Tensor
    divergence: Tensor

    def loss(self, kl_weight: float, *, of_logarithm: bool) -> Tensor:
        """A scalar: the mean energy of the clips, or of its logarithm, which is what PSNR counts."""
        energy = self.error + kl_weight * self.divergence
        # The factor gives steps with either about the same size.
        return torch.log(energy + LEAST_ERROR).mean() if of_logarithm else 400 * energy.mean()


def reconstruct(
    network: TinyVae | HunyuanVideoVae, pixels: Tensor, generator: torch.Generator | None
) -> tuple[Tensor, Posterior]:
    """Pixels `[B, 3, 1 + 4k, H, W]` through the network, and their posterior.

    The latents are a sample of it, drawn from the generator, or its mode if there is none.
    """
    moments = encode_clips(network, pixels) if isinstance(network, TinyVae) else network.encode(pixels)
    posterior = Posterior.from_moments(moments)
    latents = posterior.mode() if generator is None else posterior.sample(generator)
    return decode_clips(network, latents) if isinstance(network, TinyVae) else network.decode(latents), posterior


def objective(pixels: Tensor, decoded: Tensor, posterior: Posterior) -> Objective:
    """The terms for pixels in [-1, 1] and what became of them."""
    error = (decoded - pixels).square().mean((1, 2, 3, 4)) / 4
    mean, logvar = posterior.mean, posterior.logvar
    divergence = 0.5 * (mean.square() + logvar.exp() - 1 - logvar).mean((1, 2, 3, 4))
    return Objective(error, divergence)
