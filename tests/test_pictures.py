"""Still pictures: whole, upright, in their colours and bits, or refused by name."""

import gc
import io
import struct
import sys
import zlib
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageCms

from tests.clips import moving_frames, write_clip
from tests.pictures import avif, other_profile, pictures_as_video, smooth
from vae3d_cli.errors import VideoError
from vae3d_cli.video import ColorTags, ReadOptions, VideoInfo, open_clip

SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
TRANSPOSITIONS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def read(path: Path, **options: Any) -> tuple[NDArray[Any], VideoInfo, list[str]]:
    """The only frame `[H, W, 3]`, and the notes without the name."""
    with open_clip(path, ReadOptions(**options)) as clip:
        (frame,) = list(clip)
        notes = [note.removeprefix(f"{path}: ") for note in clip.notes]
        assert clip.count_frames() == clip.num_read == 1
        return frame.rgb.transpose(1, 2, 0), clip.info, notes


def saved(path: Path, image: Image.Image, **options: Any) -> Path:
    image.save(path, **options)
    return path


def mean_difference(a: NDArray[Any], b: NDArray[Any] | Image.Image) -> float:
    other = np.asarray(b)
    assert a.shape == other.shape
    return float(np.abs(a.astype(int) - other.astype(int)).mean())


def refusal(path: Path, **options: Any) -> str:
    with pytest.raises(VideoError) as caught:
        read(path, **options)
    text = str(caught.value)
    assert text.startswith(f"{path}: ")
    assert "\n" not in text
    return text.removeprefix(f"{path}: ")


def test_a_profile_of_srgb_changes_no_pixel(tmp_path: Path) -> None:
    for _ in range(3):
        rgb, info, notes = read(saved(tmp_path / "a.png", smooth(), icc_profile=SRGB))
        gc.collect()  # PyAV frees the profile's name a second time
        assert np.array_equal(rgb, np.asarray(smooth()))
        assert info.container == "png"
        assert info.rate == 25
        assert notes == []


@pytest.mark.parametrize("suffix", [".png", ".webp", ".tif", ".avif"])
def test_another_profile_is_applied(tmp_path: Path, suffix: str) -> None:
    by_suffix: dict[str, dict[str, Any]] = {".webp": {"lossless": True}, ".avif": {"quality": 95}}
    options = by_suffix.get(suffix, {})
    path = saved(tmp_path / f"a{suffix}", smooth(), icc_profile=other_profile(), **options)
    rgb, _, notes = read(path)
    assert mean_difference(rgb, np.asarray(smooth())[..., ::-1]) < 2.5  # red and blue change places
    assert notes == []


def test_a_broken_profile_is_a_note(tmp_path: Path) -> None:
    rgb, _, notes = read(saved(tmp_path / "a.png", smooth(), icc_profile=b"no profile at all"))
    assert np.array_equal(rgb, np.asarray(smooth()))
    assert ["profile is broken" in note for note in notes] == [True]
    grey = ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB")).tobytes()
    assert ["another kind's" in note for note in read(saved(tmp_path / "b.png", smooth(), icc_profile=grey))[2]] == [
        True
    ]


@pytest.mark.parametrize("suffix", [".mov", ".avi"])
def test_side_data_of_video_frames_does_no_harm(tmp_path: Path, suffix: str) -> None:
    exif = Image.Exif()
    exif[0x112] = 5
    kinds: list[tuple[str, str, dict[str, Any]]] = [("png", "PNG", {})]
    kinds.append(("mjpeg", "JPEG", {"exif": exif, "subsampling": 0}))
    for codec, kind, options in kinds:
        file = io.BytesIO()
        smooth().save(file, kind, icc_profile=SRGB, **options)
        path = tmp_path / f"{codec}{suffix}"
        pictures_as_video(str(path), codec, [file.getvalue()] * 3)
        with open_clip(path) as clip:
            frames = [frame.rgb.transpose(1, 2, 0) for frame in clip]
            assert clip.info.codec == codec
        gc.collect()
        upright = smooth().transpose(Image.Transpose.TRANSPOSE) if options else smooth()
        assert [mean_difference(frame, upright) < 3 for frame in frames] == [True] * 3


@pytest.mark.parametrize("orientation", TRANSPOSITIONS)
@pytest.mark.parametrize("suffix", [".jpg", ".png", ".tif", ".webp", ".avif"])
def test_every_exif_orientation_is_applied(tmp_path: Path, suffix: str, orientation: int) -> None:
    exif = Image.Exif()
    exif[0x112] = orientation
    by_suffix: dict[str, dict[str, Any]] = {".webp": {"lossless": True}, ".jpg": {"subsampling": 0, "quality": 95}}
    options = by_suffix.get(suffix, {})
    rgb, info, _ = read(saved(tmp_path / f"a{suffix}", smooth(), exif=exif, **options))
    assert mean_difference(rgb, smooth().transpose(TRANSPOSITIONS[orientation])) < 2.5
    assert (info.width, info.height) == ((96, 64) if orientation < 5 else (64, 96))


