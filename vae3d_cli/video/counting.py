"""Count the frames of a video from its packets, without decoding them."""

from array import array
from typing import Any

import av
import numpy as np
from numpy.typing import NDArray

# A packet of these codecs gives one frame, unless `_num_shown` finds otherwise. Intra-only codecs need not be named.
_FRAME_A_PACKET = frozenset(
    "av1 ffv1 flv h263 h264 hevc mpeg1video mpeg2video mpeg4 png qtrle vp8 vp9 wrapped_avframe".split()  # noqa: SIM905
)
# A shorter packet of MPEG-4 may hold a frame that is not coded, which some decode to nothing.
_LONGEST_EMPTY_MPEG4 = 19


def in_decoding_order(container: av.container.InputContainer) -> bool:
    """Whether the time stamps of a container are decoding times only (AVI)."""
    return bool(container.format.name == "avi")


class PacketCount:
    """Counts the frames of a stream, packet by packet.

    `is_exact` turns false where a decoder may give more or fewer frames than the packets seem to hold.
    """

    def __init__(self, container: av.container.InputContainer, stream: av.VideoStream) -> None:
        codec = stream.codec_context.codec
        self._codec = codec.canonical_name
        self._in_decoding_order = in_decoding_order(container)
        self._first_key: int | None = None
        self._key_seen = False
        self._stamps: array[int] | None = array("q")
        self.num_frames = 0
        self.is_exact = codec.intra_only or self._codec in _FRAME_A_PACKET

    def add(self, packet: "av.Packet[Any]") -> None:
        """Count the next packet with data."""
        if not self._key_seen:
            self._key_seen, self._first_key = packet.is_keyframe, packet.pts
        # A frame before the first key frame, in decoding or display order, may lack its reference frames.
        leads = packet.pts is not None and self._first_key is not None and packet.pts < self._first_key
        if not self._key_seen or leads:
            self.is_exact = False
        num_shown = self._num_shown(memoryview(packet))
        if packet.is_discard:
            return
        if num_shown is None:
            self.is_exact = False
            num_shown = 1
        if num_shown:
            self._note_stamp(packet.dts if self._in_decoding_order else packet.pts)
        self.num_frames += num_shown

    def stamps(self) -> NDArray[np.int64] | None:
        """Time stamps in display order; `None` if some are missing."""
        if not self._stamps or len(self._stamps) != self.num_frames:
            return None
        return np.sort(np.frombuffer(self._stamps, np.int64))

    def _num_shown(self, data: memoryview) -> int | None:
        """Count the frames that a packet gives; `None` if only a decoder can tell."""
        if self._codec == "vp8":
            return data[0] >> 4 & 1
        if self._codec == "vp9":
            return sum(_is_shown_vp9(frame) for frame in _vp9_frames(data))
        if self._codec == "mpeg4" and len(data) <= _LONGEST_EMPTY_MPEG4:
            return None
        return 1

    def _note_stamp(self, stamp: int | None) -> None:
        if stamp is None:
            self._stamps = None
        elif self._stamps is not None:
            self._stamps.append(stamp)


def _vp9_frames(data: memoryview) -> list[memoryview]:
    """Split a packet of VP9 into frames: a superframe ends with an index of their sizes."""
    marker = data[-1]
    num_frames, size_bytes = (marker & 7) + 1, (marker >> 3 & 3) + 1
    index_bytes = 2 + num_frames * size_bytes
    if marker & 0xE0 != 0xC0 or len(data) < index_bytes or data[-index_bytes] != marker:
        return [data]
    frames, start = [], 0
    for position in range(len(data) - index_bytes + 1, len(data) - 1, size_bytes):
        size = int.from_bytes(data[position : position + size_bytes], "little")
        frames.append(data[start : start + size])
        start += size
    return frames


def _is_shown_vp9(frame: memoryview) -> bool:
    """Whether a frame of VP9 is shown, or shows an earlier frame.

    The first byte holds two bits of a marker, two of the profile, a reserved one in profile 3 only, then
    `show_existing_frame`, `frame_type` and `show_frame`.
    """
    if not frame:
        return False
    is_profile_3 = frame[0] & 0x30 == 0x30
    return bool(frame[0] >> (0 if is_profile_3 else 1) & 0b101)
