"""The sound of a video, copied packet by packet beside the frames of another."""

import contextlib
import io
import os
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from itertools import islice
from pathlib import Path
from types import TracebackType
from typing import Any

import av
from av.audio.stream import AudioStream

from vae3d_cli.errors import VideoError
from vae3d_cli.video.damage import ffmpeg_log
from vae3d_cli.video.encoding import CONTAINERS
from vae3d_cli.video.opening import READ_ERRORS, best_track, open_input, video_tracks
from vae3d_cli.video.picture_files import is_picture_file
from vae3d_cli.video.timing import Timing

_TRIAL_PACKETS = 4


@dataclass(frozen=True)
class Span:
    """What is written of a clip, in seconds from the clip's first frame: its first and last frame, and where it ends.

    `clip_last` is the last frame of the whole clip; `start` is when its first frame is shown in the source, and `None`
    where it is the source's first; `rate` is in frames per second.
    """

    first: Fraction
    last: Fraction
    end: Fraction
    clip_last: Fraction
    rate: Fraction
    start: Fraction | None = None

    @classmethod
    def of(cls, timing: Timing, num_frames: int, selected: range, start: Fraction | None) -> "Span":
        """The span of the selected frames of a clip of `num_frames`."""
        base, stamps = timing.stamps(num_frames)
        first, last, clip_last = (int(stamps[n]) * base for n in (selected.start, selected.stop - 1, -1))
        if selected.stop < num_frames:
            end = int(stamps[selected.stop]) * base
        else:
            end = last + (timing.last_duration or 1 / timing.rate)
        return cls(first, last, end, clip_last, timing.rate, start)


class AudioCopy:
    """All audio streams of `path`, to be muxed beside a clip that is the part `span` of it.

    Where the clip begins or ends within the video of `path`, only packets within it are copied; else all are, at the
    same distance from the frames. `copy_of` names what a file copies, and `track` is the number of the video track, as
    in `ReadOptions`.

    Raises:
        VideoError: The file cannot be read, or has no audio.
    """

    def __init__(self, path: Path, span: Span, *, copy_of: str | None = None, track: int | None = None) -> None:
        self.name = copy_of or str(path)
        self._path = path
        self._track = track
        self._span = span
        self._streams: dict[int, Any] = {}
        self._stamps: dict[int, int] = {}
        self._waiting: av.Packet[Any] | None = None

    def __enter__(self) -> "AudioCopy":
        """Open the source, and find out how its times become the clip's."""
        with contextlib.ExitStack() as stack, _errors(self.name):
            self._source = stack.enter_context(_open(self._path, self.name))
            audio = list(_audio_of(self._source, self.name))
            span = self._span
            video = _video_times(self._path, self.name, self._track)
            if video is None:  # a file of sound alone begins where the clip does
                video, start = (Fraction(0), span.clip_last), Fraction(0)
            else:
                start = video[0] if span.start is None else span.start
            begin, frame = start + span.first, 1 / span.rate
            self._from = begin if begin >= video[0] + frame else None
            self._until = start + span.end if start + span.last <= video[1] - frame else None
            self._demuxed = (packet for packet in self._source.demux(audio) if packet.dts is not None)
            self._waiting = self._next()
            self.lead = self._lead(begin)
            self._origin = begin - self.lead
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the source."""
        self._stack.close()

    def add_to(self, output: "av.container.OutputContainer") -> None:
        """Add the streams to an open container, before anything is muxed."""
        for stream in _audio_of(self._source, self.name):
            self._streams[stream.index] = _add(stream, output)

    def packets(self, time: Fraction | None) -> Iterator["av.Packet[Any]"]:
        """The packets not yet given that begin before `time` (`None` is the end), with the clip's time stamps."""
        with _errors(self.name):
            while self._waiting is not None and (time is None or _begin(self._waiting) - self._origin < time):
                packet, self._waiting = self._waiting, self._next()
                yield self._moved(packet)

    def _next(self) -> "av.Packet[Any] | None":
        """The next packet of the span."""
        for packet in self._demuxed:
            self._mend_duration(packet)
            begin = _begin(packet)
            if self._from is not None and begin + _duration(packet) <= self._from:
                continue
            if self._until is None or begin < self._until:
                return packet
        return None

    def _mend_duration(self, packet: "av.Packet[Any]") -> None:
        """Take the distance to the packet before where a duration is missing: mp4 would drop a last packet of none."""
        index, stamp = packet.stream.index, packet.dts
        before = self._stamps.get(index)
        if not packet.duration and before is not None and stamp is not None:
            packet.duration = max(stamp - before, 0)
        if stamp is not None:
            self._stamps[index] = stamp

    def _lead(self, begin: Fraction) -> Fraction:
        """How long the clip's sound begins before its first frame: the frames wait as long.

        What an encoder puts before time 0 (priming) does not count.
        """
        if self._from is not None or self._waiting is None:
            return Fraction(0)
        return max(begin - max(_begin(self._waiting), Fraction(0)), Fraction(0))

    def _moved(self, packet: "av.Packet[Any]") -> "av.Packet[Any]":
        assert packet.time_base is not None
        ticks = round(self._origin / packet.time_base)
        if packet.pts is not None:
            packet.pts -= ticks
        if packet.dts is not None:
            packet.dts -= ticks
        packet.stream = self._streams[packet.stream.index]
        return packet


