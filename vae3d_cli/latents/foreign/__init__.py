"""Latent files of other tools: which tool's a file is, by what is in it, and what that says of the latents."""

from vae3d_cli.latents.foreign.header import ForeignHeader, Told, check_told
from vae3d_cli.latents.foreign.pickled import is_pickle, read_pickle
from vae3d_cli.latents.foreign.recognition import recognise

__all__ = ["ForeignHeader", "Told", "check_told", "is_pickle", "read_pickle", "recognise"]
