"""PyAV on one side, planar RGB frames on the other; the only place that knows PyAV."""

from vae3d_cli.video.color import BT709, ColorTags
from vae3d_cli.video.deep import is_deep
from vae3d_cli.video.filters import Frame, ReadOptions
from vae3d_cli.video.reader import VideoInfo, VideoReader
from vae3d_cli.video.timing import Timing
from vae3d_cli.video.writer import PNG, PngWriter, VideoWriter, check_suffix

__all__ = [
    "BT709",
    "PNG",
    "ColorTags",
    "Frame",
    "PngWriter",
    "ReadOptions",
    "Timing",
    "VideoInfo",
    "VideoReader",
    "VideoWriter",
    "check_suffix",
    "is_deep",
]
