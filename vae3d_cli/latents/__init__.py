"""The latents file: a safetensors file that says what it holds."""

from vae3d_cli.latents.header import FORMAT, LatentsHeader
from vae3d_cli.latents.reader import LatentsReader, is_safetensors
from vae3d_cli.latents.writer import LatentsSpool

__all__ = ["FORMAT", "LatentsHeader", "LatentsReader", "LatentsSpool", "is_safetensors"]
