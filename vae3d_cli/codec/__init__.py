"""Whole clips: a video into a latents file, back, and what was lost on the way."""

from vae3d_cli.codec.convert import Conversion, ConvertResult
from vae3d_cli.codec.dataset import LatentsDataset
from vae3d_cli.codec.decode import DecodeOptions, decode_video
from vae3d_cli.codec.encode import Encoding, encode_video
from vae3d_cli.codec.extras import find_extras
from vae3d_cli.codec.formats import check_format
from vae3d_cli.codec.info import LatentsDescription, VideoDescription, describe
from vae3d_cli.codec.options import EncodeOptions, Progress
from vae3d_cli.codec.overlap import WorkBehind, read_ahead
from vae3d_cli.codec.reading import EncodedClip
from vae3d_cli.codec.results import DecodeResult, EncodeResult, RoundtripResult, Run
from vae3d_cli.codec.roundtrip import ShowFrame, Viewer, roundtrip_video
from vae3d_cli.latents import SUFFIXES, Told, musubi_pattern
from vae3d_cli.metrics import Extras

__all__ = [
    "SUFFIXES",
    "Conversion",
    "ConvertResult",
    "DecodeOptions",
    "DecodeResult",
    "EncodeOptions",
    "EncodeResult",
    "EncodedClip",
    "Encoding",
    "Extras",
    "LatentsDataset",
    "LatentsDescription",
    "Progress",
    "RoundtripResult",
    "Run",
    "ShowFrame",
    "Told",
    "VideoDescription",
    "Viewer",
    "WorkBehind",
    "check_format",
    "decode_video",
    "describe",
    "encode_video",
    "find_extras",
    "musubi_pattern",
    "read_ahead",
    "roundtrip_video",
]
