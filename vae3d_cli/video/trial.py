"""A trial of an encoder and a container before any work.

What an encoder takes and what a container keeps is found out by writing a few small frames to memory and reading them
back: FFmpeg has no better answer, and ignores or drops in silence what it cannot do.
"""

import contextlib
import io
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import av
import numpy as np
from av.video.reformatter import VideoReformatter
from av.video.stream import VideoStream

from vae3d_cli.errors import UsageError, VideoError
from vae3d_cli.video.color import BT709, MATRIX_RGB, UNSPECIFIED, ColorTags, from_rgb
from vae3d_cli.video.encoding import PNG, EncoderOptions, Encoding, choose_encoding, suffix_of

_WRITE_ERRORS = (av.FFmpegError, OSError, ValueError, LookupError)
_FULL_RANGE_ONLY = ("mjpeg",)
# x265 4.2 writes past its memory, and so kills the process, where frames are 48 px wide or narrower.
_MIN_WIDTH_PX = {"libx265": 64}
# Some encoder refuses longer sides: MPEG-4 those over 8191 px, H.264 those over 16384.
_COMMON_SIDE_PX = 8191
_TRIAL_SIDE_PX, _TRIAL_FRAMES = 64, 3


def check_output_video(path: Path | None, options: EncoderOptions) -> None:
    """See that a video can be written so under this name (`None` is standard output), by a trial in memory.

    Raises:
        UsageError: It cannot.
    """
    suffix = suffix_of(path, options)
    if suffix != PNG:
        try_encoding(choose_encoding(suffix, options), BT709)
    elif options != EncoderOptions(lossless=options.lossless):
        raise UsageError(f"{path}: a PNG takes no options of an encoder; leave them out")


def check_size(path: Path | None, options: EncoderOptions, width: int, height: int) -> None:
    """See that a video of this size can be written so, by a trial in memory.

    Raises:
        VideoError: The encoder takes no such size.
        UsageError: It cannot be written so at all.
    """
    suffix = suffix_of(path, options)
    if suffix != PNG:
        encoding, _, _ = settle(choose_encoding(suffix, options), BT709, width, height)
        if max(width, height) > _COMMON_SIDE_PX:
            _try_opening(encoding, width, height)


def _try_opening(encoding: Encoding, width: int, height: int) -> None:
    """Open the encoder at this size, without a frame."""
    try:
        with av.open(io.BytesIO(), "w", format=encoding.container.name) as output:
            encoding.add_to(output, 25, width, height).codec_context.open()
    except _WRITE_ERRORS as error:
        raise VideoError(
            f"{encoding.codec} takes no frames of {width}x{height}; use another codec, such as ffv1 in .mkv"
        ) from error


def settle(encoding: Encoding, color: ColorTags, width: int, height: int) -> tuple[Encoding, ColorTags, list[str]]:
    """What a clip of this size and these colours is written with: the encoder, the tags that a reader will see, notes.

    An encoder that takes no odd size in its pixel format takes 4:4:4.

    Raises:
        VideoError: The encoder takes no such size.
        UsageError: The encoder cannot be opened at all.
    """
    if width < _MIN_WIDTH_PX.get(encoding.codec, 0):
        raise VideoError(f"{encoding.codec} takes no frames this narrow ({width} px); use another --codec")
    notes = []
    odd = (width % 2, height % 2)
    wanted = _wanted_tags(encoding, color)
    try:
        kept = try_encoding(encoding, wanted, odd)
    except UsageError as error:
        if odd == (0, 0) or "--pix-fmt" in encoding.asked:
            if odd != (0, 0):
                raise VideoError(
                    f"{encoding.codec} takes no {width}x{height} as {encoding.pix_fmt}: give --pix-fmt yuv444p"
                ) from error
            raise
        encoding = replace(encoding, pix_fmt="yuv444p")
        kept = try_encoding(encoding, wanted, odd)
        notes.append(f"{width}x{height} is odd: written as 4:4:4")
    lost = kept.matrix != wanted.matrix or (wanted.range == 2) != (kept.range == 2)
    if encoding.is_rgb or not lost:
        return encoding, wanted, notes
    if wanted.matrix != UNSPECIFIED or wanted.range == 2:
        range_name = "full" if kept.range == 2 else "limited"
        notes.append(
            f"{encoding.codec} in {encoding.container.name} keeps no colour tags: written as BT.601 {range_name}"
        )
    return encoding, kept, notes


def try_encoding(encoding: Encoding, tags: ColorTags, odd: tuple[int, int] = (0, 0)) -> ColorTags:
    """Write a few small frames to memory, and return the colour tags that a reader finds in them.

    Raises:
        UsageError: They cannot be written so.
    """
    width, height = _TRIAL_SIDE_PX + odd[0], _TRIAL_SIDE_PX + odd[1]
    rgb = np.zeros((3, height, width), np.uint8)
    reformatter, memory = VideoReformatter(), io.BytesIO()
    with _refusals(encoding):
        with av.open(memory, "w", format=encoding.container.name) as output:
            stream = encoding.add_to(output, 25, width, height)
            tags.put_on(stream.codec_context)
            for n in range(_TRIAL_FRAMES):
                frame = from_rgb(rgb, encoding.pix_fmt, tags, reformatter)
                frame.pts = n
                packets = stream.encode(frame)
                _refuse_unused(encoding, stream)
                output.mux(packets)
            output.mux(stream.encode(None))
        memory.seek(0)
        with av.open(memory, "r") as written:
            return ColorTags.of(next(written.decode(video=0)))


def _wanted_tags(encoding: Encoding, color: ColorTags) -> ColorTags:
    """The tags to ask for: no YUV matrix on RGB, and no RGB matrix on YUV."""
    if encoding.is_rgb:
        return ColorTags(MATRIX_RGB, 2, color.primaries, color.transfer)
    wanted = BT709 if color.matrix == MATRIX_RGB else color
    return replace(wanted, range=2) if encoding.codec in _FULL_RANGE_ONLY else wanted


def _refuse_unused(encoding: Encoding, stream: VideoStream) -> None:
    """Refuse an option that the encoder did not know: FFmpeg would only ignore it."""
    unused = set(stream.codec_context.options) & {"crf", "preset"}
    if unused:
        raise UsageError(f"--{min(unused)}: {encoding.codec} has no such option; leave it out")


@contextlib.contextmanager
def _refusals(encoding: Encoding) -> Iterator[None]:
    """Say of an error of FFmpeg's which option of ours it comes from."""
    try:
        yield
    except _WRITE_ERRORS as error:
        asked, kind = encoding.asked, encoding.container.name
        if "does not support" in str(error):
            raise UsageError(f"{asked}: {kind} cannot hold {encoding.codec}; use another container") from error
        if isinstance(error, PermissionError):
            raise UsageError(
                f"{asked}: {encoding.codec} needs hardware that is not here; use another --codec"
            ) from error
        raise UsageError(
            f"{asked or encoding.codec}: {encoding.codec} as {encoding.pix_fmt} cannot be written into {kind}"
        ) from error
