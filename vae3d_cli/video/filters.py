"""What may be done to a video while it is read: another rate, another size, whole frames of interlaced ones."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import av
from av.filter import Graph
from numpy.typing import NDArray

from vae3d_cli.errors import VideoError

_LONGEST_GAP = 1 << 20  # frames


@dataclass(frozen=True, kw_only=True)
class ReadOptions:
    """How a video is read.

    `rate` resamples to that many frames per second, `size` resizes to width and height, `deinterlace` makes whole
    frames of interlaced ones, and `allow_damaged` keeps what decodes of a damaged video. `cover`, in place of `size`,
    resizes to cover that width and height without a change of shape, and keeps the centre. `stream` is the number of
    the video track, counted from 0 without cover art; by default the default track is read, else the best.
    """

    rate: Fraction | None = None
    size: tuple[int, int] | None = None
    cover: tuple[int, int] | None = None
    deinterlace: bool = False
    allow_damaged: bool = False
    stream: int | None = None


@dataclass(frozen=True)
class Frame:
    """One frame: planar RGB `[3, H, W]`, uint8 or uint16, its time stamp and how long it lasts, in the time base.

    `duration` is 0 where the video does not say.
    """

    rgb: NDArray[Any]
    pts: int
    duration: int = 0


def deinterlaced(frames: Iterable[av.VideoFrame], time_base: Fraction) -> Iterator[av.VideoFrame]:
    """As many frames, those that are interlaced through FFmpeg's bwdif; it is set up anew where the format changes."""
    graph: Graph | None = None
    form = None
    for frame in frames:
        if graph is None or form != (frame.width, frame.height, frame.format.name):
            if graph is not None:
                yield from _drained(graph, time_base)
            form = (frame.width, frame.height, frame.format.name)
            graph = _bwdif(frame, time_base)
        frame.time_base = time_base
        graph.push(frame)
        yield from _pulled(graph, time_base)
    if graph is not None:
        yield from _drained(graph, time_base)


def _bwdif(frame: av.VideoFrame, time_base: Fraction) -> Graph:
    graph = Graph()
    source = graph.add_buffer(
        width=frame.width, height=frame.height, format=frame.format, time_base=time_base, name="in"
    )
    bwdif, sink = graph.add("bwdif", "mode=send_frame:deint=interlaced"), graph.add("buffersink")
    source.link_to(bwdif)
    bwdif.link_to(sink)
    graph.configure()
    return graph


def _pulled(graph: Graph, time_base: Fraction) -> Iterator[av.VideoFrame]:
    """What comes out, in the time base of what went in: bwdif halves it."""
    while True:
        try:
            frame = graph.pull()
        except (av.error.BlockingIOError, av.error.EOFError):
            return
        assert isinstance(frame, av.VideoFrame)
        if frame.pts is not None and frame.time_base:
            frame.pts, frame.duration = (
                round(ticks * frame.time_base / time_base) for ticks in (frame.pts, frame.duration)
            )
            frame.time_base = time_base
        yield frame


def _drained(graph: Graph, time_base: Fraction) -> Iterator[av.VideoFrame]:
    graph.push(None)
    yield from _pulled(graph, time_base)


def at_rate(frames: Iterable[Frame], time_base: Fraction, source_rate: Fraction, rate: Fraction) -> Iterator[Frame]:
    """Frames at `n / rate`, counted from time 0: at each time the last frame whose rounded time has come.

    The rules are those of FFmpeg's filter `fps`. The last frame is shown for its duration; if the video does not say
    it, for the mean duration of the others.

    Raises:
        VideoError: The time stamps leave a gap that no video has.
    """

    def nearest(ticks: int) -> int:
        scaled = ticks * time_base * rate
        return int(scaled + Fraction(1, 2)) if scaled >= 0 else -int(Fraction(1, 2) - scaled)

    held, first, position = None, 0, 0
    start, num_frames = 0, 0
    for frame in frames:
        num_frames += 1
        arrival = nearest(frame.pts)
        if held is not None and arrival - position > _LONGEST_GAP:
            raise VideoError(
                f"its time jumps by {float((frame.pts - held.pts) * time_base):.0f} s, too far to fill at a rate; "
                "leave --fps out"
            )
        if held is None:
            first = position = arrival
            start = frame.pts
        while held is not None and position < arrival:
            yield Frame(held.rgb, position, 1)
            position += 1
        held = frame
    if held is not None:
        average = Fraction(held.pts - start, num_frames - 1) if num_frames > 1 else 1 / (source_rate * time_base)
        lasting = held.duration or round(average)
        for last in range(position, max(first + 1, nearest(held.pts + lasting))):
            yield Frame(held.rgb, last, 1)
