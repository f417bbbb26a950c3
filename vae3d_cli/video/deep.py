"""Formats of more than 8 bits, to planar RGB of 16 bits and back.

FFmpeg's scaler maps their white to something below 65535, so the conversion is our own: nearest chroma upwards and
box-averaged chroma downwards, as in `color`. 10 and 12-bit YUV comes back bit for bit.
"""

import re
from dataclasses import dataclass
from typing import Any

import av
import numpy as np
from numpy.typing import NDArray

from vae3d_cli.video.color import LIMITED, ColorTags

WHITE = 65535
# Kr and Kb by the matrix codes of ITU-T H.273; any other is taken for BT.601, as the scaler does.
_LUMA = {1: (0.2126, 0.0722), 4: (0.30, 0.11), 7: (0.212, 0.087), 9: (0.2627, 0.0593)}
_BT601 = (0.299, 0.114)

_YUV = re.compile(r"yuva?(?P<sampling>4[0-4][0-4])p(?P<bits>9|1[0-6])(?P<order>le|be)")
_SEMIPLANAR = re.compile(r"p(?P<sampling>[024])(?P<bits>1[0-6])(?P<order>le|be)")
_PLANAR_RGB = re.compile(r"gbra?p(?P<bits>9|1[0-6])(?P<order>le|be)")
_PACKED_RGB = re.compile(r"(?P<names>rgb|bgr|rgba|bgra)(?P<total>48|64)(?P<order>le|be)")
_GREY = re.compile(r"(?P<names>gray|ya)(?P<bits>9|1[0-6])(?P<order>le|be)")
_SUBSAMPLING = {"420": (2, 2), "422": (2, 1), "444": (1, 1), "440": (1, 2), "411": (4, 1), "410": (4, 4)}


@dataclass(frozen=True)
class _Layout:
    """How a format lies in memory: its kind, bits, byte order, and how many pixels share a chroma sample each way."""

    kind: str
    bits: int
    order: str
    names: str = ""
    subsampling: tuple[int, int] = (1, 1)

    @classmethod
    def of(cls, pix_fmt: str) -> "_Layout | None":
        if match := _YUV.fullmatch(pix_fmt):
            subsampling = _SUBSAMPLING.get(match["sampling"])
            return subsampling and cls("yuv", int(match["bits"]), match["order"], subsampling=subsampling)
        if match := _SEMIPLANAR.fullmatch(pix_fmt):
            subsampling = _SUBSAMPLING[{"0": "420", "2": "422", "4": "444"}[match["sampling"]]]
            return cls("semiplanar", int(match["bits"]), match["order"], subsampling=subsampling)
        if match := _PLANAR_RGB.fullmatch(pix_fmt):
            return cls("planar", int(match["bits"]), match["order"])
        if match := _PACKED_RGB.fullmatch(pix_fmt):
            return cls("packed", 16, match["order"], match["names"])
        if match := _GREY.fullmatch(pix_fmt):
            return cls("grey", int(match["bits"]), match["order"], match["names"])
        return None

    @property
    def dtype(self) -> np.dtype[np.uint16]:
        return np.dtype("<u2" if self.order == "le" else ">u2")


def is_deep(pix_fmt: str | None) -> bool:
    """Whether frames of this format have more than 8 bits that we keep."""
    return pix_fmt is not None and _Layout.of(pix_fmt) is not None


def deep_pix_fmt(pix_fmt: str, *, odd: bool) -> str:
    """The 10-bit format for an encoder: the subsampling of `pix_fmt` where it is YUV, 4:2:0 where it is not."""
    layout = _Layout.of(pix_fmt)
    across, down = layout.subsampling if layout and layout.kind in ("yuv", "semiplanar") else (2, 2)
    if odd or (across, down) == (1, 1):
        return "yuv444p10le"
    return "yuv422p10le" if (across, down) == (2, 1) else "yuv420p10le"


