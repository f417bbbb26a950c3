"""The linear codec: a Karhunen-Loeve transform (PCA) of blocks of pixels, for the first frame and for later groups.

Its latents have unit variance: with eigenvectors V and standard deviations s of the blocks, the encoder is V^T / s and
the decoder V s.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from vae3d_cli.config import TinyConfig

# Sampling from the posterior may add this share of the error that the mean leaves; the hundredth is 0.04 dB.
SAMPLING_SHARE = 0.01


@dataclass(frozen=True)
class Basis:
    """A linear codec of blocks of D values: encoder `[C, D]`, decoder `[D, C]`, mean `[D]`, logvar `[C]`; float64."""

    encoder: Tensor
    decoder: Tensor
    mean: Tensor
    logvar: Tensor


class BlockStatistics:
    """Mean and covariance of blocks, gathered over many clips in float64."""

    def __init__(self, dimension: int) -> None:
        self._weight = 0.0
        self._sum = torch.zeros(dimension, dtype=torch.float64)
        self._products = torch.zeros(dimension, dimension, dtype=torch.float64)

    def add(self, blocks: Tensor, weight: float) -> None:
        """Count blocks `[N, D]`, which weigh `weight` together."""
        share = weight / len(blocks)
        self._weight += weight
        self._sum += share * blocks.sum(0, dtype=torch.float64)
        self._products += share * (blocks.T @ blocks).double()

    def basis(self, num_components: int) -> Basis:
        """The codec of the components with the most variance.

        The posterior's variance is what reverse water-filling gives: the same error in every component, together the
        share of the residual error that sampling may cost.
        """
        mean = self._sum / self._weight
        covariance = self._products / self._weight - torch.outer(mean, mean)
        values, vectors = torch.linalg.eigh(covariance)
        values, vectors = values.flip(0), vectors.flip(1)
        kept, residual = values[:num_components], values[num_components:].sum()
        sigma, basis = kept.sqrt(), vectors[:, :num_components]
        basis = basis * torch.where(basis.sum(0) < 0, -1.0, 1.0)  # eigenvectors have no sign of their own
        return Basis(
            encoder=basis.T / sigma[:, None],
            decoder=basis * sigma,
            mean=mean,
            logvar=torch.log(SAMPLING_SHARE * residual / num_components / kept),
        )


def blocks_of(group: Tensor, config: TinyConfig) -> Tensor:
    """The blocks `[N, 192 or 768]` of a group of frames `[1, 3, 1 or 4, H, W]`, in the order the network has them."""
    return F.pixel_unshuffle(group.flatten(1, 2), config.spatial_compression_ratio)[0].flatten(1).T


def linear_weights(first: Basis, rest: Basis) -> dict[str, Tensor]:
    """The weights of the network's linear parts."""
    weights = {}
    for name, basis in (("first", first), ("rest", rest)):
        zeros = torch.zeros_like(basis.encoder)
        weights[f"encoder.linear.{name}.weight"] = torch.cat((basis.encoder, zeros))[:, :, None, None]
        weights[f"encoder.linear.{name}.bias"] = torch.cat((-basis.encoder @ basis.mean, basis.logvar))
        weights[f"decoder.linear.{name}.weight"] = basis.decoder[:, :, None, None]
        weights[f"decoder.linear.{name}.bias"] = basis.mean
    return weights
