"""Which files are pictures, by their first bytes, and how Pillow opens them."""

import contextlib
import io
import logging
import threading
import warnings
from collections.abc import Iterator
from pathlib import Path

from PIL import (
    AvifImagePlugin,
    BlpImagePlugin,
    BmpImagePlugin,
    DdsImagePlugin,
    ExifTags,
    GifImagePlugin,
    IcnsImagePlugin,
    IcoImagePlugin,
    Image,
    ImageFile,
    Jpeg2KImagePlugin,
    JpegImagePlugin,
    PcxImagePlugin,
    PngImagePlugin,
    PpmImagePlugin,
    QoiImagePlugin,
    SgiImagePlugin,
    SunImagePlugin,
    TgaImagePlugin,
    TiffImagePlugin,
    WebPImagePlugin,
    XbmImagePlugin,
    XpmImagePlugin,
)

from vae3d_cli.errors import VideoError
from vae3d_cli.video.opening import MAX_PIXELS
from vae3d_cli.video.orientation import Orientation

# No others are tried: EPS would start Ghostscript, and some have no first bytes to be known by.
_FORMATS = tuple(
    plugin.format
    for plugin in (
        AvifImagePlugin.AvifImageFile,
        BlpImagePlugin.BlpImageFile,
        BmpImagePlugin.BmpImageFile,
        DdsImagePlugin.DdsImageFile,
        GifImagePlugin.GifImageFile,
        IcnsImagePlugin.IcnsImageFile,
        IcoImagePlugin.IcoImageFile,
        Jpeg2KImagePlugin.Jpeg2KImageFile,
        JpegImagePlugin.JpegImageFile,
        PcxImagePlugin.PcxImageFile,
        PngImagePlugin.PngImageFile,
        PpmImagePlugin.PpmImageFile,
        QoiImagePlugin.QoiImageFile,
        SgiImagePlugin.SgiImageFile,
        SunImagePlugin.SunImageFile,
        TiffImagePlugin.TiffImageFile,
        WebPImagePlugin.WebPImageFile,
        XpmImagePlugin.XpmImageFile,  # before XBM, which may begin with any comment
        XbmImagePlugin.XbmImageFile,
    )
)
_TGA, _TGA_END = TgaImagePlugin.TgaImageFile.format, b"TRUEVISION-XFILE.\0"
_HEIF = "HEIF"
_ANIMATED = ("AVIF", "GIF", "PNG", "WEBP")
# Neither Pillow nor FFmpeg reads these.
_UNREAD = {
    b"\xff\x0a": "JPEG XL",
    b"\0\0\0\x0cJXL \r\n\x87\n": "JPEG XL",
    b"%!PS": "PostScript",
    b"\xc5\xd0\xd3\xc6": "PostScript",
    b"%PDF": "PDF",
    b"II*\0\x10\0\0\0CR": "a camera's raw file",
}
_SVG = (b"<svg", b"<!DOCTYPE svg", b"<?xml")
# Brands of ISO media files: pictures of AV1, and still ones; what is first of all a sequence of HEVC is a video.
_AVIF_BRANDS = {b"avif", b"avis"}
_STILL_BRANDS = {b"heic", b"heix", b"heim", b"heis", b"mif1"}
_MOVING_BRANDS = {b"msf1", b"hevc", b"hevx", b"hevm", b"hevs"}
_PICTURE_BRANDS = _AVIF_BRANDS | _STILL_BRANDS | _MOVING_BRANDS | {b"mif2", b"miaf"}
_NEW_SUBFILE_TYPE, _DNG_VERSION = 254, 50706  # TIFF's tags
_HEAD_BYTES = 4096

_LOCK = threading.Lock()
logging.getLogger("PIL").addHandler(logging.NullHandler())  # else its errors go to standard error


def is_picture(head: bytes) -> bool:
    """Whether a file that begins so is a picture, or an animation of pictures, if only one that is refused."""
    return _unread(head) is not None or picture_format(head) is not None


def picture_format(head: bytes) -> str | None:
    """Pillow's name for the format of a picture that begins so; `None` leaves the file to FFmpeg."""
    if head[4:8] == b"ftyp":
        return _iso_format(head)
    if len(head) < 8:
        return None
    return next((name for name in _FORMATS if (accept := Image.OPEN[name][1]) and accept(head)), None)


