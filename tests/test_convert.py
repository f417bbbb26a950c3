"""Files of latents from one tool's format to another's; what is written is read by the facts of the formats alone."""

import json
import os
import struct
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file
from torch import Tensor

from tests.clips import read_back
from tests.commands import assert_failed, json_lines, run, run_bytes
from tests.foreign import BY_NAME, CACHE, FACTOR, LATENTS, random_latents, stored
from tests.test_latents import file_bytes
from vae3d_cli.latents import LatentsHeader, LatentsReader

DTYPES = {"F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}
# Seven frames of 30x20, which are padded to nine of 32x24.
HEADER = LatentsHeader(
    model="diffusers",
    latent_space="hunyuanvideo",
    encoder_sha256="1" * 64,
    posterior="mode",
    num_frames=7,
    height=20,
    width=30,
    rate=Fraction(30000, 1001),
    strategy={"name": "layerwise"},
    software="vae3d test",
    scaling_factor=FACTOR,
    color={"matrix": 1, "range": 1, "primaries": 1, "transfer": 1},
    source="clip.mp4",
)


@dataclass(frozen=True)
class Contents:
    metadata: dict[str, str]
    tensors: dict[str, tuple[str, list[int]]]
    values: dict[str, Tensor]


def read(path: Path) -> Contents:
    """A safetensors file by the definition of the format: a length, a JSON header, the bytes."""
    data = path.read_bytes()
    (size,) = struct.unpack("<Q", data[:8])
    header: dict[str, Any] = json.loads(data[8 : 8 + size])
    metadata = header.pop("__metadata__", {})
    values = {}
    for name, part in header.items():
        start, stop = part["data_offsets"]
        raw = torch.frombuffer(bytearray(data[8 + size + start : 8 + size + stop] or b"\0" * 4), dtype=torch.uint8)
        values[name] = raw.view(DTYPES[part["dtype"]])[: int(np.prod(part["shape"]))].view(part["shape"])
    return Contents(metadata, {name: (part["dtype"], part["shape"]) for name, part in header.items()}, values)


def own(
    folder: Path,
    header: LatentsHeader = HEADER,
    latents: Tensor = LATENTS,
    pts: NDArray[np.int64] | None = None,
    name: str = "my_clip.safetensors",
) -> Path:
    path = folder / name
    path.write_bytes(file_bytes(latents, header, pts))
    return path


def convert(source: Path, output: Path, to: str, *options: object) -> str:
    """Convert, and give what was said on standard error."""
    result = run("convert", source, "-o", output, "--format", to, *options)
    assert result.exit_code == 0, result.stderr
    return result.stderr


@pytest.mark.parametrize("dtype", DTYPES)
def test_musubi_reads_its_cache_name_by_name(tmp_path: Path, dtype: str) -> None:
    latents, names = LATENTS.to(DTYPES[dtype]), {"F32": "float32", "F16": "float16", "BF16": "bfloat16"}
    result = run("convert", own(tmp_path, latents=latents), "-o", tmp_path, "--format", "musubi")
    path = tmp_path / "my_clip_00000-009_0030x0020_hv.safetensors"
    assert (result.exit_code, result.stdout) == (0, f"{path}\n")
    tokens = path.stem.split("_")
    assert (tokens[-2], tokens[-3]) == ("0030x0020", "00000-009")
    cache = read(path)
    assert cache.metadata == {
        "architecture": "hunyuan_video",
        "width": "30",
        "height": "20",
        "format_version": "1.0.1",
        "frame_count": "9",
    }
    tensor = f"latents_3x3x4_{names[dtype]}"
    assert cache.tensors == {tensor: (dtype, [16, 3, 3, 4])}
    assert torch.equal(cache.values[tensor], latents)
    assert [line.partition(".safetensors: ")[2] for line in result.stderr.splitlines()] == [
        "musubi-tuner's caches hold no frame rate; the clip has 30000/1001 frames per second",
        "musubi-tuner knows no padding; there are 7 frames of 30x20, which it takes for 9 frames of 32x24",
    ]


def test_musubi_reads_the_cache_of_an_image(tmp_path: Path) -> None:
    header = replace(HEADER, num_frames=1, height=24, width=32, rate=Fraction(25))
    source = own(tmp_path, header, random_latents(num_frames=1))
    assert convert(source, tmp_path, "musubi") == ""
    cache = read(tmp_path / "my_clip_0032x0024_hv.safetensors")
    assert "frame_count" not in cache.metadata
    assert cache.tensors == {"latents_1x3x4_float32": ("F32", [16, 1, 3, 4])}


@pytest.mark.parametrize("dtype", DTYPES)
def test_comfyui_reads_its_latent_key_by_key(tmp_path: Path, dtype: str) -> None:
    latents = LATENTS.to(DTYPES[dtype])
    said = convert(own(tmp_path, latents=latents), tmp_path / "a.latent", "comfyui")
    contents = read(tmp_path / "a.latent")
    assert contents.tensors == {
        "latent_format_version_0": ("F32", [0]),
        "latent_tensor": (dtype, [1, 16, 3, 3, 4]),
    }
    assert torch.equal(contents.values["latent_tensor"][0], latents)
    assert load_file(tmp_path / "a.latent")["latent_format_version_0"].shape == (0,)
    assert [line.partition(".latent: ")[2] for line in said.splitlines()] == [
        "ComfyUI knows no padding; there are 7 frames of 30x20, which it takes for 9 frames of 32x24",
        "ComfyUI ignores the frame rate and the size, which the file holds for vae3d alone",
    ]


def test_nothing_is_lost_through_comfyui(tmp_path: Path) -> None:
    source = own(tmp_path)
    convert(source, tmp_path / "a.latent", "comfyui")
    assert convert(tmp_path / "a.latent", tmp_path / "b.safetensors", "vae3d") == ""
    assert (tmp_path / "b.safetensors").read_bytes() == source.read_bytes()


def test_decode_gives_the_frames_of_the_clip_from_a_latent_file_of_ours(
    tmp_path: Path, hunyuanvideo_folder: Path
) -> None:
    source = own(tmp_path)
    convert(source, tmp_path / "a.latent", "comfyui")
    clips = []
    for path in (source, tmp_path / "a.latent"):
        output = tmp_path / f"{path.stem}.mkv"
        assert run("decode", path, "-o", output, "-m", hunyuanvideo_folder, "--lossless", "-q").exit_code == 0
        clips.append(read_back(output))
    assert [frame.shape for frame in clips[1][0]] == [(20, 30, 3)] * 7
    assert clips[0][1] == clips[1][1]
    assert all(np.array_equal(a, b) for a, b in zip(clips[0][0], clips[1][0], strict=True))


@pytest.mark.parametrize("to", ["vae3d", "musubi", "comfyui"])
def test_the_scaling_factor_is_divided_out_in_fp32(tmp_path: Path, to: str) -> None:
    scaled = (LATENTS * FACTOR).bfloat16()
    sources = [own(tmp_path, replace(HEADER, scaled=True), scaled, name="own.safetensors"), tmp_path / "generated"]
    save_file({"latent": scaled}, sources[1])
    for source in sources:
        output = tmp_path / f"{source.stem}.out"
        output.mkdir()
        fps = ["--fps", "24"] if source.stem == "generated" and to == "vae3d" else []
        convert(source, output if to == "musubi" else output / "a", to, *fps)
        (path,) = output.iterdir()
        contents = read(path)
        (latents,) = (tensor for tensor in contents.values.values() if tensor.numel())
        assert latents.dtype == torch.float32
        assert torch.allclose(latents.flatten(), scaled.float().flatten() / FACTOR)
        assert contents.metadata.get("scaled", "false") == "false"


@pytest.mark.parametrize("scaled", [True, False])
def test_a_tensor_alone_is_scaled_or_not_as_is_told(tmp_path: Path, scaled: bool) -> None:
    source = BY_NAME["c.pt"].write(tmp_path)
    assert_failed(run("convert", source, "-o", tmp_path, "--format", "musubi"), 1, "give --scaled or --unscaled\n")
    convert(source, tmp_path / "a.latent", "comfyui", "--scaled" if scaled else "--unscaled")
    latents = read(tmp_path / "a.latent").values["latent_tensor"]
    assert torch.equal(latents[0].float(), stored(BY_NAME["c.pt"]).float() / (FACTOR if scaled else 1))
    assert latents.dtype == (torch.float32 if scaled else torch.bfloat16)


@pytest.mark.parametrize("name", [name for name in BY_NAME if name != "c.pt"])
def test_ours_needs_the_rate_and_the_others_do_not(tmp_path: Path, name: str) -> None:
    source = BY_NAME[name].write(tmp_path)
    output = tmp_path / "ours.safetensors"
    assert_failed(run("convert", source, "-o", output, "--format", "vae3d"), 1, "; give --fps RATE\n")
    said = convert(source, output, "vae3d", "--fps", "24")
    assert said == ""
    with LatentsReader(output) as latents:
        header = latents.header
        assert (header.rate, header.num_frames, header.width, header.height) == (Fraction(24), 9, 32, 24)
        assert (header.model, header.latent_space, header.encoder_sha256) == ("hunyuanvideo", "hunyuanvideo", "unknown")
        assert (header.posterior, header.scaled) == (BY_NAME[name].posterior or "unknown", False)
        divisor = FACTOR if BY_NAME[name].scaled else 1
        assert torch.equal(latents.read(0, 3), stored(BY_NAME[name]) / divisor)
    convert(source, tmp_path / "a.latent", "comfyui")
    assert read(tmp_path / "a.latent").metadata == {}
    (tmp_path / "caches").mkdir()
    convert(source, tmp_path / "caches", "musubi")
    (cache,) = (tmp_path / "caches").iterdir()
    suffix = "_00000-009_0032x0024_hv.safetensors"
    assert cache.name == Path(name).name.removesuffix(suffix).removesuffix(Path(name).suffix) + suffix


@pytest.mark.parametrize("to", ["musubi", "comfyui"])
def test_of_moments_other_tools_get_the_mean(tmp_path: Path, to: str) -> None:
    moments = random_latents(32)
    source = own(tmp_path, replace(HEADER, posterior="moments"), moments)
    said = convert(source, tmp_path if to == "musubi" else tmp_path / "a.latent", to)
    assert "the file holds the mean of the moments" in said
    (path,) = (path for path in tmp_path.iterdir() if path != source)
    latents = next(tensor for tensor in read(path).values.values() if tensor.numel())
    assert torch.equal(latents.view(16, 3, 3, 4), moments[:16])
    if to == "comfyui":
        assert read(path).metadata["posterior"] == "mode"


def test_times_that_vary_are_kept_in_ours_and_said_to_be_lost_elsewhere(tmp_path: Path) -> None:
    pts = np.cumsum(np.arange(1, 8))
    source = own(tmp_path, replace(HEADER, time_base=Fraction(1, 90)), pts=pts)
    assert convert(source, tmp_path / "b.safetensors", "vae3d") == ""
    assert torch.equal(load_file(tmp_path / "b.safetensors")["pts"], torch.from_numpy(pts))
    for to, output in (("musubi", tmp_path), ("comfyui", tmp_path / "a.latent")):
        assert "the times of the frames, which vary, are not in the file" in convert(source, output, to)
    with LatentsReader(tmp_path / "a.latent") as latents:
        assert (latents.pts, latents.header.time_base, latents.header.rate) == (None, None, HEADER.rate)


@pytest.mark.parametrize("to", ["musubi", "comfyui"])
def test_other_tools_take_no_latents_but_hunyuanvideos(tmp_path: Path, to: str) -> None:
    source = own(tmp_path, replace(HEADER, latent_space="tiny/1"))
    output = tmp_path if to == "musubi" else tmp_path / "a"
    assert_failed(run("convert", source, "-o", output, "--format", to), 1, f"{source}: its latents are of the latent")
    short = own(tmp_path, HEADER, random_latents(num_frames=2))
    assert_failed(run("convert", short, "-o", output, "--format", to), 1, "7 frames of 30x20 have [16, 3, 3, 4]")
    assert list(tmp_path.iterdir()) == [source]


def test_what_cannot_be_converted_leaves_nothing(tmp_path: Path) -> None:
    latents = LATENTS.clone()
    latents[3, 2] = float("nan")
    cases = {
        "latent frames 2 to 2 hold values that are not finite": (HEADER, latents),
        "are not finite without the scaling factor": (replace(HEADER, scaled=True), torch.full_like(LATENTS, 3e38)),
    }
    for reason, (header, values) in cases.items():
        source = tmp_path / "a.safetensors"
        save_file({"latents": values}, source, header.to_metadata())
        for to, output in (("musubi", tmp_path), ("comfyui", tmp_path / "b.latent"), ("vae3d", tmp_path / "b")):
            result = run("convert", source, "-o", output, "--format", to)
            assert_failed(result, 1, f"{source}: ")
            assert reason in result.stderr
        assert list(tmp_path.iterdir()) == [source]


@pytest.mark.parametrize("to", ["vae3d", "musubi", "comfyui"])
def test_an_existing_output_is_kept_unless_told_otherwise(tmp_path: Path, to: str) -> None:
    source, folder = own(tmp_path), tmp_path / "out"
    folder.mkdir()
    output = folder if to == "musubi" else folder / "a"
    convert(source, output, to)
    (path,) = folder.iterdir()
    good = path.read_bytes()
    path.write_bytes(b"precious")
    assert_failed(run("convert", source, "-o", output, "--format", to), 1, f"{path}: exists already")
    for option in ("--skip-existing", "--update"):
        skipped = run("convert", source, "-o", output, "--format", to, option)
        assert (skipped.exit_code, skipped.stdout) == (0, "")
        assert skipped.stderr == (
            f"vae3d: note: {source}: skipped, its output is not a latents file of this version of vae3d\n"
        )
    assert path.read_bytes() == b"precious"
    convert(source, output, to, "--force")
    assert path.read_bytes() == good
    assert list(folder.iterdir()) == [path]


@pytest.mark.parametrize("to", ["vae3d", "comfyui"])
def test_only_update_converts_again_what_is_older_than_its_source(tmp_path: Path, to: str) -> None:
    source, output = own(tmp_path), tmp_path / "out"
    arguments = ("convert", source, "-o", output, "--format", to)
    assert run(*arguments).exit_code == 0
    made = output.read_bytes()
    assert run(*arguments, "--update").stderr == f"vae3d: note: {source}: skipped, its output is up to date\n"
    os.utime(output, (0, 0))
    kept = run(*arguments, "--skip-existing")
    assert kept.stderr == f"vae3d: note: {source}: skipped, its output is made from a source that has changed since\n"
    assert output.stat().st_mtime == 0
    assert run(*arguments, "--update").stdout == f"{output}\n"
    assert output.stat().st_mtime > 0
    output.write_bytes(made[:-1])
    assert run(*arguments, "--skip-existing").stdout == f"{output}\n"
    assert output.read_bytes() == made, "a corrupt one is made again"


@pytest.mark.parametrize(
    ("name", "num_frames"),
    [
        ("a_b_00017-009_1920x1080_hv.safetensors", 3),
        ("photo_4000x3000_hv.safetensors", 1),
        ("frame_00000-001_0032x0024_hv.safetensors", 1),
    ],
)
def test_a_cache_of_musubi_has_its_name_again_after_other_formats(tmp_path: Path, name: str, num_frames: int) -> None:
    latents = random_latents(num_frames=num_frames)
    cache, back = tmp_path / name, tmp_path / "back"
    back.mkdir()
    save_file({f"latents_{num_frames}x3x4_float32": latents}, cache, CACHE)
    convert(cache, tmp_path / "x.safetensors", "vae3d", *(("--fps", 24) if num_frames > 1 else ()))
    convert(tmp_path / "x.safetensors", tmp_path / "y.latent", "comfyui")
    convert(cache, tmp_path / f"{cache.stem}.latent", "comfyui")
    for source in (tmp_path / "x.safetensors", tmp_path / "y.latent", cache, tmp_path / f"{cache.stem}.latent"):
        convert(source, back, "musubi", "-f")
        assert [path.name for path in back.iterdir()] == [name]


@pytest.mark.parametrize(
    "said",
    [
        "../up_00000-009_0032x0024_hv.safetensors",
        "up\n_00000-009_0032x0024_hv.safetensors",
        "c_00000-005_0032x0024_hv.safetensors",
        "c_0032x0024_hv.safetensors",
    ],
)
def test_a_source_that_is_no_cache_of_this_clip_names_nothing(tmp_path: Path, said: str) -> None:
    (tmp_path / "out").mkdir()
    convert(own(tmp_path, replace(HEADER, source=said)), tmp_path / "out", "musubi")
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["my_clip_00000-009_0030x0020_hv.safetensors"]
    assert len(list(tmp_path.iterdir())) == 2


def test_several_inputs_share_a_folder_and_one_that_fails_stops_no_other(tmp_path: Path) -> None:
    sources = [own(tmp_path, name=f"{name}.safetensors") for name in "ab"]
    bad = BY_NAME["c.pt"].write(tmp_path)
    suffixes = {"comfyui": ".latent", "vae3d": ".safetensors", "musubi": "_00000-009_0030x0020_hv.safetensors"}
    for to, suffix in suffixes.items():
        folder = tmp_path / to
        result = run("convert", sources[0], bad, sources[1], "-o", folder, "--format", to)
        assert result.exit_code == 1
        assert result.stdout.splitlines() == [str(folder / f"{name}{suffix}") for name in "ab"]
        assert f"1 of 3 inputs failed: {bad}" in result.stderr
        assert len(list(folder.iterdir())) == 2


def test_a_pipe_and_json(tmp_path: Path) -> None:
    source = own(tmp_path)
    piped = run_bytes("convert", "-", "-o", "-", "--format", "comfyui", "--json", stdin=source.read_bytes())
    convert(source, tmp_path / "a.latent", "comfyui")
    assert piped.stdout == (tmp_path / "a.latent").read_bytes()
    expected = {
        "input": str(source),
        "output": str(tmp_path / "b"),
        "source_format": "vae3d.latents/1",
        "format": "vae3d",
        "num_frames": 7,
        "height": 20,
        "width": 30,
        "rate": "30000/1001",
        "latents_shape": [16, 3, 3, 4],
        "latents_dtype": "float32",
    }
    (report,) = json_lines(run("convert", source, "-o", tmp_path / "b", "--format", "vae3d", "--json"))
    assert report == expected
    assert json.loads(piped.stderr.splitlines()[-1]) == expected | {"input": "-", "output": "-", "format": "comfyui"}


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["-", "-o", "FOLDER", "--format", "musubi"], "standard input has no name"),
        (["a", "-o", "-", "--format", "musubi"], "give a folder"),
        (
            ["a", "x/a", "-o", "FOLDER", "--format", "musubi"],
            "-o of a and -o of x/a would both be written to this file",
        ),
        (
            ["a", "x/a", "-o", "FOLDER", "--format", "comfyui"],
            "-o of a and -o of x/a would both be written to this file",
        ),
        (["a", "-o", "b", "--format", "comfyui", "--fps", "0"], "--fps 0"),
    ],
)
def test_a_wrong_call_is_status_2(arguments: list[str], reason: str) -> None:
    assert_failed(run("convert", *arguments), 2, reason)


