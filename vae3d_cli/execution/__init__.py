"""Strategies: how a network is driven over a clip.

A strategy turns an iterator of pixel chunks into one of moments, and an iterator of latent chunks into one of pixels.
The first chunk begins the clip; chunks may be of any length.
"""

from vae3d_cli.execution.strategy import STRATEGIES, Strategy, choose_strategy

__all__ = ["STRATEGIES", "Strategy", "choose_strategy"]
