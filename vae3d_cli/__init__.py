"""vae3d: video into causal 3D VAE latents and back.

Three lines each:

    from vae3d_cli import decode_video, encode_video, load_model
    encode_video("clip.mp4", "clip.safetensors", load_model("tiny"))
    decode_video("clip.safetensors", "clip.decoded.mp4")
"""

# Nothing is imported before the program has its signals in hand: typing takes several milliseconds.
TYPE_CHECKING = False

if TYPE_CHECKING:
    from vae3d_cli.codec import (
        DecodeOptions,
        EncodeOptions,
        LatentsDataset,
        decode_video,
        encode_video,
        roundtrip_video,
    )
    from vae3d_cli.geometry import FrameRange
    from vae3d_cli.weights import load_model

__version__ = "0.1.0"
__all__ = [
    "DecodeOptions",
    "EncodeOptions",
    "FrameRange",
    "LatentsDataset",
    "decode_video",
    "encode_video",
    "load_model",
    "roundtrip_video",
]
_HOMES = {"FrameRange": "geometry", "load_model": "weights"}


def __getattr__(name: str) -> object:
    """What the library offers, imported when it is asked for: `vae3d --help` needs no torch."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"{__name__}.{_HOMES.get(name, 'codec')}"), name)
