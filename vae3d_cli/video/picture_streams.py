"""Pictures that follow each other in one file or pipe, as FFmpeg's `image2pipe` writes them: these are videos."""

import io
import re
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

from PIL import Image

from vae3d_cli.video.picture_files import pillow

_BLOCK_BYTES = 1 << 20
_PNG_SIGNATURE_BYTES = 8
_SEGMENT_FREE = {0x01, *range(0xD0, 0xD8)}  # JPEG's markers without a length
_END_OF_IMAGE, _START_OF_SCAN, _APP2 = 0xD9, 0xDA, 0xE2
_MARKER = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]")


def is_picture_stream(path: Path, format_name: str) -> bool:
    """Whether another picture of the same format and size stands right behind the first one of a file."""
    find_end = _ENDS.get(format_name)
    if find_end is None:
        return False
    try:
        with path.open("rb") as file, pillow():
            end = find_end(file)
            if end is None:
                return False
            file.seek(end)
            rest = io.BytesIO(file.read(_BLOCK_BYTES))
            with Image.open(path, formats=[format_name]) as first, Image.open(rest, formats=[format_name]) as second:
                return first.size == second.size
    except Exception:  # Pillow raises almost anything for bytes that are no picture
        return False


def _end_of_png(file: BinaryIO) -> int | None:
    file.seek(_PNG_SIGNATURE_BYTES)
    while len(head := file.read(8)) == 8:
        file.seek(int.from_bytes(head[:4], "big") + 4, io.SEEK_CUR)  # the data and its checksum
        if head[4:] == b"IEND":
            return file.tell()
    return None


def _end_of_jpeg(file: BinaryIO) -> int | None:
    """Where a JPEG ends; `None` for one of several in a file that says so (MPO: previews, gain maps)."""
    file.seek(2)
    while len(marker := file.read(2)) == 2 and marker[0] == 0xFF:
        kind = marker[1]
        if kind == _END_OF_IMAGE:
            return file.tell()
        if kind == 0xFF:  # a byte to fill up
            file.seek(-1, io.SEEK_CUR)
        elif kind not in _SEGMENT_FREE:
            length = int.from_bytes(file.read(2), "big")
            if kind == _APP2 and file.read(4) == b"MPF\0":
                return None
            file.seek(length - (6 if kind == _APP2 else 2), io.SEEK_CUR)
            if kind == _START_OF_SCAN:
                _skip_scan(file)
    return None


def _skip_scan(file: BinaryIO) -> None:
    """Go to the next marker after the coded data."""
    while len(block := file.read(_BLOCK_BYTES)) > 1:
        if found := _MARKER.search(block):
            file.seek(found.start() - len(block), io.SEEK_CUR)
            return
        if block.endswith(b"\xff"):
            file.seek(-1, io.SEEK_CUR)


def _end_of_bmp(file: BinaryIO) -> int | None:
    file.seek(2)
    return int.from_bytes(file.read(4), "little") or None


def _end_of_webp(file: BinaryIO) -> int | None:
    file.seek(4)
    return int.from_bytes(file.read(4), "little") + 8


def _end_of_ppm(file: BinaryIO) -> int | None:
    """Where a PPM of raw values ends."""
    with Image.open(file, formats=["PPM"]) as image:
        _, _, offset, arguments = image.tile[0]
        is_wide = isinstance(arguments, tuple) and isinstance(arguments[-1], int) and arguments[-1] > 255
        channels = {"L": 1, "RGB": 3}.get(image.mode)
        return None if channels is None else offset + image.width * image.height * channels * (1 + is_wide)


_ENDS: dict[str, Callable[[BinaryIO], int | None]] = {
    "BMP": _end_of_bmp,
    "JPEG": _end_of_jpeg,
    "PNG": _end_of_png,
    "PPM": _end_of_ppm,
    "WEBP": _end_of_webp,
}
