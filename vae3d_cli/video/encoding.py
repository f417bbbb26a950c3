"""Which encoder and container a video is written with: what was asked for, and what we choose."""

import contextlib
import os
from dataclasses import dataclass, field
from pathlib import Path

import av
from av.video.stream import VideoStream

from vae3d_cli.errors import UsageError
from vae3d_cli.files import is_special

PNG = ".png"
STDOUT_SUFFIXES = {"matroska": ".mkv", "nut": ".nut", "mp4": ".mp4", "y4m": ".y4m"}

_PRESETS = ("ultrafast", "superfast", "veryfast", "faster", "fast", "medium", "slow", "slower", "veryslow", "placebo")
_X26X = ("libx264", "libx264rgb", "libx265")
_MAX_CRF_OF_X26X = 51
_FRAGMENTED = {"movflags": "frag_keyframe+empty_moov+delay_moov+default_base_moof"}
_FASTSTART = {"movflags": "+faststart"}


@dataclass(frozen=True, kw_only=True)
class EncoderOptions:
    """What a user asks of the video encoder; `None` leaves it to us.

    `lossless` writes the RGB of the frames bit for bit. `container` is for what has no suffix: standard output.
    """

    codec: str | None = None
    crf: float | None = None
    preset: str | None = None
    pix_fmt: str | None = None
    lossless: bool = False
    container: str | None = None


@dataclass(frozen=True)
class Container:
    """How a kind of file is written: FFmpeg's name for it, and our codecs; `constant_rate` can hold no other times."""

    name: str
    codec: str = "libx264"
    lossless_codec: str = "ffv1"
    constant_rate: bool = False

    @property
    def is_iso_media(self) -> bool:
        """Whether it is of the family of mp4."""
        return self.name in ("mp4", "mov")

    def options(self, *, seekable: bool) -> dict[str, str]:
        """The options of its muxer; an mp4 that cannot be gone back in is written in fragments."""
        if not self.is_iso_media:
            return {}
        return _FASTSTART if seekable else _FRAGMENTED


CONTAINERS = {
    ".mp4": Container("mp4", lossless_codec="libx264rgb"),
    ".m4v": Container("mp4", lossless_codec="libx264rgb"),
    ".mov": Container("mov", lossless_codec="libx264rgb"),
    ".mkv": Container("matroska"),
    ".webm": Container("webm", "libvpx-vp9", "libvpx-vp9"),
    ".nut": Container("nut"),
    ".avi": Container("avi", constant_rate=True),
    ".y4m": Container("yuv4mpegpipe", "wrapped_avframe", "wrapped_avframe", constant_rate=True),
}
_DEFAULTS = {
    "libx264": {"crf": "16", "preset": "medium"},
    "libx265": {"crf": "18", "preset": "medium"},
    "libvpx-vp9": {"crf": "20", "b": "0", "row-mt": "1", "cpu-used": "2"},
    "libsvtav1": {"crf": "20", "preset": "8"},
}
# Pixel format and options with which these keep RGB bit for bit.
_LOSSLESS = {
    "libx264rgb": ("rgb24", {"qp": "0"}),
    "libx265": ("gbrp", {"x265-params": "lossless=1"}),
    "libvpx-vp9": ("gbrp", {"lossless": "1", "row-mt": "1"}),
    "ffv1": ("bgr0", {"slicecrc": "1"}),
    "rawvideo": ("rgb24", {}),
    "png": ("rgb24", {}),
    "qtrle": ("rgb24", {}),
}


@dataclass(frozen=True)
class Encoding:
    """An encoder, settled: its name, pixel format and options, in which container."""

    container: Container
    codec: str
    pix_fmt: str
    codec_options: dict[str, str] = field(default_factory=dict)
    asked: str = ""

    def add_to(self, output: "av.container.OutputContainer", rate: object, width: int, height: int) -> VideoStream:
        """A stream for a clip in an open container; tags and the time base are still to be set."""
        _silence(self.codec)
        stream = output.add_stream(self.codec, rate=rate, options=dict(self.codec_options))  # type: ignore[call-overload]
        assert isinstance(stream, VideoStream)
        context = stream.codec_context
        context.width, context.height, context.pix_fmt = width, height, self.pix_fmt
        return stream

    @property
    def is_rgb(self) -> bool:
        """Whether the pixels are not converted to YUV."""
        return av.VideoFormat(self.pix_fmt).is_rgb


