"""Latent files of other tools: which tool's a file is, by what is in it, and how they are written."""

from vae3d_cli.latents.foreign.header import HUNYUANVIDEO, ForeignHeader, Told, check_told
from vae3d_cli.latents.foreign.pickled import is_pickle, read_pickle
from vae3d_cli.latents.foreign.recognition import COMFYUI, MUSUBI, recognise
from vae3d_cli.latents.foreign.writing import (
    SUFFIXES,
    VAE3D,
    check_space,
    is_musubi_name,
    layout_of,
    losses,
    musubi_name,
    musubi_names,
    musubi_pattern,
    settings_of,
)

__all__ = [
    "COMFYUI",
    "HUNYUANVIDEO",
    "MUSUBI",
    "SUFFIXES",
    "VAE3D",
    "ForeignHeader",
    "Told",
    "check_space",
    "check_told",
    "is_musubi_name",
    "is_pickle",
    "layout_of",
    "losses",
    "musubi_name",
    "musubi_names",
    "musubi_pattern",
    "read_pickle",
    "recognise",
    "settings_of",
]
