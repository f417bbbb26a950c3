"""The crop that an AVIF asks for (its property `clap`), which Pillow leaves out."""

import struct
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

from vae3d_cli.video.crop import Crop

_HEAD_BYTES = 1 << 20
_CLAP = struct.Struct(">IIIIiIiI")


def crop_of_avif(path: Path, width: int, height: int) -> Crop:
    """The crop of the main picture, which has this size.

    ISO/IEC 14496-12 has the boxes: `clap` is one of the properties in `ipco`, which `ipma` gives to items.
    """
    with path.open("rb") as file:
        data = file.read(_HEAD_BYTES)
    try:
        meta = dict(_boxes(dict(_boxes(data))[b"meta"][4:]))
        properties = dict(_boxes(meta[b"iprp"]))
        item = int.from_bytes(meta[b"pitm"][4:], "big")
        listed = [*_boxes(properties[b"ipco"])]
        kinds = [listed[index - 1] for index in _properties_of(item, properties[b"ipma"])]
        clap = next((content for kind, content in kinds if kind == b"clap"), None)
        return Crop() if clap is None else _crop(_CLAP.unpack(clap), width, height)
    except (KeyError, IndexError, ValueError, ZeroDivisionError, struct.error):
        return Crop()


def _boxes(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Kind and content of each box."""
    start = 0
    while start + 8 <= len(data):
        size = int.from_bytes(data[start : start + 4], "big")
        if size < 8:  # up to the end, or of 64 bits: neither is used for what is looked for here
            return
        yield data[start + 4 : start + 8], data[start + 8 : start + size]
        start += size


def _properties_of(item: int, ipma: bytes) -> list[int]:
    """The places of an item's properties in the list, counted from 1."""
    id_bytes, place_bytes = (4 if ipma[0] else 2), (2 if ipma[3] & 1 else 1)
    (count,) = struct.unpack_from(">I", ipma, 4)
    start = 8
    for _ in range(min(count, len(ipma))):
        found = int.from_bytes(ipma[start : start + id_bytes], "big")
        start += id_bytes + 1
        stop = start + ipma[start - 1] * place_bytes
        if found == item:
            essential = 1 << (8 * place_bytes - 1)
            places = range(start, stop, place_bytes)
            return [int.from_bytes(ipma[place : place + place_bytes], "big") & (essential - 1) for place in places]
        start = stop
    return []


def _crop(clap: tuple[int, ...], width: int, height: int) -> Crop:
    """The crop to a clean aperture, which is given by its size and how far its centre is off."""
    sizes = [Fraction(clap[0], clap[1]), Fraction(clap[2], clap[3])]
    shifts = [Fraction(clap[4], clap[5]), Fraction(clap[6], clap[7])]
    edges = []
    for whole, size, shift in zip((width, height), sizes, shifts, strict=True):
        start = round(shift + (whole - size) / 2)
        edges += [start, whole - start - round(size)]
    return Crop(*edges) if min(edges) >= 0 else Crop()