def suffix_of(path: Path | None, options: EncoderOptions) -> str:
    """The suffix that says how `path` (`None` for standard output) is written: its own, or that of `--container`.

    Raises:
        UsageError: There is no such kind of video, or the path and `--container` do not agree.
    """
    asked = options.container
    if asked is not None and asked not in STDOUT_SUFFIXES:
        raise UsageError(f"--container {asked}: unknown; use one of {', '.join(STDOUT_SUFFIXES)}")
    own = "" if path is None else path.suffix.lower()
    if path is None or is_special(path):
        return STDOUT_SUFFIXES[asked] if asked else own if own in CONTAINERS else ".mkv"
    if own not in (*CONTAINERS, PNG):
        raise UsageError(f"{path}: unknown kind of video; use one of {', '.join([*CONTAINERS, PNG])}")
    if asked is not None and (own == PNG or CONTAINERS[own] != CONTAINERS[STDOUT_SUFFIXES[asked]]):
        raise UsageError(f"--container {asked}: {path} says {own}; leave one of the two out")
    return own


def choose_encoding(suffix: str, options: EncoderOptions) -> Encoding:
    """The encoder for a kind of file, and its options.

    Raises:
        UsageError: There is no such encoder, or it has no such option.
    """
    container = CONTAINERS[suffix]
    codec = _encoder(options.codec or (container.lossless_codec if options.lossless else container.codec))
    named = {"codec": options.codec, "crf": options.crf, "preset": options.preset, "pix-fmt": options.pix_fmt}
    asked = ", ".join(f"--{name} {value}" for name, value in named.items() if value is not None)
    codec_options = dict(_DEFAULTS.get(codec.name, {}))
    pix_fmt = _pix_fmt(codec, options.pix_fmt)
    if options.lossless:
        if codec.name not in _LOSSLESS:
            what = f"{codec.name} cannot" if options.codec else f"a {suffix} file of ours cannot"
            raise UsageError(f"--lossless: {what} hold RGB; use {', '.join(_LOSSLESS)}, or another container")
        if options.crf is not None or options.pix_fmt is not None:
            raise UsageError("--lossless: has no --crf and chooses its own --pix-fmt; leave them out")
        preset = {"preset": codec_options["preset"]} if "preset" in codec_options else {}
        pix_fmt, lossless = _LOSSLESS[codec.name]
        codec_options = preset | lossless
    if codec.name == "libx265":
        codec_options["x265-params"] = ":".join([*filter(None, [codec_options.get("x265-params")]), "log-level=none"])
    if container.name == "avi" and codec.name not in ("ffv1", "rawvideo"):
        codec_options["bf"] = "0"  # it has no time stamps to put frames in order by
    if options.preset is not None:
        if codec.name in _X26X and options.preset not in _PRESETS:
            raise UsageError(f"--preset {options.preset}: {codec.name} has {', '.join(_PRESETS)}")
        codec_options["preset"] = options.preset
    if options.crf is not None:
        if options.crf < 0 or (codec.name in _X26X and options.crf > _MAX_CRF_OF_X26X):
            raise UsageError(f"--crf {options.crf:g}: give a number from 0 to {_MAX_CRF_OF_X26X}")
        codec_options["crf"] = f"{options.crf:g}"
    return Encoding(container, codec.name, pix_fmt, codec_options, asked)


def _encoder(name: str) -> "av.codec.Codec":
    try:
        codec = av.codec.Codec(name, "w")
    except (ValueError, LookupError) as error:
        raise UsageError(f"--codec {name}: there is no such encoder; use libx264, libx265, libsvtav1, ...") from error
    if codec.type != "video":
        raise UsageError(f"--codec {name}: encodes {codec.type} and no video")
    return codec


def _pix_fmt(codec: "av.codec.Codec", asked: str | None) -> str:
    """The pixel format: the one asked for, or 4:2:0 where the encoder has it."""
    formats = [known.name for known in codec.video_formats or []]
    if asked is None:
        return "yuv420p" if not formats or "yuv420p" in formats else formats[0]
    with contextlib.suppress(ValueError):
        av.VideoFormat(asked)
        if not formats or asked in formats:
            return asked
    raise UsageError(f"--pix-fmt {asked}: {codec.name} has {', '.join(formats) or 'no such format'}")


def _silence(codec: str) -> None:
    """Keep an encoder from writing to standard error past FFmpeg's log."""
    if codec == "libsvtav1":
        os.environ.setdefault("SVT_LOG", "1")
