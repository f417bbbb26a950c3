"""The latents file."""

import contextlib
import io
import json
import os
import resource
import struct
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from safetensors import safe_open
from safetensors.torch import load, load_file, save

from vae3d_cli.errors import LatentsError
from vae3d_cli.latents import LatentsHeader, LatentsReader, LatentsSpool

HEADER = LatentsHeader(
    model="tiny",
    latent_space="tiny/1",
    encoder_sha256="0" * 64,
    posterior="mode",
    num_frames=9,
    height=20,
    width=30,
    rate=Fraction(30000, 1001),
    strategy={"name": "stream"},
    software="vae3d test",
)
FULL_HEADER = replace(
    HEADER,
    posterior="sample",
    seed=7,
    scaled=True,
    scaling_factor=0.476986,
    time_base=Fraction(1, 90000),
    start_time=Fraction(-7, 5),
    last_duration=Fraction(7, 10),
    color={"matrix": 1, "range": 1, "primaries": 1, "transfer": 1},
    pix_fmt="yuv420p",
    sample_aspect_ratio=Fraction(40, 33),
    source="clip [final] ü.mp4",
    source_sha256="1" * 64,
    settings={"dtype": "fp32", "frames": [0, 9]},
)


def random_latents(num_frames: int = 3, channels: int = 16) -> torch.Tensor:
    return torch.randn(channels, num_frames, 3, 4, generator=torch.Generator().manual_seed(0))


def file_bytes(
    latents: torch.Tensor,
    header: LatentsHeader = HEADER,
    pts: NDArray[np.int64] | None = None,
    cuts: tuple[int, ...] = (),
) -> bytes:
    out = io.BytesIO()
    with LatentsSpool(None, latents.dtype) as spool:
        for part in latents.tensor_split(cuts, dim=1):
            spool.append(part)
        spool.write(out, header, pts)
    return out.getvalue()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_safetensors_reads_what_is_written_channel_first(dtype: torch.dtype) -> None:
    latents = random_latents().to(dtype)
    assert torch.equal(load(file_bytes(latents))["latents"], latents)


def test_the_way_frames_come_does_not_change_the_bytes() -> None:
    latents = random_latents(5)
    assert file_bytes(latents, cuts=(1, 4)) == file_bytes(latents) == file_bytes(latents, cuts=(1, 2, 3, 4))


def test_the_metadata_are_those_of_the_interface(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    path.write_bytes(file_bytes(random_latents(), FULL_HEADER))
    with safe_open(path, "pt") as file:
        metadata = file.metadata()
    assert metadata["format"] == "vae3d.latents/1"
    assert metadata["rate"] == "30000/1001"
    assert metadata["scaled"] == "true"
    assert metadata["scaling_factor"] == "0.476986"
    assert metadata["seed"] == "7"
    assert metadata["start_time"] == "-7/5"
    assert metadata["last_duration"] == "7/10"
    assert metadata["sample_aspect_ratio"] == "40/33"
    assert json.loads(metadata["strategy"]) == {"name": "stream"}
    assert json.loads(metadata["color"]) == {"matrix": 1, "range": 1, "primaries": 1, "transfer": 1}


@pytest.mark.parametrize("header", [HEADER, FULL_HEADER])
def test_a_header_survives_the_file(header: LatentsHeader) -> None:
    assert LatentsHeader.from_metadata(header.to_metadata()) == header


def test_any_frames_are_read_as_they_were_stored(tmp_path: Path) -> None:
    latents, pts = random_latents(3), np.cumsum(np.arange(1, 10))
    path = tmp_path / "a.safetensors"
    path.write_bytes(file_bytes(latents, FULL_HEADER, pts))
    assert np.array_equal(load_file(path)["pts"].numpy(), pts)
    with LatentsReader(path) as reader:
        assert reader.header == FULL_HEADER
        assert reader.pts is not None
        assert np.array_equal(reader.pts, pts)
        for start in range(3):
            for stop in range(start + 1, 4):
                assert torch.equal(reader.read(start, stop), latents[:, start:stop])


def test_a_spool_is_read_like_a_file() -> None:
    latents = random_latents(4)
    with LatentsSpool(None, torch.float32) as spool:
        spool.append(latents)
        assert torch.equal(spool.read(1, 3), latents[:, 1:3])
        assert spool.shape == (16, 4, 3, 4)


def test_latents_that_overflow_their_type_are_refused_where_they_are_made() -> None:
    with (
        LatentsSpool(None, torch.float16) as spool,
        pytest.raises(LatentsError, match="too large for F16; use"),
    ):
        spool.append(torch.full((16, 1, 3, 4), 1e6))


def open_bytes(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "bad.safetensors"
    path.write_bytes(data)
    with LatentsReader(path) as reader:
        reader.read(0, reader.shape[1])


GOOD = file_bytes(random_latents())


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "not a vae3d latents file"),
        (b"text, and more of it", "not a vae3d latents file"),
        (GOOD[:500], "damaged or cut short"),
        (GOOD[:-1], "damaged or cut short"),
        (GOOD + b"more", "damaged or cut short"),
        (struct.pack("<Q", 2**63) + b"{", "not a vae3d latents file"),
        (struct.pack("<Q", 90_000_000) + b"{", "not a vae3d latents file"),
        (save({"latents": torch.zeros(16, 1, 1, 1)}), "its metadata has no 'format'"),
        (save({"latents": torch.full((16, 3, 3, 4), float("nan"))}, HEADER.to_metadata()), "not finite"),
    ],
)
def test_what_is_no_latents_file_is_refused(tmp_path: Path, data: bytes, reason: str) -> None:
    with pytest.raises(LatentsError, match=f"bad.safetensors: .*{reason}"):
        open_bytes(tmp_path, data)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("format", "vae3d.latents/2"),
        ("rate", "abc"),
        ("rate", "1/0"),
        ("rate", "4294967296/1"),
        ("time_base", "0/0"),
        ("start_time", "1/0"),
        ("start_time", "soon"),
        ("start_time", "9999999999999999999/1"),
        ("last_duration", "0/1"),
        ("last_duration", "-1/2"),
        ("num_frames", "-5"),
        ("num_frames", "1000000000000"),
        ("num_frames", "nine"),
        ("width", "9" * 5000),
        ("posterior", "median"),
        ("scaled", "yes"),
        ("scaling_factor", "0"),
        ("scaling_factor", "nan"),
        ("color", "[1]"),
        ("color", '{"matrix": "x", "range": 1, "primaries": 1, "transfer": 1}'),
        ("strategy", "[" * 100_000),
        ("strategy", '{"name": NaN}'),
        ("model", "x" * 1001),
        ("latent_space", "x" * 100_000),
        ("encoder_sha256", None),
    ],
)
def test_impossible_metadata_are_named(tmp_path: Path, key: str, value: str | None) -> None:
    metadata = FULL_HEADER.to_metadata() | ({} if value is None else {key: value})
    if value is None:
        del metadata[key]
    with pytest.raises(LatentsError, match=key):
        open_bytes(tmp_path, save({"latents": random_latents()}, metadata))


