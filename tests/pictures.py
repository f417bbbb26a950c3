"""Pictures of rare kinds, made in code."""

import io
import struct
from collections.abc import Sequence
from fractions import Fraction

import av
import numpy as np
from PIL import Image, ImageCms


def smooth(width: int = 96, height: int = 64, seed: int = 0) -> Image.Image:
    """Soft colours with no symmetry, so that a turn shows, and lossy codecs keep them."""
    corners = np.random.default_rng(seed).integers(0, 255, (3, 4, 3)).astype(np.uint8)
    return Image.fromarray(corners).resize((width, height), Image.Resampling.BICUBIC)


def other_profile() -> bytes:
    """An ICC profile whose red and blue are those of sRGB in each other's place."""
    profile = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    red, blue = profile.index(b"rXYZ"), profile.index(b"bXYZ")
    profile[red : red + 4], profile[blue : blue + 4] = profile[blue : blue + 4], profile[red : red + 4]
    return bytes(profile)


def _box(kind: bytes, *contents: bytes) -> bytes:
    content = b"".join(contents)
    return struct.pack(">I4s", 8 + len(content), kind) + content


def _full(kind: bytes, *contents: bytes) -> bytes:
    return _box(kind, bytes(4), *contents)


def _av1(image: Image.Image) -> tuple[bytes, bytes]:
    """The configuration and the data of an image as AV1."""
    file = io.BytesIO()
    image.save(file, "AVIF", quality=90, subsampling="4:4:4")
    data = file.getvalue()
    start = data.index(b"av1C") - 4
    return data[start : start + int.from_bytes(data[start : start + 4], "big")], data[data.index(b"mdat") + 4 :]


def avif(
    images: Sequence[Image.Image],
    *,
    primary: int = 1,
    grid: tuple[int, int] | None = None,
    clap: tuple[int, int, int, int] | None = None,
) -> bytes:
    """An AVIF of several images, the first of which is item 1.

    `grid` has columns and rows: the images are tiles of one more, the main one. `clap` is the size of a crop of the
    main one, and how far its centre is off.
    """
    coded = [_av1(image) for image in images]
    sizes, payloads = [image.size for image in images], [data for _, data in coded]
    kinds = [b"av01"] * len(images)
    if grid is not None:
        columns, rows = grid
        whole = (columns * images[0].width, rows * images[0].height)
        payloads.append(struct.pack(">BBBBHH", 0, 0, rows - 1, columns - 1, *whole))
        sizes.append(whole)
        kinds.append(b"grid")
        primary = len(kinds)
    properties, given = [config for config, _ in coded[:1]], []
    for item, (kind, size) in enumerate(zip(kinds, sizes, strict=True), 1):
        properties.append(_full(b"ispe", struct.pack(">II", *size)))
        places = [len(properties), *([0x81] if kind == b"av01" else [])]
        if clap is not None and item == primary:
            width, height, right, down = clap
            properties.append(_box(b"clap", struct.pack(">IIIIiIiI", width, 1, height, 1, right, 1, down, 1)))
            places.append(0x80 | len(properties))
        given.append(struct.pack(f">HB{len(places)}B", item, len(places), *places))
    tiles = len(images)
    references = _full(b"iref", _box(b"dimg", struct.pack(f">HH{tiles}H", primary, tiles, *range(1, tiles + 1))))
    entries = [_full(b"infe", struct.pack(">HH4sB", item, 0, kind, 0)) for item, kind in enumerate(kinds, 1)]
    entries = [entry[:8] + b"\2" + entry[9:] for entry in entries]

    def file(offset: int) -> bytes:
        places = [offset + sum(map(len, payloads[:n])) for n in range(len(payloads))]
        located = [
            struct.pack(">HHHII", item, 0, 1, place, len(data))
            for item, (place, data) in enumerate(zip(places, payloads, strict=True), 1)
        ]
        meta = _full(
            b"meta",
            _full(b"hdlr", bytes(4), b"pict", bytes(13)),
            _full(b"pitm", struct.pack(">H", primary)),
            _full(b"iloc", struct.pack(">BBH", 0x44, 0, len(located)), *located),
            _full(b"iinf", struct.pack(">H", len(entries)), *entries),
            references if grid else b"",
            _box(b"iprp", _box(b"ipco", *properties), _full(b"ipma", struct.pack(">I", len(given)), *given)),
        )
        head = _box(b"ftyp", b"avif", bytes(4), b"avifmif1miaf") + meta
        return head + _box(b"mdat", *payloads)

    return file(len(file(0)) - sum(map(len, payloads)))


def pictures_as_video(path: str, codec: str, pictures: Sequence[bytes]) -> None:
    """A video whose packets are pictures as they are, with all that those hold beside their pixels."""
    with av.open(path, "w") as output, Image.open(io.BytesIO(pictures[0])) as first:
        stream = output.add_stream(codec, rate=25)
        assert isinstance(stream, av.VideoStream)
        stream.width, stream.height = first.size
        stream.pix_fmt = "rgb24" if codec == "png" else "yuvj444p"
        for number, data in enumerate(pictures):
            packet = av.Packet(data)
            packet.stream, packet.time_base, packet.pts, packet.dts = stream, Fraction(1, 25), number, number
            packet.is_keyframe = True
            output.mux(packet)
