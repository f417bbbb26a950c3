"""The strategies by name, and the choice among them."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from vae3d_cli.errors import UsageError
from vae3d_cli.model.cache import TemporalCache
from vae3d_cli.model.tiny import TinyVae


@dataclass(frozen=True)
class Strategy:
    """How a clip is run.

    `encode(network, pixels)` yields moments `[B, 2C, T', H/8, W/8]` for chunks of pixels `[B, 3, T, H, W]`;
    `decode(network, latents, start)` yields pixels for chunks of latents, of which the first is latent frame `start` of
    its clip.
    """

    name: str
    encode: Callable[[TinyVae, Iterable[Tensor]], Iterator[Tensor]]
    decode: Callable[[TinyVae, Iterable[Tensor], int], Iterator[Tensor]]

    def describe(self) -> dict[str, object]:
        """What a latents file and the JSON say of it."""
        return {"name": self.name}


def _stream_encode(network: TinyVae, pixels: Iterable[Tensor]) -> Iterator[Tensor]:
    """Chunk by chunk, remembering one map per memory block: the memory does not grow with the clip."""
    cache = TemporalCache()
    for chunk in pixels:
        yield network.encode(chunk, cache)


def _stream_decode(network: TinyVae, latents: Iterable[Tensor], start: int) -> Iterator[Tensor]:
    cache = TemporalCache(start)
    for chunk in latents:
        yield network.decode(chunk, cache)


def _whole_encode(network: TinyVae, pixels: Iterable[Tensor]) -> Iterator[Tensor]:
    """The whole clip as one chunk, for comparison."""
    return _stream_encode(network, [torch.cat(list(pixels), dim=2)])


def _whole_decode(network: TinyVae, latents: Iterable[Tensor], start: int) -> Iterator[Tensor]:
    return _stream_decode(network, [torch.cat(list(latents), dim=2)], start)


STRATEGIES = {
    "stream": Strategy("stream", _stream_encode, _stream_decode),
    "whole": Strategy("whole", _whole_encode, _whole_decode),
}


def choose_strategy(name: str) -> Strategy:
    """The strategy of that name; `auto` streams, which is exact for a network that can.

    Raises:
        UsageError: There is none of that name.
    """
    if name != "auto" and name not in STRATEGIES:
        raise UsageError(f"--strategy {name}: the model has none of that name; use auto, {', '.join(STRATEGIES)}")
    return STRATEGIES["stream" if name == "auto" else name]
