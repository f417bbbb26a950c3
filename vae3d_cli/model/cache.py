"""The state of a stream, passed as a value."""

import torch
from torch import Tensor, nn


class TemporalCache:
    """What one stream remembers of its past, keyed by module; a new one is the start of a new clip.

    One cache serves one direction (encoding or decoding) of one clip. `num_latent_frames` counts what has gone
    through; a decoder that starts in mid-clip is told so by a count that is not 0.
    """

    def __init__(self, num_latent_frames: int = 0) -> None:
        self.num_latent_frames = num_latent_frames
        self._maps: dict[nn.Module, Tensor] = {}

    def swap(self, module: nn.Module, current: Tensor) -> Tensor:
        """Remember `current` for `module` and return what it remembered of the latent frame before: zeros at first."""
        previous = self._maps.get(module)
        self._maps[module] = current
        return torch.zeros_like(current) if previous is None else previous
