"""The latents file: a safetensors file that says what it holds. And those of other tools."""

from vae3d_cli.latents.foreign import ForeignHeader, Told
from vae3d_cli.latents.header import FORMAT, UNKNOWN, LatentsHeader
from vae3d_cli.latents.reader import LatentsReader, kind_of_latents
from vae3d_cli.latents.writer import LatentsSpool

__all__ = [
    "FORMAT",
    "UNKNOWN",
    "ForeignHeader",
    "LatentsHeader",
    "LatentsReader",
    "LatentsSpool",
    "Told",
    "kind_of_latents",
]
