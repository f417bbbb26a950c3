"""Decoding packet by packet, and counting what is lost.

FFmpeg reports damage in four ways: an exception, a flag on a packet or a frame, a line in its log, or not at all.
"""

import contextlib
import logging
import re
from collections.abc import Callable, Iterator
from typing import Any

import av

from vae3d_cli.errors import VideoError
from vae3d_cli.video.counting import PacketCount

_TRUNCATED = re.compile(r"ended prematurely|partial file|truncat|LZW decode failed|overread", re.IGNORECASE)
# What a decoder or a demuxer says of data that makes no sense to it.
_DAMAGE = (av.error.InvalidDataError, av.error.ExternalError, av.error.UnknownError, av.error.BugError)
_TS_PACKET = 188


class FfmpegLog:
    """The errors that FFmpeg logs, by what they mean: data lost by the container, or errors a decoder hid."""

    def __init__(self) -> None:
        self.container: str | None = None
        self.lost = False
        self.concealed = False

    def add(self, source: str, text: str) -> None:
        """Take note of a line; `source` is who logs it."""
        if _TRUNCATED.search(text) or (self.container is not None and source == f"libav.{self.container}"):
            self.lost = True
        elif self.container is not None:
            self.concealed = True


@contextlib.contextmanager
def ffmpeg_log() -> Iterator[FfmpegLog]:
    """What FFmpeg logs of damage, from now on.

    PyAV must not decode with frame threads while this is on: closing a damaged file could then deadlock.
    """
    log = FfmpegLog()

    class Handler(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            log.add(record.name, record.getMessage())

    logger, handler = logging.getLogger("libav"), Handler(logging.ERROR)
    logger.addHandler(handler)
    propagate, logger.propagate = logger.propagate, False
    skipped, level = av.logging.get_skip_repeated(), av.logging.get_level()
    av.logging.set_skip_repeated(False)  # two files may end with the same words
    av.logging.set_level(av.logging.ERROR)
    try:
        yield log
    finally:
        av.logging.set_level(level)
        av.logging.set_skip_repeated(skipped)
        logger.removeHandler(handler)
        logger.propagate = propagate


class Decoding:
    """The packets of a stream and the frames in them; damage is an error unless it is allowed.

    `num_bytes` says how long the file is, once all was read, if that is known.
    """

    def __init__(
        self,
        container: av.container.InputContainer,
        stream: av.VideoStream,
        log: FfmpegLog,
        num_bytes: Callable[[], int | None],
        *,
        allow_damaged: bool,
    ) -> None:
        self._container, self._stream, self._log = container, stream, log
        self._num_bytes, self._allow_damaged = num_bytes, allow_damaged
        self._container_name = container.format.name
        # A demuxer and a decoder of one name (gif) cannot be told apart; only what is cut off is seen then.
        same_name = self._container_name == stream.codec_context.name
        log.container = "" if same_name else self._container_name
        self._end = 0
        self._key_seen = False
        self._is_decoded = True
        self.count = PacketCount(container, stream)
        self.num_frames = 0
        self.num_before_key = 0
        self.damage: str | None = None

    def packets(self) -> Iterator["av.Packet[Any]"]:
        """The packets with data, and the empty one that ends a stream."""
        packets = self._container.demux(self._stream)
        while True:
            try:
                packet = next(packets, None)
            except _DAMAGE as error:
                self._lost("the container cannot be read any further", error)
                return
            if packet is None:
                return
            if packet.size:
                self.count.add(packet)
                if packet.pos is not None:
                    self._end = packet.pos + packet.size
            yield packet

    def count_the_rest(self) -> bool:
        """Read all packets that are left without decoding them; whether `count` is then exact. Damage is only noted."""
        self._allow_damaged, self._is_decoded = True, False
        for packet in self.packets():
            if packet.is_corrupt:
                self._lost("a packet is corrupt")
        if self._log.lost or self._is_cut():
            self._lost("the file is cut short or has a hole")
        return self.count.is_exact and self.damage is None and not self._log.concealed

    def frames(self) -> Iterator[av.VideoFrame]:
        """The frames that decode.

        Raises:
            VideoError: The video is damaged, and that is not allowed.
        """
        for packet in self.packets():
            self._key_seen |= packet.is_keyframe
            self.num_before_key += bool(packet.size) and not self._key_seen
            try:
                frames = packet.decode()
            except _DAMAGE as error:
                if self._key_seen or self.num_frames:  # else a broadcast was tuned into: nothing is damaged
                    self._lost("a packet cannot be decoded", error)
                continue
            yield from self._counted(frames, corrupt=packet.is_corrupt)
        if self.damage == "the container cannot be read any further":
            yield from self._counted(self._stream.codec_context.decode(None), corrupt=False)
        if self._log.lost or self._is_cut():
            self._lost("the file is cut short or has a hole")

    def _counted(self, frames: list[av.VideoFrame], *, corrupt: bool) -> Iterator[av.VideoFrame]:
        if corrupt or any(frame.is_corrupt for frame in frames):
            self._lost("a packet is corrupt")
        if frames and not self.num_frames:
            if not self._key_seen:
                self.num_before_key = 0  # this codec needs none
            elif self.num_before_key:
                self._log.concealed = False  # that was about what came before the first key frame
        for frame in frames:
            self.num_frames += 1
            yield frame

    def notes(self) -> list[str]:
        """What was lost so far."""
        if self.damage:
            came = f"{self.num_frames} frames came" if self._is_decoded else "encode takes it with --allow-damaged only"
            return [f"the video is damaged ({self.damage}); {came}"]
        if self.num_before_key:
            return [f"the {self.num_before_key} packets before the first key frame were left out"]
        return ["errors in its data were concealed; some frames may be wrong"] if self._log.concealed else []

    def _lost(self, reason: str, error: Exception | None = None) -> None:
        self.damage = self.damage or reason
        if not self._allow_damaged:
            if error is not None and not self.num_frames:
                raise error  # it may well be no video at all
            raise VideoError(
                f"the video is damaged: {reason} after {self.num_frames} frames; repair it, take a whole copy of it, "
                "or keep what decodes with --allow-damaged"
            )

    def _is_cut(self) -> bool:
        """Whether the file goes on, or ends, within a packet: what the demuxers of these two do not say."""
        num_bytes = self._num_bytes()
        if num_bytes is None:
            return False
        if self._container_name == "yuv4mpegpipe":
            return bool(self._end) and num_bytes != self._end
        # Blu-ray's packets have 4 bytes more, and those with error correction 16.
        return self._container_name == "mpegts" and all(num_bytes % size for size in (_TS_PACKET, 192, 204))