@pytest.mark.parametrize(
    ("tensors", "reason"),
    [
        ({"moments": random_latents()}, "no tensor 'latents'"),
        ({"latents": random_latents()[0]}, "shape"),
        ({"latents": random_latents().to(torch.int32)}, "I32"),
        ({"latents": torch.zeros(16, 0, 3, 4)}, "shape"),
        ({"latents": random_latents(), "pts": torch.arange(8)}, "pts"),
        ({"latents": random_latents(), "pts": torch.zeros(9, dtype=torch.int64)}, "increase"),
        ({"latents": random_latents(), "pts": torch.arange(9.0)}, "pts"),
    ],
)
def test_tensors_that_do_not_fit_are_named(tmp_path: Path, tensors: dict[str, torch.Tensor], reason: str) -> None:
    with pytest.raises(LatentsError, match=reason):
        open_bytes(tmp_path, save(tensors, FULL_HEADER.to_metadata() | {"posterior": "mode"}))


def test_a_file_larger_than_the_address_space_is_read(tmp_path: Path) -> None:
    num_latent_frames = 1 << 21
    shape, size = (16, num_latent_frames, 8, 8), 2 * 16 * 64 * num_latent_frames  # 4 GiB, of holes
    header = replace(HEADER, num_frames=4 * num_latent_frames - 3, height=64, width=64)
    tensors = {"latents": {"dtype": "F16", "shape": shape, "data_offsets": [0, size]}}
    text = json.dumps({"__metadata__": header.to_metadata(), **tensors}).encode()
    path = tmp_path / "huge.safetensors"
    with path.open("wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        file.truncate(8 + len(text) + size)
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    limits = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (used + (1 << 30), limits[1]))
    try:
        with LatentsReader(path) as reader:
            assert not reader.read(num_latent_frames - 1, num_latent_frames).any()
    finally:
        resource.setrlimit(resource.RLIMIT_AS, limits)


def test_a_file_cut_under_the_reader_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    path.write_bytes(GOOD)
    with LatentsReader(path) as reader:
        os.truncate(path, len(GOOD) - 100)
        with pytest.raises(LatentsError, match="cut while it was read"):
            reader.read(0, 3)


@settings(max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.integers(0, len(GOOD) - 1), st.binary(min_size=1, max_size=16))
def test_any_damage_gives_a_result_or_a_latents_error(tmp_path: Path, position: int, patch: bytes) -> None:
    data = GOOD[:position] + patch + GOOD[position + len(patch) :]
    with contextlib.suppress(LatentsError):  # anything else is a failure
        open_bytes(tmp_path, data)
