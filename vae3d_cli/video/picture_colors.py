"""The colours of Pillow's images as planar sRGB."""

import io
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageCms

from vae3d_cli.errors import VideoError
from vae3d_cli.video.conversion import DROPPED_TRANSPARENCY
from vae3d_cli.video.deep import full_scale, to_8_bit

# Rows that are converted at once, so that no second copy of a large picture is made.
_ROWS = 256
_GREY_MODES = ("1", "L", "LA", "La", "I;16", "I;16B", "I;16L", "I")
_BITS_PER_SAMPLE = 258  # TIFF's tag
# Colours to see by whether a profile is that of sRGB: every fourth step along each channel.
_STEPS = [0, 51, 102, 153, 204, 255]
_SRGB_TOLERANCE = 2


class PictureColors:
    """Turns the images of one file into planar RGB; `notes` are what is worth saying of those so far.

    Colours of an embedded profile become those of sRGB. Grey of 16 bits stays uint16, unless it has such a profile.

    Raises:
        VideoError: Nobody knows which of its values is white.
    """

    def __init__(self) -> None:
        self.notes: list[str] = []
        self._transforms: dict[str, ImageCms.ImageCmsTransform | None] = {}
        self._checks_alpha = True

    def has_profile(self, image: Image.Image) -> bool:
        """Whether an image has a profile that changes its colours."""
        return self._transform(image) is not None

    def rgb(self, image: Image.Image) -> NDArray[Any]:
        """Planar RGB `[3, H, W]` of a loaded image, as it is stored."""
        if image.mode.startswith("I;16") or (image.mode == "I" and image.format == "PPM"):
            return self._deep_grey(image)
        if image.mode in ("F", "I"):
            raise VideoError("its values are 32-bit numbers of no known range; convert it to 8 or 16 bits")
        transform = self._transform(image)
        rgb = np.empty((3, image.height, image.width), np.uint8)
        for top in range(0, image.height, _ROWS):
            strip = image.crop((0, top, image.width, min(top + _ROWS, image.height)))
            rgb[:, top : top + _ROWS] = self._strip(strip, transform).transpose(2, 0, 1)
        return rgb

    def _strip(self, strip: Image.Image, transform: "ImageCms.ImageCmsTransform | None") -> NDArray[np.uint8]:
        """A part of an image, `[H, W, 3]`."""
        if self._checks_alpha and strip.has_transparency_data:
            alpha = np.asarray(strip.convert("RGBA").getchannel("A"))
            if alpha.min() < 255:
                self.notes.append(DROPPED_TRANSPARENCY)
                self._checks_alpha = False
        plain = _as_mode(strip, _base(strip.mode) if transform else "RGB")
        return np.asarray(plain if transform is None else ImageCms.applyTransform(plain, transform))

    def _deep_grey(self, image: Image.Image) -> NDArray[Any]:
        bits = getattr(image, "tag_v2", {}).get(_BITS_PER_SAMPLE, (16,))[0]
        grey = full_scale(np.asarray(image).astype(np.uint16), bits)
        transform = self._transform(image)
        if transform is None:
            return np.repeat(grey[None], 3, axis=0)
        self.notes.append("its 16-bit values were read as 8 bits, to apply its colour profile")
        plain = ImageCms.applyTransform(Image.fromarray(to_8_bit(grey)), transform)
        return np.ascontiguousarray(np.asarray(plain).transpose(2, 0, 1))

    def _transform(self, image: Image.Image) -> "ImageCms.ImageCmsTransform | None":
        """From the embedded profile to sRGB; `None` where there is none to apply."""
        profile, base = image.info.get("icc_profile"), _base(image.mode)
        if not profile:
            return None
        if base not in self._transforms:
            self._transforms[base] = self._made(profile, base)
        return self._transforms[base]

    def _made(self, profile: bytes, base: str) -> "ImageCms.ImageCmsTransform | None":
        try:
            source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
            transform = ImageCms.buildTransform(source, ImageCms.createProfile("sRGB"), base, "RGB")
        except (ImageCms.PyCMSError, OSError, ValueError, TypeError):
            self.notes.append("its colour profile is broken or another kind's; the colours are kept as they are")
            return None
        return None if base != "CMYK" and _changes_nothing(transform, base) else transform


def _base(mode: str) -> str:
    """The mode that a profile converts from, for an image of this mode."""
    return "CMYK" if mode == "CMYK" else "L" if mode in _GREY_MODES else "RGB"


def _as_mode(image: Image.Image, mode: str) -> Image.Image:
    return image if image.mode == mode else image.convert(mode)


def _changes_nothing(transform: ImageCms.ImageCmsTransform, base: str) -> bool:
    """Whether a profile is as good as sRGB's. Such a picture keeps its pixels, bit for bit."""
    if base == "L":
        probe = Image.fromarray(np.arange(256, dtype=np.uint8)[None])
    else:
        probe = Image.fromarray(np.stack(np.meshgrid(_STEPS, _STEPS, _STEPS), -1).reshape(1, -1, 3).astype(np.uint8))
    before = np.asarray(_as_mode(probe, "RGB")).astype(int)
    after = np.asarray(ImageCms.applyTransform(probe, transform))
    return int(np.abs(before - after).max()) <= _SRGB_TOLERANCE
