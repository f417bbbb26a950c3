"""Which files are pictures, where one ends, and what is wrong with those that are damaged, hostile or not read."""

import os
import struct
import threading
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.clips import write_clip
from tests.pictures import smooth
from tests.test_pictures import mean_difference, read, refusal, saved
from vae3d_cli.codec.memory import peak_memory_bytes
from vae3d_cli.errors import VideoError
from vae3d_cli.video import open_clip


def test_the_content_says_what_a_file_is_and_not_its_name(tmp_path: Path) -> None:
    picture = saved(tmp_path / "a.png", smooth()).rename(tmp_path / "a.mp4")
    assert np.array_equal(read(picture)[0], np.asarray(smooth()))
    video = write_clip(tmp_path / "b.mp4", 3).rename(tmp_path / "b.png")
    with open_clip(video) as clip:
        assert (len(list(clip)), clip.info.codec) == (3, "h264")


def write_all(fd: int, data: bytes) -> None:
    with os.fdopen(fd, "wb") as file:
        file.write(data)


def test_pictures_of_c_code_are_told_apart(tmp_path: Path) -> None:
    image = smooth().convert("1")
    path = saved(tmp_path / "a.xbm", image)
    assert np.array_equal(read(path)[0], np.asarray(image.convert("RGB")))
    path.write_bytes(b'/* XPM */\nstatic char *a[] = {\n"2 1 2 1",\n"x c #ff0000",\n". c #00ff00",\n"x."\n};\n')
    assert read(path)[0].tolist() == [[[255, 0, 0], [0, 255, 0]]]


@pytest.mark.parametrize("size", [(96, 64), (500, 400)])  # the latter is beyond what a pipe holds
@pytest.mark.parametrize("way", ["stdin", "fifo"])
def test_pictures_are_read_from_pipes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, way: str, size: tuple[int, int]
) -> None:
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, (*size[::-1], 3)).astype(np.uint8))
    data = saved(tmp_path / "a.png", noise).read_bytes()
    if way == "fifo":
        os.mkfifo(tmp_path / "fifo")
        thread = threading.Thread(target=(tmp_path / "fifo").write_bytes, args=(data,))
        thread.start()
        path: Path | None = tmp_path / "fifo"
    else:
        reading, writing = os.pipe()
        monkeypatch.setattr("vae3d_cli.video.pipes.STDIN_FD", reading)
        thread = threading.Thread(target=write_all, args=(writing, data))
        thread.start()
        path = None
    with open_clip(path) as clip:
        (frame,) = list(clip)
    thread.join()
    if way == "stdin":
        os.close(reading)
    assert np.array_equal(frame.rgb.transpose(1, 2, 0), np.asarray(noise))


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".webp", ".bmp", ".gif", ".ppm"])
def test_bytes_behind_the_end_of_a_picture_do_no_harm(tmp_path: Path, suffix: str) -> None:
    path = saved(tmp_path / f"a{suffix}", smooth())
    with Image.open(path) as image:
        expected = np.asarray(image.convert("RGB"))
    path.write_bytes(path.read_bytes() + b"\0\1 anything" * 20)
    rgb, _, notes = read(path)
    assert np.array_equal(rgb, expected)
    assert notes == []


@pytest.mark.parametrize("suffix", [".png", ".mjpeg", ".bmp", ".ppm"])
def test_pictures_of_one_size_behind_each_other_are_a_video(tmp_path: Path, suffix: str) -> None:
    kind = {".mjpeg": ".jpg"}.get(suffix, suffix)
    parts = [saved(tmp_path / f"{seed}{kind}", smooth(96, 64, seed)).read_bytes() for seed in range(3)]
    path = tmp_path / f"a{suffix}"
    path.write_bytes(b"".join(parts))
    with open_clip(path) as clip:
        frames = [frame.rgb.transpose(1, 2, 0) for frame in clip]
    assert [mean_difference(frame, smooth(96, 64, seed)) < 4 for seed, frame in enumerate(frames)] == [True] * 3
    path.write_bytes(parts[0] + saved(tmp_path / f"b{kind}", smooth(48, 32)).read_bytes())  # a preview
    assert mean_difference(read(path)[0], smooth(96, 64, 0)) < 4


def test_a_photo_with_others_in_its_file_is_the_first_of_them(tmp_path: Path) -> None:
    path = saved(tmp_path / "a.mpo", smooth(), save_all=True, append_images=[smooth(96, 64, 1)], quality=95)
    rgb, _, notes = read(path.rename(tmp_path / "a.jpg"))
    assert mean_difference(rgb, smooth()) < 4
    assert notes == ["it holds 2 pictures; only the main one was read"]


