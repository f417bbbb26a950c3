"""Small clips through the embedded model, several of one shape at once."""

from collections.abc import Iterable, Iterator

import torch
from torch import Tensor

from vae3d_cli.execution.strategy import AUTO, STREAM, Network, StrategyOptions, input_device
from vae3d_cli.model.cache import TemporalCache
from vae3d_cli.model.tiny import TinyVae

# What gains on CPUs, by tests/benchmarks/clips.py: larger frames fill the caches by themselves, and lose.
CLIPS_AT_ONCE = 8
MAX_PIXELS = 128 * 128


class Batching:
    """Runs a network over several clips at once, where that is faster and their latents are those of each alone."""

    def __init__(self, network: Network) -> None:
        self._network = network
        self._exact: dict[tuple[int, int], bool] = {}

    def gains(self, options: StrategyOptions, height: int, width: int) -> bool:
        """Whether `CLIPS_AT_ONCE` clips of this size are faster together."""
        streams = isinstance(self._network, TinyVae) and options.name in (AUTO, STREAM)
        return streams and input_device(self._network).type == "cpu" and height * width <= MAX_PIXELS

    def is_exact(self, height: int, width: int) -> bool:
        """Whether `CLIPS_AT_ONCE` clips of this size, whole latents, have the same latents alone, bit by bit.

        The libraries choose other orders of summation for other batches, on some CPUs and for some sizes; so it is
        tried once, with noise. A file must not depend on what else was in the folder.
        """
        if (height, width) not in self._exact:
            num_frames = 1 + self._network.config.temporal_compression_ratio
            noise = torch.rand(CLIPS_AT_ONCE, 3, num_frames, height, width, generator=torch.Generator().manual_seed(0))
            clips = torch.split(2 * noise - 1, 1)
            together, *alone = (torch.cat([*self.encode([batch])]) for batch in (clips, *((clip,) for clip in clips)))
            self._exact[height, width] = torch.equal(together, torch.cat(alone))
        return self._exact[height, width]

    def encode(self, chunks: Iterable[tuple[Tensor, ...]]) -> Iterator[Tensor]:
        """Moments `[B, 2C, T', H/8, W/8]` of B clips, from chunks of pixels `[1, 3, T, H, W]` of each."""
        cache = TemporalCache()
        assert isinstance(self._network, TinyVae)
        for chunk in chunks:
            yield self._network.encode(torch.cat(chunk), cache)
