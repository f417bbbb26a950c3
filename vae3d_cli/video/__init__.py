"""Video and picture files on one side, planar RGB frames on the other; the only place that knows PyAV."""

from vae3d_cli.video.audio import AudioCopy, Span, check_audio
from vae3d_cli.video.clip import Clip, VideoInfo
from vae3d_cli.video.color import BT709, ColorTags
from vae3d_cli.video.deep import is_deep, to_8_bit
from vae3d_cli.video.encoding import PNG, EncoderOptions, suffix_of
from vae3d_cli.video.filters import Frame, ReadOptions
from vae3d_cli.video.sources import open_clip
from vae3d_cli.video.timing import Timing
from vae3d_cli.video.trial import check_output_video, check_size
from vae3d_cli.video.writer import PngWriter, VideoWriter

# The name of 0.1.0, which scripts know.
VideoReader = open_clip

__all__ = [
    "BT709",
    "PNG",
    "AudioCopy",
    "Clip",
    "ColorTags",
    "EncoderOptions",
    "Frame",
    "PngWriter",
    "ReadOptions",
    "Span",
    "Timing",
    "VideoInfo",
    "VideoReader",
    "VideoWriter",
    "check_audio",
    "check_output_video",
    "check_size",
    "is_deep",
    "open_clip",
    "suffix_of",
    "to_8_bit",
]