@pytest.mark.parametrize(
    ("start", "name"),
    [
        (b"\xff\x0a\xfa\x3b", "JPEG XL"),
        (b"\0\0\0\x0cJXL \r\n\x87\n", "JPEG XL"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "SVG"),
        (b"\xef\xbb\xbf<?xml version='1.0'?>\n<!-- a --><svg/>", "SVG"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n", "PostScript"),
        (b"%PDF-1.7\n", "PDF"),
        (b"II*\0\x10\0\0\0CR\2\0", "a camera's raw file"),
    ],
)
def test_what_nothing_reads_is_refused_by_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, start: bytes, name: str
) -> None:
    path = tmp_path / "a.jpg"
    path.write_bytes(start + bytes(100))
    assert refusal(path) == f"{name} is not read; convert it to PNG"
    with path.open("rb") as file:
        monkeypatch.setattr("vae3d_cli.video.pipes.STDIN_FD", file.fileno())
        with pytest.raises(VideoError, match=f"^<stdin>: {name} is not read"), open_clip(None):
            pass


@pytest.mark.parametrize("tag", [(50706, 1, 4, b"\1\4\0\0"), (254, 4, 1, b"\1\0\0\0")])
def test_the_preview_of_a_raw_file_is_not_taken_for_the_photo(tmp_path: Path, tag: tuple[int, int, int, bytes]) -> None:
    path = saved(tmp_path / "a.tif", smooth())
    with Image.open(path) as image:
        tags = image.tag_v2  # type: ignore[attr-defined]
        tags[tag[0]] = tag[3] if tag[1] == 1 else 1
        smooth().save(tmp_path / "b.dng", "TIFF", tiffinfo=tags)
    assert "raw file" in refusal(tmp_path / "b.dng")


def test_numbers_without_a_scale_are_refused(tmp_path: Path) -> None:
    for values in (np.ones((8, 9), np.float32), np.ones((8, 9), np.int32)):
        assert "no known range" in refusal(saved(tmp_path / "a.tif", Image.fromarray(values)))


def cut(path: Path, share: float) -> Path:
    data = path.read_bytes()
    path.write_bytes(data[: int(share * len(data))])
    return path


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".bmp", ".tif", ".gif"])
def test_a_cut_picture_is_an_error_or_what_decodes_of_it(tmp_path: Path, suffix: str) -> None:
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 96, 3)).astype(np.uint8))
    by_suffix: dict[str, dict[str, Any]] = {".tif": {"compression": None}, ".gif": {"interlace": 0}}
    options = by_suffix.get(suffix, {})
    path = saved(tmp_path / f"a{suffix}", noise, **options)
    with Image.open(path) as image:
        whole = np.asarray(image.convert("RGB"))
    cut(path, 0.6)
    assert refusal(path) == "the picture is damaged or cut short; replace it, or keep what decodes with --allow-damaged"
    rgb, _, notes = read(path, allow_damaged=True)
    kept = slice(-30, None) if suffix == ".bmp" else slice(0, 30)  # a BMP begins below
    assert mean_difference(rgb[kept], whole[kept]) < 1
    assert notes == ["the picture is damaged; what decodes of it was kept"]


def png_of(path: Path, width: int, height: int, data: bytes) -> Path:
    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", data) + chunk(b"IEND", b""))
    return path


def test_a_broken_png_says_so(tmp_path: Path) -> None:
    assert "the picture is damaged" in refusal(png_of(tmp_path / "a.png", 32, 24, b"no zlib stream"))


@pytest.mark.parametrize("size", [(12000, 12000), (30000, 30000), (100000, 100000)])
def test_a_picture_beyond_the_limit_is_refused_before_it_is_decoded(tmp_path: Path, size: tuple[int, int]) -> None:
    before = peak_memory_bytes()
    assert "too large" in refusal(png_of(tmp_path / "a.png", *size, zlib.compress(bytes(100))))
    assert peak_memory_bytes() - before < 100_000_000


def test_a_large_photo_takes_little_more_than_its_pixels(tmp_path: Path) -> None:
    path = saved(tmp_path / "a.png", smooth().resize((6000, 4000)), compress_level=1)
    with open_clip(saved(tmp_path / "b.png", smooth())) as clip:
        list(clip)
    before = peak_memory_bytes()
    assert read(path)[0].shape == (4000, 6000, 3)
    assert peak_memory_bytes() - before < 6000 * 4000 * (3 + 4) * 1.5  # planar, and as Pillow has them


def test_a_picture_has_one_track(tmp_path: Path) -> None:
    path = saved(tmp_path / "a.png", smooth())
    assert np.array_equal(read(path, stream=0)[0], np.asarray(smooth()))
    assert "a picture has no video track 1; leave --stream out" in refusal(path, stream=1)
