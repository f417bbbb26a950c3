"""Sizes of clips and latents: integers only, each with its unit, and nothing that needs torch."""

from collections.abc import Iterator
from dataclasses import dataclass

from vae3d_cli.config import VaeConfig


def num_latent_frames(num_frames: int, config: VaeConfig) -> int:
    """Latent frames of a clip: 1 + 4k frames become 1 + k, for the first frame has a latent frame of its own.

    A clip of any other length counts as padded to the next 1 + 4k.

    Raises:
        ValueError: The clip has no frame.
    """
    if num_frames < 1:
        raise ValueError(f"a clip has at least one frame, not {num_frames}")
    ratio = config.temporal_compression_ratio
    return 1 + (num_frames - 1 + ratio - 1) // ratio


def num_decoded_frames(num_latent_frames: int, config: VaeConfig) -> int:
    """Frames that so many latent frames decode to: 1 + k become 1 + 4k."""
    return 1 + (num_latent_frames - 1) * config.temporal_compression_ratio


def padded_num_frames(num_frames: int, config: VaeConfig) -> int:
    """The next 1 + 4k frames: what a clip is padded to by repeating its last frame."""
    return num_decoded_frames(num_latent_frames(num_frames, config), config)


def latent_size(size_px: int, config: VaeConfig) -> int:
    """Height or width in latents of a height or width in pixels, padded up to a whole latent."""
    return -(-size_px // config.spatial_compression_ratio)


def padded_size_px(size_px: int, config: VaeConfig) -> int:
    """The next multiple of 8 pixels: what a frame is padded to by repeating its right and bottom edges."""
    return latent_size(size_px, config) * config.spatial_compression_ratio


def latents_shape(num_frames: int, height: int, width: int, config: VaeConfig) -> tuple[int, int, int, int]:
    """Shape `(C, T', H/8, W/8)` of the latents of a clip of so many frames and pixels."""
    return (
        config.latent_channels,
        num_latent_frames(num_frames, config),
        latent_size(height, config),
        latent_size(width, config),
    )


def latent_frame_of(frame: int, config: VaeConfig) -> int:
    """The latent frame that a frame of the clip is decoded from."""
    ratio = config.temporal_compression_ratio
    return (frame + ratio - 1) // ratio


@dataclass(frozen=True)
class Chunk:
    """A run of latent frames, `start` to `stop - 1`, and with it a run of frames."""

    start: int
    stop: int

    def first_frame(self, config: VaeConfig) -> int:
        """The first frame that the chunk covers."""
        return 0 if self.start == 0 else num_decoded_frames(self.start, config)

    def num_frames(self, config: VaeConfig) -> int:
        """How many frames the chunk covers: 1 + 4k at the start of a clip, 4k later."""
        return num_decoded_frames(self.stop, config) - self.first_frame(config)


def plan_chunks(chunk_latents: int, stop: int | None = None, start: int = 0) -> Iterator[Chunk]:
    """Chunks of `chunk_latents` latent frames from `start` on, without end where `stop` is not known.

    Raises:
        ValueError: A chunk would hold no latent frame.
    """
    if chunk_latents < 1:
        raise ValueError(f"a chunk holds at least one latent frame, not {chunk_latents}")
    while stop is None or start < stop:
        end = start + chunk_latents if stop is None else min(start + chunk_latents, stop)
        yield Chunk(start, end)
        start = end


@dataclass(frozen=True)
class FrameRange:
    """Frames `start` to `stop - 1` of a clip, counted from 0; to its end where `stop` is not given."""

    start: int = 0
    stop: int | None = None

    def within(self, num_frames: int) -> range:
        """The frames of the range that a clip of so many frames has."""
        return range(self.start, num_frames if self.stop is None else min(self.stop, num_frames))