def check_audio(path: Path, suffix: str, *, copy_of: str | None = None) -> bool:
    """See that the audio of `path` can be copied into such a file, by a trial in memory; whether there is any.

    Raises:
        VideoError: The file cannot be read, or the container cannot hold its audio.
    """
    name, container = copy_of or str(path), CONTAINERS[suffix]
    if is_picture_file(path):
        return False
    with _errors(name), _open(path, name) as source:
        streams = [stream for stream in source.streams.audio if stream.codec_context is not None]
        if not streams:
            return False
        codecs = "/".join(dict.fromkeys(stream.codec_context.codec.canonical_name for stream in streams))
        try:
            if container.constant_rate:
                raise ValueError("without time stamps sound and frames would drift apart")
            with av.open(io.BytesIO(), "w", format=container.name) as output:
                added = {stream.index: _add(stream, output) for stream in streams}
                for packet in islice(source.demux(streams), _TRIAL_PACKETS):
                    if packet.dts is not None:
                        packet.stream = added[packet.stream.index]
                        output.mux(packet)
        except (av.FFmpegError, ValueError, LookupError) as error:
            raise VideoError(
                f"{name}: a {suffix} file cannot hold its {codecs} audio; write .mkv, or no audio"
            ) from error
    return True


def _open(path: Path, name: str) -> "av.container.InputContainer":
    with ffmpeg_log():
        return open_input(os.path.abspath(path), name)  # noqa: PTH100 - unlike resolve(), it keeps the name of a link


def _audio_of(source: "av.container.InputContainer", name: str) -> list[AudioStream]:
    streams = [stream for stream in source.streams.audio if stream.codec_context is not None]
    if not streams:
        raise VideoError(f"{name}: has no audio that could be copied; leave --audio out")
    return streams


def _add(stream: AudioStream, output: "av.container.OutputContainer") -> Any:
    added = output.add_stream_from_template(stream)
    added.metadata.update(stream.metadata)
    return added


def _video_times(path: Path, name: str, number: int | None) -> tuple[Fraction, Fraction] | None:
    """When the first and the last frame of a file's video track are shown; `None` if it has no video."""
    first = last = None
    with _open(path, name) as source:
        tracks = video_tracks(source)
        if not tracks:
            return None
        chosen = (track for track in tracks if track.number == number)
        track = next(chosen, None) or best_track(source, tracks)
        for packet in source.demux(track.stream):
            if packet.pts is not None and packet.size and not packet.is_discard:
                time = _begin(packet)
                first = time if first is None else min(first, time)
                last = time if last is None else max(last, time)
    return None if first is None or last is None else (first, last)


def _begin(packet: "av.Packet[Any]") -> Fraction:
    stamp = packet.dts if packet.pts is None else packet.pts
    return (stamp or 0) * Fraction(packet.time_base or 1)


def _duration(packet: "av.Packet[Any]") -> Fraction:
    return (packet.duration or 0) * Fraction(packet.time_base or 1)


@contextlib.contextmanager
def _errors(name: str) -> Iterator[None]:
    """Name the file in what PyAV says of it."""
    try:
        yield
    except READ_ERRORS as error:
        reason = getattr(error, "strerror", None) if isinstance(error, OSError) else None
        raise VideoError(f"{name}: {reason or 'its audio cannot be read'}; give another file with audio") from error