@pytest.mark.parametrize("mode", ["1", "L", "P", "LA", "RGBA", "CMYK"])
def test_every_kind_of_colours_is_read_as_pillow_shows_it(tmp_path: Path, mode: str) -> None:
    image = smooth().convert(mode)
    path = saved(tmp_path / "a.tif" if mode == "CMYK" else tmp_path / "a.png", image)
    rgb, _, notes = read(path)
    assert np.array_equal(rgb, np.asarray(image.convert("RGB")))
    assert notes == []


@pytest.mark.parametrize(
    ("mode", "compression"),
    [
        *(("RGB", kind) for kind in (None, "jpeg", "tiff_lzw", "tiff_adobe_deflate", "packbits", "lzma", "zstd")),
        *((mode, kind) for mode in ("L", "CMYK") for kind in (None, "jpeg", "tiff_lzw")),
        ("YCbCr", "jpeg"),
    ],
)
def test_tiffs_of_every_compression_are_read(tmp_path: Path, mode: str, compression: str | None) -> None:
    image = smooth().convert(mode)
    rgb, _, _ = read(saved(tmp_path / "a.tif", image, compression=compression))
    assert mean_difference(rgb, image.convert("RGB")) < (4 if compression == "jpeg" else 1)


def test_a_photo_of_tiles_is_whole(tmp_path: Path) -> None:
    tiles = [smooth(64, 64, seed) for seed in range(6)]
    path = tmp_path / "a.avif"
    path.write_bytes(avif(tiles, grid=(3, 2)))
    rgb, info, notes = read(path)
    assert (info.width, info.height, notes) == (192, 128, [])
    for number, tile in enumerate(tiles):
        top, left = number // 3 * 64, number % 3 * 64
        assert mean_difference(rgb[top : top + 64, left : left + 64], tile) < 2.5


def test_the_main_picture_is_read_and_not_a_thumbnail(tmp_path: Path) -> None:
    path = tmp_path / "a.avif"
    path.write_bytes(avif([smooth(32, 32, 1), smooth(96, 64, 2)], primary=2))
    assert mean_difference(read(path)[0], smooth(96, 64, 2)) < 2.5


@pytest.mark.parametrize("clap", [(64, 40, 3, -2), (96, 64, 0, 0), (64, 40, 500, 0)])
def test_the_crop_of_an_avif_is_applied(tmp_path: Path, clap: tuple[int, int, int, int]) -> None:
    path = tmp_path / "a.avif"
    path.write_bytes(avif([smooth()], clap=clap))
    rgb, info, _ = read(path)
    shown = np.asarray(smooth())[10:50, 19:83] if clap[2] == 3 else np.asarray(smooth())  # one outside asks for nothing
    assert mean_difference(rgb, shown) < 2.5
    assert (info.width, info.height) == shown.shape[1::-1]


def test_heic_is_read_in_all_its_bits(tmp_path: Path) -> None:
    import pillow_heif

    for mode, dtype, bits in (("RGB", np.uint8, 8), ("RGB;16", np.uint16, 16)):
        white = np.iinfo(dtype).max
        pixels = (np.asarray(smooth(29, 100)) / 255 * white).round().astype(dtype)
        made = pillow_heif.from_bytes(mode, (29, 100), pixels.tobytes())
        made.save(tmp_path / "a.heic", quality=95, chroma=444)
        rgb, info, notes = read(tmp_path / "a.heic")
        assert (rgb.dtype == dtype, info.bit_depth, len(notes)) == (True, bits, 0)
        assert mean_difference((rgb / white * 255).round(), smooth(29, 100)) < 3
    collection = pillow_heif.from_pillow(smooth(64, 64, 1))
    collection.add_from_pillow(smooth(64, 64, 2))
    collection.save(tmp_path / "b.heic", quality=95, primary_index=1)
    rgb, _, notes = read(tmp_path / "b.heic")
    assert mean_difference(rgb, smooth(64, 64, 2)) < 3
    assert notes == ["it holds 2 pictures; only the main one was read"]


def test_heic_without_its_package_names_the_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    path = tmp_path / "a.heic"
    path.write_bytes(struct.pack(">I", 24) + b"ftypheic" + bytes(4) + b"mif1heic" + bytes(100))
    assert "pip install 'vae3d-cli[heif]'" in refusal(path)


def deep_pixels() -> NDArray[np.uint16]:
    """Every low bit counts."""
    return np.random.default_rng(0).integers(0, 65536, (24, 32, 3)).astype(np.uint16)


def write_deep(path: Path, pixels: NDArray[np.uint16], *, grey: bool) -> Path:
    if grey and path.suffix == ".ppm":
        path.write_bytes(b"P5 32 24 65535\n" + pixels[..., 0].astype(">u2").tobytes())
    elif grey:
        Image.fromarray(pixels[..., 0]).save(path)
    else:
        codec = {".png": "png", ".tif": "tiff", ".ppm": "ppm", ".jp2": "jpeg2000"}[path.suffix]
        pix_fmt = "rgb48le" if codec in ("tiff", "jpeg2000") else "rgb48be"
        frame = av.VideoFrame.from_ndarray(pixels, format="rgb48le").reformat(format=pix_fmt)
        options = {"pred": "dwt53"} if codec == "jpeg2000" else {}  # without loss
        write_clip(path, 1, codec=codec, pix_fmt=pix_fmt, container="rawvideo", frames=[frame], options=options)
    return path


