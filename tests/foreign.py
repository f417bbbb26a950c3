"""Files of latents as other tools write them."""

from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor

from vae3d_cli.latents import Told

FACTOR = 0.476986
MARKER = {"latent_format_version_0": torch.tensor([])}
CACHE_NAME = "latents_3x3x4_float32"
CACHE = {"architecture": "hunyuan_video", "width": "32", "height": "24", "format_version": "1.0.1", "frame_count": "9"}

FRAMEPACK = {**CACHE, "architecture": "framepack"}


def random_latents(channels: int = 16, num_frames: int = 3, height: int = 3, width: int = 4) -> Tensor:
    return torch.randn(channels, num_frames, height, width, generator=torch.Generator().manual_seed(0))


LATENTS = random_latents()


@dataclass(frozen=True)
class Example:
    """A file as its tool writes it, what is in it, and what must be told of it."""

    name: str
    format: str
    content: object
    metadata: dict[str, str] | None = None
    scaled: bool | None = False
    posterior: str | None = None

    def write(self, folder: Path, name: str | None = None) -> Path:
        path = folder / (name or self.name)
        if self.name.endswith(".pt"):
            torch.save(self.content, path)
        else:
            assert isinstance(self.content, dict)
            save_file(self.content, path, self.metadata)
        return path

    @property
    def told(self) -> Told:
        return Told(rate=Fraction(24), scaled=False if self.scaled is None else None)


EXAMPLES = [
    Example("c_00000-009_0032x0024_hv.safetensors", "musubi", {CACHE_NAME: LATENTS}, CACHE, posterior="sample"),
    Example("c_latent.safetensors", "musubi-generated", {"latent": LATENTS}, scaled=True),
    Example("f_0032x0024_fp.safetensors", "musubi", {CACHE_NAME: LATENTS}, FRAMEPACK, scaled=True, posterior="sample"),
    Example("c_00001_.latent", "comfyui", {"latent_tensor": LATENTS[None], **MARKER}, {"prompt": "{}"}),
    Example("latent-0-7.pt", "finetrainers", {"latents": LATENTS[None]}),
    Example("moments-0-7.pt", "finetrainers", {"latents": random_latents(32)[None]}, posterior="moments"),
    Example("c.pt", "fastvideo", LATENTS.to(torch.bfloat16), scaled=None),
]  # fmt: skip
BY_NAME = {example.name: example for example in EXAMPLES}


def stored(example: Example) -> Tensor:
    """The tensor of an example as `[C, T', h, w]`."""
    content = example.content
    tensor = content if isinstance(content, Tensor) else next(iter(content.values()))  # type: ignore[attr-defined]
    return tensor[0] if tensor.ndim == 5 else tensor
