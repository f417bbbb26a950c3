"""How a clip is encoded."""

from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace

import torch

from vae3d_cli.errors import UsageError
from vae3d_cli.execution import StrategyOptions
from vae3d_cli.geometry import FrameRange, Protocol
from vae3d_cli.latents import MOMENTS, SUFFIXES, VAE3D, settings_of
from vae3d_cli.video import ReadOptions
from vae3d_cli.weights import ModelFacts

# Told how many frames are done, and of how many if that is known.
Progress = Callable[[int, int | None], None]


def ignore_progress(_done: int, _total: int | None) -> None:
    """Where nobody watches."""


@dataclass(frozen=True, kw_only=True)
class EncodeOptions:
    """How a clip is encoded.

    `seed` is for `sample`, and drawn where it is not given. `scaled` multiplies the latents by the scaling factor;
    moments stay as they are. `reading` is how the video is read: its rate, its size, and what to do with damage.
    `protocol` is the one that frames and size are of (see `by`): a clip that has fewer frames is an error. `format` is
    `vae3d`, `musubi` or `comfyui`, of which the last two hold latents of HunyuanVideo, unscaled.

    Raises:
        UsageError: There is no such format, or it does not hold what is asked for.
    """

    posterior: str = "mode"
    seed: int | None = None
    frames: FrameRange = field(default_factory=FrameRange)
    latents_dtype: torch.dtype | None = None
    strategy: StrategyOptions = field(default_factory=StrategyOptions)
    scaled: bool = False
    reading: ReadOptions = field(default_factory=ReadOptions)
    protocol: Protocol | None = None
    format: str = VAE3D

    def __post_init__(self) -> None:
        """See that the format holds what is asked for."""
        if self.format not in SUFFIXES:
            raise UsageError(f"--format {self.format}: there is no such format; give one of {', '.join(SUFFIXES)}")
        if self.format != VAE3D and self.posterior == MOMENTS:
            raise UsageError(f"--posterior moments: --format {self.format} holds latents; give mode or sample")
        if self.format != VAE3D and self.scaled:
            raise UsageError(f"--scaled: the latents of --format {self.format} are unscaled; leave it out")

    def settings(self, model: ModelFacts) -> dict[str, object]:
        """What decides the numbers, beside the clip and the encoder, as JSON has it; what is not asked for is left out.

        Files that other options made than these are told by it, so the device, threads and memory are not in it.
        """
        reading, strategy, frames = self.reading, self.strategy, self.frames
        asked: dict[str, object] = {
            "dtype": model.dtype_name,
            "latents_dtype": str(self.latents_dtype or model.dtype).removeprefix("torch."),
            "posterior": self.posterior,
            "seed": self.seed,
            "scaled": self.scaled,
            "strategy": strategy.name,
            "tiles": asdict(strategy.tiles) if strategy.name == "tiled" else None,
            "kernels": None if strategy.kernels == StrategyOptions().kernels else sorted(strategy.kernels),
            "frames": None if frames == FrameRange() else [frames.start, frames.stop],
            "fps": None if reading.rate is None else f"{reading.rate.numerator}/{reading.rate.denominator}",
            "size": None if reading.size is None else list(reading.size),
            "stream": reading.stream,
            "protocol": None if self.protocol is None else self.protocol.name,
            "deinterlace": reading.deinterlace,
            "allow_damaged": reading.allow_damaged,
            **settings_of(self.format),
        }
        return {name: value for name, value in asked.items() if value is not None and value is not False}

    def by(self, protocol: Protocol) -> "EncodeOptions":
        """The same with the frames and the size that a protocol measures."""
        reading = replace(self.reading, size=None, cover=(protocol.width, protocol.height))
        return replace(self, protocol=protocol, frames=FrameRange(0, protocol.num_frames), reading=reading)