@pytest.mark.parametrize("suffix", [".png", ".tif", ".ppm", ".jp2"])
@pytest.mark.parametrize("grey", [False, True])
def test_pictures_of_16_bits_keep_them(tmp_path: Path, suffix: str, grey: bool) -> None:
    pixels = deep_pixels()
    rgb, info, notes = read(write_deep(tmp_path / f"a{suffix}", pixels, grey=grey))
    assert (rgb.dtype == np.uint16, info.bit_depth, len(notes)) == (True, 16, 0)
    assert np.array_equal(rgb, np.repeat(pixels[..., :1], 3, axis=2) if grey else pixels)


@pytest.mark.parametrize("grey", [False, True])
def test_a_profile_goes_before_the_low_bits(tmp_path: Path, grey: bool) -> None:
    path = write_deep(tmp_path / "a.png", deep_pixels(), grey=grey)
    profile = SRGB if grey else other_profile()
    data = zlib.compress(profile)
    chunk = b"iCCPname\0\0" + data
    whole = path.read_bytes()
    chunk = struct.pack(">I", len(chunk) - 4) + chunk + struct.pack(">I", zlib.crc32(chunk))
    path.write_bytes(whole[:33] + chunk + whole[33:])
    rgb, _, notes = read(path)
    if grey:  # the profile is one for colours
        assert ["another kind's" in note for note in notes] == [True]
        assert rgb.dtype == np.uint16
    else:
        assert notes == ["its 16-bit values were read as 8 bits"]
        assert mean_difference(rgb, (deep_pixels() // 257)[..., ::-1]) < 3


def test_an_avif_of_10_bits_keeps_them_and_its_hdr_tags(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SVT_LOG", "1")
    path = tmp_path / "a.avif"
    with av.open(str(path), "w") as output:
        stream = output.add_stream("libsvtav1", rate=25, options={"crf": "5"})
        assert isinstance(stream, av.VideoStream)
        stream.width, stream.height, stream.pix_fmt = 96, 64, "yuv420p10le"
        ColorTags(9, 1, 9, 16).put_on(stream.codec_context)
        frame = av.VideoFrame.from_ndarray(np.asarray(smooth()), format="rgb24")
        output.mux([*stream.encode(frame), *stream.encode(None)])
    rgb, info, notes = read(path)
    assert rgb.dtype == np.uint16
    assert (info.pix_fmt, info.color.transfer) == ("yuv420p10le", 16)
    assert ["PQ" in note for note in notes] == [True]


@pytest.mark.parametrize("suffix", [".png", ".webp", ".avif", ".tif"])
def test_transparency_is_noted_and_the_colours_stay(tmp_path: Path, suffix: str) -> None:
    image = smooth()
    lossless: dict[str, dict[str, Any]] = {
        ".webp": {"lossless": True, "exact": True},
        ".avif": {"quality": 100, "subsampling": "4:4:4"},
    }
    options = lossless.get(suffix, {})
    for alpha, notes_expected in ((100, 1), (255, 0)):
        image.putalpha(alpha)
        rgb, _, notes = read(saved(tmp_path / f"a{suffix}", image, **options))
        assert mean_difference(rgb, smooth()) < 2.5
        assert ["transparency" in note for note in notes] == [True] * notes_expected


def test_a_palette_with_transparency_is_noted(tmp_path: Path) -> None:
    image = smooth().convert("P")
    rgb, _, notes = read(saved(tmp_path / "a.png", image, transparency=bytes([0, 90] + [255] * 254)))
    assert np.array_equal(rgb, np.asarray(image.convert("RGB")))
    assert ["transparency" in note for note in notes] == [True]


def test_of_several_pages_the_first_is_read_with_a_note(tmp_path: Path) -> None:
    path = saved(tmp_path / "a.tif", smooth(), save_all=True, append_images=[smooth(40, 30), smooth(50, 20)])
    rgb, _, notes = read(path)
    assert np.array_equal(rgb, np.asarray(smooth()))
    assert notes == ["it holds 3 pictures; only the main one was read"]


@pytest.mark.parametrize("options", [{"size": (40, 30)}, {"cover": (40, 40)}, {"deinterlace": True}])
def test_pictures_are_resized_as_videos_are(tmp_path: Path, options: dict[str, Any]) -> None:
    image = saved(tmp_path / "a.png", Image.fromarray(moving_frames(1, 96, 64)[0].transpose(1, 2, 0)))
    video = write_clip(tmp_path / "a.mkv", 1, 96, 64, codec="ffv1", pix_fmt="bgr0")
    (of_image, info, _), (of_video, other, _) = read(image, **options), read(video, **options)
    assert np.array_equal(of_image, of_video)
    assert (info.width, info.height, info.sample_aspect_ratio) == (other.width, other.height, other.sample_aspect_ratio)