def to_8_bit(rgb: NDArray[np.uint16]) -> NDArray[np.uint8]:
    """Full scale 65535 to full scale 255, rounded."""
    return ((rgb.astype(np.uint32) + 128) // 257).astype(np.uint8)


def to_16_bit(rgb: NDArray[np.uint8]) -> NDArray[np.uint16]:
    """Full scale 255 to full scale 65535, exactly."""
    return rgb.astype(np.uint16) * np.uint16(257)


def full_scale(codes: NDArray[np.uint16], bits: int) -> NDArray[np.uint16]:
    """Codes of so many bits to full scale 65535, rounded."""
    top = (1 << bits) - 1
    return codes if top == WHITE else ((codes.astype(np.uint32) * WHITE + top // 2) // top).astype(np.uint16)


def to_rgb16(frame: av.VideoFrame, tags: ColorTags) -> NDArray[np.uint16]:
    """Planar RGB `[3, H, W]`, full scale 65535, of a decoded frame of a deep format with convertible tags."""
    layout = _Layout.of(frame.format.name)
    assert layout is not None  # the caller asked is_deep
    width, height, top = frame.width, frame.height, (1 << layout.bits) - 1
    if layout.kind == "packed":
        channels = len(layout.names)
        pixels = _samples(frame, 0, layout)[:height, : width * channels].reshape(height, width, channels)
        return np.stack([pixels[..., layout.names.index(name)] for name in "rgb"]).astype(np.uint16)
    if layout.kind == "planar":
        green, blue, red = (_samples(frame, index, layout)[:height, :width] for index in range(3))
        return _full_scale(np.stack((red, green, blue)).astype(np.float32) / np.float32(top))
    if layout.kind == "grey":
        channels = len(layout.names) if layout.names == "ya" else 1
        grey = _samples(frame, 0, layout)[:height, : width * channels : channels]
        level = _full_scale(_luma(grey, layout.bits, tags.range == LIMITED))
        return np.repeat(level[None], 3, axis=0)
    luma, blue, red = _planes(frame, layout)
    limited = tags.range != 2
    y = _luma(luma[:height, :width], layout.bits, limited)
    cb, cr = (_upsampled(_chroma(plane, layout.bits, limited), layout.subsampling)[:height, :width]
              for plane in (blue, red))  # fmt: skip
    kr, kb = _LUMA.get(tags.matrix, _BT601)
    kg = 1 - kr - kb
    rgb = np.empty((3, height, width), np.float32)
    np.multiply(cr, np.float32(2 * (1 - kr)), out=rgb[0])
    np.multiply(cb, np.float32(2 * (1 - kb)), out=rgb[2])
    np.multiply(rgb[0], np.float32(-kr / kg), out=rgb[1])
    rgb[1] -= np.float32(kb / kg) * rgb[2]
    rgb += y
    return _full_scale(rgb)


def from_rgb16(rgb: NDArray[np.uint16], pix_fmt: str, tags: ColorTags) -> av.VideoFrame:
    """A frame in a planar YUV format of more than 8 bits, or rgb48be, of planar RGB `[3, H, W]` of full scale 65535."""
    layout = _Layout.of(pix_fmt)
    assert layout is not None
    assert layout.kind in ("yuv", "packed")
    tags = tags.convertible()
    frame = av.VideoFrame(rgb.shape[2], rgb.shape[1], pix_fmt)
    tags.put_on(frame)
    if layout.kind == "packed":
        _fill(frame, 0, rgb.transpose(1, 2, 0).reshape(rgb.shape[1], -1), layout)
        return frame
    kr, kb = _LUMA.get(tags.matrix, _BT601)
    red, green, blue = rgb.astype(np.float32) * np.float32(1 / WHITE)
    y = np.float32(kr) * red + np.float32(1 - kr - kb) * green + np.float32(kb) * blue
    cb = _downsampled((blue - y) * np.float32(0.5 / (1 - kb)), layout.subsampling)
    cr = _downsampled((red - y) * np.float32(0.5 / (1 - kr)), layout.subsampling)
    unit, top, limited = 1 << (layout.bits - 8), (1 << layout.bits) - 1, tags.range != 2
    luma_scale, luma_offset = (219 * unit, 16 * unit) if limited else (top, 0)
    chroma_scale = 224 * unit if limited else top
    _fill(frame, 0, _quantised(y, luma_scale, luma_offset, top), layout)
    for index, plane in enumerate((cb, cr), start=1):
        _fill(frame, index, _quantised(plane, chroma_scale, 128 * unit, top), layout)
    return frame


def _planes(frame: av.VideoFrame, layout: _Layout) -> list[NDArray[Any]]:
    """Luma, blue and red difference, as they are stored."""
    if layout.kind == "yuv":
        return [_samples(frame, index, layout) for index in range(3)]
    # Semiplanar: blue and red take turns, and the bits are the upper ones.
    shift = 16 - layout.bits
    luma, both = (_samples(frame, index, layout) >> shift for index in range(2))
    width = -(-frame.width // layout.subsampling[0])
    return [luma, both[:, : 2 * width : 2], both[:, 1 : 2 * width : 2]]


def _samples(frame: av.VideoFrame, index: int, layout: _Layout) -> NDArray[Any]:
    """A view of a plane with its line padding."""
    plane: Any = frame.planes[index]  # it has the buffer protocol; its types do not say so
    samples = np.frombuffer(plane, layout.dtype)
    return samples.reshape(-1, plane.line_size // 2)


def _fill(frame: av.VideoFrame, index: int, samples: NDArray[Any], layout: _Layout) -> None:
    plane = _samples(frame, index, layout)
    plane[: samples.shape[0], : samples.shape[1]] = samples


def _luma(samples: NDArray[Any], bits: int, limited: bool) -> NDArray[np.float32]:
    unit, top = 1 << (bits - 8), (1 << bits) - 1
    values = samples.astype(np.float32)
    return (values - np.float32(16 * unit)) / np.float32(219 * unit) if limited else values / np.float32(top)


def _chroma(samples: NDArray[Any], bits: int, limited: bool) -> NDArray[np.float32]:
    unit, top = 1 << (bits - 8), (1 << bits) - 1
    return (samples.astype(np.float32) - np.float32(128 * unit)) / np.float32(224 * unit if limited else top)


def _upsampled(plane: NDArray[np.float32], subsampling: tuple[int, int]) -> NDArray[np.float32]:
    across, down = subsampling
    return plane.repeat(across, axis=1).repeat(down, axis=0) if subsampling != (1, 1) else plane


def _downsampled(plane: NDArray[np.float32], subsampling: tuple[int, int]) -> NDArray[np.float32]:
    """The mean of the pixels that share a sample; the last ones count twice where a side is odd."""
    across, down = subsampling
    height, width = plane.shape
    plane = np.pad(plane, ((0, -height % down), (0, -width % across)), mode="edge")
    parts = [plane[row::down, column::across] for row in range(down) for column in range(across)]
    mean: NDArray[np.float32] = np.mean(parts, axis=0, dtype=np.float32)
    return mean


def _full_scale(values: NDArray[np.float32]) -> NDArray[np.uint16]:
    codes: NDArray[np.uint16] = np.rint(values.clip(0, 1) * np.float32(WHITE)).astype(np.uint16)
    return codes


def _quantised(values: NDArray[np.float32], scale: int, offset: int, top: int) -> NDArray[np.uint16]:
    codes: NDArray[np.float32] = np.rint(values * np.float32(scale) + np.float32(offset))
    return codes.clip(0, top).astype(np.uint16)
