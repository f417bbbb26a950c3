"""vae3d: video into causal 3D VAE latents and back."""

__version__ = "0.1.0"
