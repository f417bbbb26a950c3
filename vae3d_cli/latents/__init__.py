"""The latents file: a safetensors file that says what it holds. And those of other tools."""

from vae3d_cli.latents.container import Owner, owner_of
from vae3d_cli.latents.foreign import (
    COMFYUI,
    HUNYUANVIDEO,
    MUSUBI,
    SUFFIXES,
    VAE3D,
    ForeignHeader,
    Told,
    check_space,
    is_musubi_name,
    layout_of,
    losses,
    musubi_name,
    musubi_names,
    musubi_pattern,
    settings_of,
)
from vae3d_cli.latents.header import FORMAT, MOMENTS, UNKNOWN, LatentsHeader
from vae3d_cli.latents.reader import LatentsReader, kind_of_latents
from vae3d_cli.latents.writer import LatentsSpool

__all__ = [
    "COMFYUI",
    "FORMAT",
    "HUNYUANVIDEO",
    "MOMENTS",
    "MUSUBI",
    "SUFFIXES",
    "UNKNOWN",
    "VAE3D",
    "ForeignHeader",
    "LatentsHeader",
    "LatentsReader",
    "LatentsSpool",
    "Owner",
    "Told",
    "check_space",
    "is_musubi_name",
    "kind_of_latents",
    "layout_of",
    "losses",
    "musubi_name",
    "musubi_names",
    "musubi_pattern",
    "owner_of",
    "settings_of",
]
