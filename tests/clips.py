"""Clips made in code."""

from collections.abc import Iterable, Iterator
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from av.video.stream import VideoStream
from numpy.typing import NDArray

NTSC = Fraction(30000, 1001)


def moving_frames(num_frames: int, width: int, height: int, seed: int = 0) -> list[NDArray[np.uint8]]:
    """Smooth colours that drift, `[3, H, W]` each."""
    return list(_moving_frames(num_frames, width, height, seed))


def _moving_frames(num_frames: int, width: int, height: int, seed: int) -> Iterator[NDArray[np.uint8]]:
    rng = np.random.default_rng(seed)
    x, y = np.meshgrid(np.arange(width), np.arange(height))
    phase, speed = rng.uniform(0, 6, (3, 2)), rng.uniform(0.1, 0.3, (3, 2))
    for n in range(num_frames):
        waves = [np.sin(x / 9 + phase[c, 0] + n * speed[c, 0]) * np.cos(y / 7 + phase[c, 1]) for c in range(3)]
        yield (128 + 60 * np.stack(waves)).round().astype(np.uint8)


def write_clip(
    path: Path,
    num_frames: int = 6,
    width: int = 32,
    height: int = 24,
    *,
    seed: int = 0,
    rate: Fraction = NTSC,
    codec: str = "libx264",
    pix_fmt: str = "yuv420p",
    options: dict[str, str] | None = None,
    container_options: dict[str, str] | None = None,
    container: str | None = None,
    frames: Iterable[av.VideoFrame] | None = None,
    stamps: tuple[Fraction, list[int]] | None = None,
) -> Path:
    """A clip of moving colours, or of `frames`; `stamps` are a time base and a time stamp for each frame."""
    made = (
        av.VideoFrame.from_ndarray(np.ascontiguousarray(rgb.transpose(1, 2, 0)), format="rgb24")
        for rgb in _moving_frames(num_frames, width, height, seed)
    )
    base, pts = stamps or (1 / rate, list(range(num_frames)))
    with av.open(str(path), "w", format=container, container_options=container_options or {}) as output:
        stream = output.add_stream(codec, rate=rate, options=options or {})
        assert isinstance(stream, VideoStream)
        stream.width, stream.height, stream.pix_fmt = width, height, pix_fmt
        stream.codec_context.time_base = base
        for n, frame in enumerate(made if frames is None else frames):
            frame.pts, frame.time_base = pts[n], base
            output.mux(stream.encode(frame))
        output.mux(stream.encode(None))
    return path


def read_back(path: Path) -> tuple[list[NDArray[np.uint8]], list[Fraction]]:
    """Frames `[H, W, 3]` and times in seconds of a video, by PyAV alone."""
    frames, times = [], []
    with av.open(str(path)) as container:
        for frame in container.decode(video=0):
            frames.append(frame.to_ndarray(format="rgb24").astype(np.uint8, copy=False))
            assert frame.pts is not None
            assert frame.time_base is not None
            times.append(frame.pts * frame.time_base)
    return frames, times