def is_picture_file(path: Path) -> bool:
    """Whether a file begins as a picture; one that cannot be read does not."""
    try:
        with path.open("rb") as file:
            return is_picture(file.read(_HEAD_BYTES))
    except OSError:
        return False


def format_of_file(path: Path) -> str | None:
    """Pillow's name for the format of a file that is a picture; `None` leaves it to FFmpeg.

    Raises:
        VideoError: Nothing here reads its format.
        OSError: It cannot be read.
    """
    with path.open("rb") as file:
        head = file.read(_HEAD_BYTES)
        file.seek(-min(len(_TGA_END), file.seek(0, io.SEEK_END)), io.SEEK_END)
        end = file.read()
    if name := _unread(head):
        raise VideoError(f"{name} is not read; convert it to PNG")
    return picture_format(head) or (_TGA if end == _TGA_END else None)


@contextlib.contextmanager
def pillow(*, keep_damaged: bool = False) -> Iterator[None]:
    """Work with Pillow in silence; `keep_damaged` has it decode as much of a damaged picture as there is.

    Both are switches of the whole process, so that one thread at a time has them.
    """
    with _LOCK, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        before, ImageFile.LOAD_TRUNCATED_IMAGES = ImageFile.LOAD_TRUNCATED_IMAGES, keep_damaged
        try:
            yield
        finally:
            ImageFile.LOAD_TRUNCATED_IMAGES = before


def open_picture(path: Path, format_name: str) -> Image.Image:
    """A picture whose pixels are not decoded yet; of several in a file the primary or first one.

    Raises:
        VideoError: It is too large, a camera's raw file, or needs a package that is not installed.
        Exception: Pillow cannot read it; it may be any.
    """
    image = _open_heif(path) if format_name == _HEIF else Image.open(path, formats=[format_name])
    try:
        if image.width * image.height > MAX_PIXELS:
            raise VideoError(f"the picture of {image.width}x{image.height} is too large; make it smaller")
        if isinstance(image, TiffImagePlugin.TiffImageFile):
            _check_tiff(image)
    except BaseException:
        image.close()
        raise
    return image


def is_animation(image: Image.Image) -> bool:
    """Whether the pictures of a file follow each other in time."""
    return image.format in _ANIMATED and getattr(image, "is_animated", False)


def orientation_of(image: Image.Image) -> Orientation:
    """Which way up an image is shown, by its EXIF data; Pillow turns a TIFF upright as it decodes it."""
    return Orientation.of_exif(image.getexif().get(ExifTags.Base.Orientation))


def _unread(head: bytes) -> str | None:
    """The name of a format of pictures that nothing here reads."""
    if head.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(_SVG) and b"<svg" in head:
        return "SVG"
    return next((name for start, name in _UNREAD.items() if head.startswith(start)), None)


def _iso_format(head: bytes) -> str | None:
    size = min(int.from_bytes(head[:4], "big"), len(head))
    brands = {head[8:12], *(head[start : start + 4] for start in range(16, size, 4))}
    if head[8:12] not in _PICTURE_BRANDS:
        return None
    if brands & _AVIF_BRANDS:
        return "AVIF"
    return _HEIF if brands & _STILL_BRANDS and head[8:12] not in _MOVING_BRANDS else None


def _open_heif(path: Path) -> Image.Image:
    try:
        from pillow_heif import HeifImageFile
    except ImportError as error:
        raise VideoError("HEIC needs the package pillow-heif; pip install 'vae3d-cli[heif]'") from error
    image: Image.Image = HeifImageFile(path)  # type: ignore[no-untyped-call]
    return image


def _check_tiff(image: TiffImagePlugin.TiffImageFile) -> None:
    """Refuse a TIFF that is a camera's raw file, whose first picture is a preview, or that takes another library."""
    tags = image.tag_v2
    if image.info.get("compression") == "webp":  # libtiff would say so on standard error
        raise VideoError("TIFF with WebP in it is not read; convert it to PNG")
    if _DNG_VERSION in tags or tags.get(_NEW_SUBFILE_TYPE, 0) & 1:
        raise VideoError("a camera's raw file is not read; convert it to PNG or TIFF")