@pytest.mark.parametrize(("to", "names"), [("musubi", ["my_clip_00000-009_0030x0020_hv"]), ("comfyui", ["my_clip"])])
def test_a_missing_folder_is_made_but_not_those_above_it(tmp_path: Path, to: str, names: list[str]) -> None:
    source, folder = own(tmp_path), tmp_path / "none"
    assert_failed(run("convert", source, "-o", f"{folder}/no/", "--format", to), 1, f"there is no folder {folder}")
    assert run("convert", source, "-o", f"{folder}/", "--format", to, "-q").stderr == ""
    assert [path.stem for path in folder.iterdir()] == names
    other = own(tmp_path, name="other.safetensors")
    assert run("convert", source, other, "-o", f"{folder}2", "--format", to, "-q").stderr == ""
    assert len(list((tmp_path / "none2").iterdir())) == 2


def test_a_latent_file_of_a_later_version_of_ours_is_refused(tmp_path: Path) -> None:
    tensors = {"latent_tensor": LATENTS[None], "latent_format_version_0": torch.tensor([])}
    save_file(tensors, tmp_path / "a.latent", HEADER.to_metadata() | {"format": "vae3d.latents/2"})
    assert_failed(run("info", tmp_path / "a.latent"), 1, "this version reads 'vae3d.latents/1'")
