"""`python -m vae3d_cli`."""

from vae3d_cli.cli import app

app(prog_name="vae3d")
