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


class FoldedTime(TemporalCache):
    """A cache for whole clips whose latent frames lie in the batch, one after the other: `[B * num, C, H, W]`.

    Training runs clips so, with large operations instead of many.
    """

    def swap(self, _module: nn.Module, current: Tensor) -> Tensor:
        """For each latent frame the map of the one before it: zeros for the first of a clip."""
        # Channels last, as the maps lie in memory.
        frames = torch.unflatten(current.permute(0, 2, 3, 1), 0, (-1, self.num_latent_frames))
        previous = torch.cat((torch.zeros_like(frames[:, :1]), frames[:, :-1]), dim=1)
        return previous.flatten(0, 1).permute(0, 3, 1, 2)
