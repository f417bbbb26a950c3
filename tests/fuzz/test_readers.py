"""Damaged and hostile files, made from whole ones: a small fixed budget of them in every run of the tests."""

import json
import struct
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.clips import write_clip
from tests.pictures import other_profile, smooth
from vae3d_cli.codec import encode_video
from vae3d_cli.errors import LatentsError, VideoError
from vae3d_cli.latents import LatentsReader
from vae3d_cli.video import open_clip
from vae3d_cli.weights import Model

KINDS = {
    "mp4": ("libx264", "yuv420p"),
    "mkv": ("ffv1", "yuv420p"),
    "webm": ("libvpx-vp9", "yuv420p"),
    "avi": ("mjpeg", "yuvj420p"),
    "gif": ("gif", "rgb8"),
    "ts": ("libx264", "yuv420p"),
}


def fuzzed(max_examples: int) -> settings:
    """The same examples in every run."""
    checks = [HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
    return settings(max_examples=max_examples, deadline=None, derandomize=True, suppress_health_check=checks)


# Where (as a share of the file) and what: bytes that replace those that are there, or what is left of the file.
damage = st.lists(st.tuples(st.floats(0, 1), st.binary(min_size=1, max_size=40)), min_size=0, max_size=6)
lengths = st.none() | st.floats(0, 1)


def damaged(whole: bytes, patches: list[tuple[float, bytes]], length: float | None) -> bytes:
    data = bytearray(whole)
    for place, patch in patches:
        start = int(place * (len(data) - 1))
        data[start : start + len(patch)] = patch[: len(data) - start]
    return bytes(data if length is None else data[: int(length * len(data))])


def check_one_line(path: Path, error: Exception) -> None:
    assert str(error).startswith(f"{path}: ")
    assert "\n" not in str(error)


def read_latents(path: Path) -> None:
    """All of it, as decode would."""
    try:
        with LatentsReader(path) as latents:
            for index in range(min(latents.shape[1], 50)):
                latents.read(index, index + 1)
    except LatentsError as error:
        check_one_line(path, error)


def read_video(path: Path) -> None:
    """All of it, as encode would; what says that it is longer than it can be is not read to its end."""
    try:
        with open_clip(path) as video:
            for number, frame in enumerate(video):
                assert frame.rgb.shape == (3, video.info.height, video.info.width)
                if number > 200:
                    break
    except VideoError as error:
        check_one_line(path, error)


@pytest.fixture(scope="module")
def latents_file(tmp_path_factory: pytest.TempPathFactory, small: Model) -> Path:
    folder = tmp_path_factory.mktemp("latents")
    encode_video(write_clip(folder / "clip.mp4", 6), folder / "clip.safetensors", small)
    return folder / "clip.safetensors"


@fuzzed(150)
@given(damage, lengths)
def test_damaged_latents_are_read_or_refused(
    latents_file: Path, tmp_path: Path, patches: list[tuple[float, bytes]], length: float | None
) -> None:
    path = tmp_path / "a.safetensors"
    path.write_bytes(damaged(latents_file.read_bytes(), patches, length))
    read_latents(path)


values = st.sampled_from(["0", "-1", "1", "99999999999999999999", "0/0", "1/0", "abc", "", "nan", "1e400", "{}", "[]"])
shapes = st.lists(st.sampled_from([0, 1, 3, 16, 32, 1 << 31, 1 << 62, -1]), max_size=5)


@fuzzed(150)
@given(st.data())
def test_hostile_headers_are_refused_without_a_large_allocation(
    latents_file: Path, tmp_path: Path, data: st.DataObject
) -> None:
    whole = latents_file.read_bytes()
    (size,) = struct.unpack("<Q", whole[:8])
    header = json.loads(whole[8 : 8 + size])
    for key in data.draw(st.lists(st.sampled_from(sorted(header["__metadata__"])), max_size=3)):
        header["__metadata__"][key] = data.draw(values)
    tensor = header["latents"]
    tensor["shape"] = data.draw(st.just(tensor["shape"]) | shapes)
    tensor["data_offsets"] = data.draw(st.just(tensor["data_offsets"]) | st.lists(st.integers(0, 1 << 62), max_size=3))
    tensor["dtype"] = data.draw(st.sampled_from(["F32", "I64", "BF16", "X9"]))
    text = json.dumps(header).encode()
    claimed = data.draw(st.just(len(text)) | st.sampled_from([0, 1, 1 << 40, (1 << 64) - 1]))
    path = tmp_path / "a.safetensors"
    path.write_bytes(struct.pack("<Q", claimed) + text + whole[8 + size :])
    read_latents(path)


PICTURES: dict[str, dict[str, object]] = {
    "PNG": {"icc_profile": other_profile()},
    "JPEG": {},
    "TIFF": {"compression": "tiff_adobe_deflate"},
    "WEBP": {"save_all": True, "append_images": [smooth(96, 64, 1)]},
    "AVIF": {"save_all": True, "append_images": [smooth(96, 64, 1)]},
    "GIF": {"save_all": True, "append_images": [smooth(96, 64, 1)]},
    "BMP": {},
    "JPEG2000": {},
}


@pytest.mark.parametrize("kind", PICTURES)
@fuzzed(40)
@given(damage, lengths)
def test_damaged_pictures_are_read_or_refused(
    tmp_path: Path, kind: str, patches: list[tuple[float, bytes]], length: float | None
) -> None:
    whole = tmp_path / "whole"
    if not whole.exists():
        smooth().save(whole, kind, **PICTURES[kind])
    path = tmp_path / "a"
    path.write_bytes(damaged(whole.read_bytes(), patches, length))
    read_video(path)


@fuzzed(60)
@given(st.binary(max_size=300))
@pytest.mark.parametrize("read", [read_latents, read_video])
def test_any_bytes_are_refused(tmp_path: Path, read: Callable[[Path], None], content: bytes) -> None:
    path = tmp_path / "a.bin"
    path.write_bytes(content)
    read(path)


@pytest.mark.parametrize("kind", KINDS)
@fuzzed(100)
@given(damage, lengths)
def test_damaged_videos_are_read_or_refused(
    tmp_path: Path, kind: str, patches: list[tuple[float, bytes]], length: float | None
) -> None:
    whole = tmp_path / f"whole.{kind}"
    codec, pix_fmt = KINDS[kind]
    if not whole.exists():
        write_clip(whole, 8, codec=codec, pix_fmt=pix_fmt)
    path = tmp_path / f"a.{kind}"
    path.write_bytes(damaged(whole.read_bytes(), patches, length))
    read_video(path)
