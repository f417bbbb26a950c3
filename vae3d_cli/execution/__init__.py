"""Strategies: how a network is driven over a clip.

A strategy turns an iterator of pixel chunks into one of moments, and an iterator of latent chunks into one of pixels.
The first chunk begins the clip; chunks may be of any length.
"""

from vae3d_cli.execution.memory import is_out_of_memory
from vae3d_cli.execution.strategy import (
    STREAM,
    TILED,
    Execution,
    StrategyOptions,
    check_strategy,
    decode_chunks,
    encode_chunks,
    input_device,
    reads_ahead,
)

__all__ = [
    "STREAM",
    "TILED",
    "Execution",
    "StrategyOptions",
    "check_strategy",
    "decode_chunks",
    "encode_chunks",
    "input_device",
    "is_out_of_memory",
    "reads_ahead",
]
