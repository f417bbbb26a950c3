"""Whole clips: a video into a latents file, back, and what was lost on the way."""

from vae3d_cli.codec.convert import Conversion, ConvertResult
from vae3d_cli.codec.dataset import LatentsDataset
from vae3d_cli.codec.decode import DecodeOptions, decode_video
from vae3d_cli.codec.encode import EncodedClip, EncodeOptions, encode_video
from vae3d_cli.codec.extras import find_extras
from vae3d_cli.codec.info import LatentsDescription, VideoDescription, describe
from vae3d_cli.codec.results import DecodeResult, EncodeResult, RoundtripResult, Run
from vae3d_cli.codec.roundtrip import ShowFrame, Viewer, roundtrip_video
from vae3d_cli.latents import Told
from vae3d_cli.metrics import Extras

__all__ = [
    "Conversion",
    "ConvertResult",
    "DecodeOptions",
    "DecodeResult",
    "EncodeOptions",
    "EncodeResult",
    "EncodedClip",
    "Extras",
    "LatentsDataset",
    "LatentsDescription",
    "RoundtripResult",
    "Run",
    "ShowFrame",
    "Told",
    "VideoDescription",
    "Viewer",
    "decode_video",
    "describe",
    "encode_video",
    "find_extras",
    "roundtrip_video",
]
