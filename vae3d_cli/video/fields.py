"""Frames and fields of H.264: a packet may hold a whole frame, or one of its two fields.

The syntax of parameter sets and slice headers is that of ITU-T H.264, 7.3.2.1, 7.3.2.2 and 7.3.3.
"""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass

_SLICE, _KEY_SLICE, _SPS, _PPS = 1, 5, 7, 8
_START_CODE = b"\0\0\1"
# Profiles whose SPS has a chroma format and scaling lists.
_HIGH_PROFILES = (100, 110, 122, 244, 44, 83, 86, 118, 128, 138, 139, 134, 135)
_CHROMA_444 = 3
# Longer than any header that is read here.
_MAX_HEADER_BYTES = 1024
_UNREADABLE = (ValueError, IndexError, KeyError)


@dataclass(frozen=True)
class _Sequence:
    """The fields of an SPS that slice headers depend on."""

    frame_num_bits: int
    has_separate_planes: bool
    has_fields: bool


class FieldPairs:
    """Counts the frames of an H.264 stream, packet by packet; `extradata` is the stream's."""

    def __init__(self, extradata: bytes | None) -> None:
        self._sequences: dict[int, _Sequence] = {}
        self._pictures: dict[int, int] = {}
        self._first_field: tuple[int, int] | None = None
        self._length_bytes: int | None = None
        data = extradata or b""
        with contextlib.suppress(*_UNREADABLE):
            if data[:1] == b"\1":  # avcC: packets have the lengths of their units, no start codes
                self._length_bytes = (data[4] & 3) + 1
                self._read_parameters(_units_of_avcc(data))
            else:
                self._read_parameters(_units_between_start_codes(data))

    def num_frames(self, packet: bytes) -> int | None:
        """Count the frames that begin in a packet; `None` if the headers do not tell."""
        if self._length_bytes is None:
            units = list(_units_between_start_codes(packet))
        else:
            units = list(_units_by_length(packet, self._length_bytes))
        try:
            self._read_parameters(iter(units))
            if self._sequences and not any(sequence.has_fields for sequence in self._sequences.values()):
                return 1
            starts = [self._starts_frame(unit) for unit in units if unit and unit[0] & 31 in (_SLICE, _KEY_SLICE)]
        except _UNREADABLE:
            return None
        return sum(filter(None, starts)) if starts and None not in starts else None

    def _read_parameters(self, units: Iterator[bytes]) -> None:
        for unit in units:
            kind = unit[0] & 31 if unit else 0
            if kind == _SPS:
                number, sequence = _sequence(_Bits(unit))
                self._sequences[number] = sequence
            elif kind == _PPS:
                bits = _Bits(unit)
                self._pictures[bits.golomb()] = bits.golomb()

    def _starts_frame(self, unit: bytes) -> bool | None:
        """Whether a slice begins a frame; later slices of a picture and second fields do not.

        `None` means that the field before has lost its second field.
        """
        bits = _Bits(unit)
        if bits.golomb():  # the first macroblock
            return False
        bits.skip_golomb(1)  # the type
        sequence = self._sequences[self._pictures[bits.golomb()]]
        bits.read(2 if sequence.has_separate_planes else 0)
        frame_num = bits.read(sequence.frame_num_bits)
        first_field, self._first_field = self._first_field, None
        if not sequence.has_fields or not bits.read(1):
            return True if first_field is None else None
        parity = bits.read(1)
        if first_field is None:
            self._first_field = frame_num, parity
            return True
        return False if first_field == (frame_num, 1 - parity) else None


class _Bits:
    """The bits of a unit after its type byte. Reading past the end raises `ValueError`."""

    def __init__(self, unit: bytes) -> None:
        data = unit[1:_MAX_HEADER_BYTES].replace(b"\0\0\3", b"\0\0")
        self._bits = f"{int.from_bytes(data):0{8 * len(data)}b}"
        self._position = 0

    def read(self, count: int) -> int:
        """Read an unsigned number of `count` bits."""
        self._position += count
        if self._position > len(self._bits):
            raise ValueError("the header is cut short")
        return int(self._bits[self._position - count : self._position], 2) if count else 0

    def golomb(self) -> int:
        """Read an unsigned Exp-Golomb code, ue(v)."""
        zeros = self._bits.index("1", self._position) - self._position
        self._position += zeros
        return self.read(zeros + 1) - 1

    def skip_golomb(self, count: int) -> None:
        """Skip this many Exp-Golomb codes."""
        for _ in range(count):
            self.golomb()


def _sequence(bits: _Bits) -> tuple[int, _Sequence]:
    """Read an SPS: its id, and the fields that slice headers depend on."""
    profile = bits.read(8)
    bits.read(16)
    number, has_separate_planes = bits.golomb(), False
    if profile in _HIGH_PROFILES:
        chroma_format = bits.golomb()
        has_separate_planes = chroma_format == _CHROMA_444 and bool(bits.read(1))
        bits.skip_golomb(2)  # bit depths
        bits.read(1)
        if bits.read(1):
            for index in range(12 if chroma_format == _CHROMA_444 else 8):
                _skip_scaling_list(bits, 16 if index < 6 else 64)
    frame_num_bits = bits.golomb() + 4
    order_type = bits.golomb()
    if order_type == 0:
        bits.skip_golomb(1)
    elif order_type == 1:
        bits.read(1)
        bits.skip_golomb(2)
        bits.skip_golomb(bits.golomb())
    bits.skip_golomb(1)  # reference frames
    bits.read(1)
    bits.skip_golomb(2)  # width and height
    return number, _Sequence(frame_num_bits, has_separate_planes, has_fields=not bits.read(1))


def _skip_scaling_list(bits: _Bits, size: int) -> None:
    last = following = 8
    for _ in range(size if bits.read(1) else 0):
        if following:
            code = bits.golomb()
            following = (last + (code + 1) // 2 * (1 if code % 2 else -1)) % 256
        last = following or last


def _units_between_start_codes(data: bytes) -> Iterator[bytes]:
    start = data.find(_START_CODE)
    while start >= 0:
        end = data.find(_START_CODE, start + 3)
        yield data[start + 3 : end if end >= 0 else len(data)]
        start = end


def _units_by_length(data: bytes, length_bytes: int) -> Iterator[bytes]:
    start = 0
    while start + length_bytes < len(data):
        length = int.from_bytes(data[start : start + length_bytes])
        start += length_bytes
        yield data[start : start + length]
        start += length


def _units_of_avcc(data: bytes) -> Iterator[bytes]:
    """The parameter sets of an AVCDecoderConfigurationRecord."""
    start = 5
    for mask in (31, 255):
        count = data[start] & mask
        start += 1
        for _ in range(count):
            end = start + 2 + int.from_bytes(data[start : start + 2])
            yield data[start + 2 : end]
            start = end
