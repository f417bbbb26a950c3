"""Clips encoded straight into the files of other tools; what is written is read by the facts of the formats alone."""

import json
import os
import shutil
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from tests.clips import write_clip
from tests.commands import assert_failed, json_lines, run
from tests.foreign import CACHE, CACHE_NAME, LATENTS
from tests.test_convert import DTYPES, read
from vae3d_cli.batch.manifest import NAME
from vae3d_cli.codec import EncodeOptions, encode_video, roundtrip_video
from vae3d_cli.errors import UsageError
from vae3d_cli.geometry import FrameRange
from vae3d_cli.latents import LatentsHeader, LatentsReader, musubi_name, musubi_names
from vae3d_cli.weights import Model, load_model

A = "a_00000-009_0030x0020_hv.safetensors"
B = "sub/b_00000-005_0032x0024_hv.safetensors"
PICTURE = "picture_0032x0024_hv.safetensors"
OTHERS = ["musubi", "comfyui"]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder `clips` in the current one, with a clip of 7 frames of 30x20, one of 5 frames, and a picture."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "clips" / "sub").mkdir(parents=True)
    write_clip(tmp_path / "clips" / "a.mp4", 7, 30, 20)
    write_clip(tmp_path / "clips" / "sub" / "b.mp4", 5)
    write_clip(tmp_path / "clips" / "picture.png", 1, codec="png", pix_fmt="rgb24", container="image2")
    return tmp_path / "clips"


Encode = Callable[..., list[str]]


@pytest.fixture
def encode(hunyuanvideo_folder: Path, folder: Path) -> Encode:
    """Encode into `out` in a format, and say what was written there."""

    def encode(format_name: str, *arguments: object, status: int = 0) -> list[str]:
        inputs = ("-r", *([] if "--list" in arguments else [folder.name]))
        result = run("encode", *inputs, "-o", "out", "-m", hunyuanvideo_folder, "--format", format_name, *arguments)
        assert result.exit_code == status, result.stderr
        return [str(Path(line).relative_to("out")) for line in result.stdout.splitlines()]

    return encode


def lines() -> list[dict[str, Any]]:
    return [json.loads(line) for line in Path("out", NAME).read_text().splitlines()]


def files() -> dict[str, bytes]:
    return {
        str(path.relative_to("out")): path.read_bytes()
        for path in Path("out").rglob("*")
        if path.is_file() and path.name != NAME
    }


def converted(to: str, *arguments: object) -> dict[str, bytes]:
    """The clips as `encode` and then `convert` write them, by their base names."""
    assert run("encode", "clips", "-r", "-q", "-o", "own", *arguments).exit_code == 0
    sources = sorted(Path("own").rglob("*.safetensors"))
    assert run("convert", *sources, "-o", "converted", "--format", to, "-q").exit_code == 0
    return {path.name: path.read_bytes() for path in Path("converted").iterdir()}


@pytest.mark.parametrize("to", OTHERS)
@pytest.mark.parametrize("options", [[], ["--latents-dtype", "bf16"], ["--posterior", "sample", "--seed", 3]])
def test_what_is_encoded_is_what_ours_is_converted_to(
    encode: Encode, hunyuanvideo_folder: Path, to: str, options: list[object]
) -> None:
    written = encode(to, "-q", *options)
    assert written == ([A, PICTURE, B] if to == "musubi" else ["a.latent", "picture.latent", "sub/b.latent"])
    assert {Path(name).name: data for name, data in files().items()} == converted(
        to, "-m", hunyuanvideo_folder, *options
    )


@pytest.mark.parametrize("dtype", DTYPES)
def test_musubi_reads_the_cache_of_a_clip_name_by_name(
    folder: Path, encode: Encode, hunyuanvideo_folder: Path, dtype: str
) -> None:
    name = {"F32": "float32", "F16": "float16", "BF16": "bfloat16"}[dtype]
    option = {"F32": "fp32", "F16": "fp16", "BF16": "bf16"}[dtype]
    (folder / "picture.png").unlink()
    encode("musubi", "--latents-dtype", option, "--frames", "2:7")
    path = Path("out/a_00002-005_0030x0020_hv.safetensors")
    tokens = path.stem.split("_")
    assert (tokens[-2], tokens[-3]) == ("0030x0020", "00002-005")
    cache = read(path)
    assert cache.metadata == CACHE | {"width": "30", "height": "20", "frame_count": "5"}
    assert cache.tensors == {f"latents_2x3x4_{name}": (dtype, [16, 2, 3, 4])}
    common = ("-m", hunyuanvideo_folder, "--latents-dtype", option, "--frames", "2:7")
    assert run("encode", folder / "a.mp4", "-o", "own", *common).exit_code == 0
    assert torch.equal(cache.values[f"latents_2x3x4_{name}"], load_file("own")["latents"])


def test_musubi_reads_the_cache_of_a_picture_name_by_name(encode: Encode) -> None:
    encode("musubi")
    cache = read(Path("out", PICTURE))
    assert cache.metadata == {key: value for key, value in CACHE.items() if key != "frame_count"}
    assert cache.tensors == {"latents_1x3x4_float32": ("F32", [16, 1, 3, 4])}


def test_comfyui_reads_the_latent_of_a_clip_and_we_read_all_of_it(
    folder: Path, encode: Encode, hunyuanvideo_folder: Path
) -> None:
    encode("comfyui")
    contents = read(Path("out/a.latent"))
    assert contents.tensors == {"latent_format_version_0": ("F32", [0]), "latent_tensor": ("F32", [1, 16, 3, 3, 4])}
    assert run("encode", folder / "a.mp4", "-o", "own", "-m", hunyuanvideo_folder).exit_code == 0
    assert torch.equal(contents.values["latent_tensor"][0], load_file("own")["latents"])
    assert run("convert", "out/a.latent", "-o", "back", "--format", "vae3d").exit_code == 0
    assert Path("back").read_bytes() == Path("own").read_bytes()


def test_what_the_format_cannot_hold_is_said(tmp_path: Path, hunyuanvideo_folder: Path) -> None:
    stamps = Fraction(1, 1000), [0, 40, 90, 120, 200]
    clip = write_clip(tmp_path / "clip.mkv", 5, 30, 20, stamps=stamps)
    said = {}
    for to in OTHERS:
        result = run("encode", clip, "-m", hunyuanvideo_folder, "--format", to)
        path = result.stdout.strip()
        said[to] = [line.removeprefix(f"vae3d: note: {path}: ") for line in result.stderr.splitlines()]
    lost = "the times of the frames, which vary, are not in the file"
    size = "there are 5 frames of 30x20, which it takes for 5 frames of 32x24"
    assert said["musubi"][1:] == [f"musubi-tuner knows no padding; {size}", lost]
    assert said["musubi"][0].startswith("musubi-tuner's caches hold no frame rate")
    assert said["comfyui"][0] == f"ComfyUI knows no padding; {size}"
    assert said["comfyui"][2:] == [lost]
    assert run("encode", clip, "-m", hunyuanvideo_folder).stderr == ""


def test_an_output_without_a_name_lies_beside_the_clip(folder: Path, hunyuanvideo_folder: Path) -> None:
    for to, name in (("musubi", A), ("comfyui", "a.latent")):
        result = run("encode", folder / "a.mp4", "-m", hunyuanvideo_folder, "--format", to, "--json", "-q")
        (report,) = json_lines(result)
        assert (report["output"], report["format"]) == (str(folder / name), to)
        assert run("encode", "clips", "-r", "-m", hunyuanvideo_folder, "--format", to, "-qf").exit_code == 0
        assert (folder / name).exists()
    (report,) = json_lines(run("encode", folder / "a.mp4", "--json", "-q"))
    assert report["format"] == "vae3d"


def test_one_clip_goes_into_a_folder_for_musubi_and_has_a_line_there(folder: Path, hunyuanvideo_folder: Path) -> None:
    arguments = ("encode", folder / "a.mp4", "-o", "out", "-m", hunyuanvideo_folder, "--format", "musubi", "-q")
    assert run(*arguments).stdout == f"out/{A}\n"
    assert [line["output"] for line in lines()] == [A]
    assert_failed(run(*arguments), 1, f"out/{A}: exists already")
    assert run(*arguments, "--skip-existing").stdout == ""
    assert run(*arguments, "--update", "--frames", 5).stdout == "out/a_00000-005_0030x0020_hv.safetensors\n"
    Path("file").touch()
    assert_failed(run(*arguments, "-o", "file"), 1, "file is no folder")
    assert_failed(run(*arguments, "-o", "none/out"), 1, "there is no folder none")


@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["--format", "musubi"], "--format musubi with the model tiny: its latents are of the latent space 'tiny/1'"),
        (["--format", "comfyui"], "--format comfyui with the model tiny: its latents are of the latent space"),
        (["--format", "musubi", "--posterior", "moments"], "--posterior moments: --format musubi holds latents"),
        (["--format", "comfyui", "--scaled"], "--scaled: the latents of --format comfyui are unscaled"),
    ],
)
def test_what_a_format_does_not_hold_is_status_2_before_any_work(arguments: list[str], reason: str) -> None:
    assert_failed(run("encode", "clips", "-r", "-o", "out", *arguments), 2, reason)
    assert not Path("out").exists()


def test_musubi_is_no_pipe(folder: Path) -> None:
    clip = folder / "a.mp4"
    assert_failed(run("encode", clip, "-o", "-", "--format", "musubi"), 2, "-o -: musubi-tuner knows its caches")
    assert_failed(run("encode", "-", "-o", "out", "--format", "musubi"), 2, "-: standard input has no name")


def test_the_library_encodes_into_a_folder_for_musubi(
    tmp_path: Path, folder: Path, hunyuanvideo_folder: Path, small: Model
) -> None:
    model = load_model(str(hunyuanvideo_folder), device="cpu")
    result = encode_video(
        folder / "a.mp4", str(tmp_path), model, EncodeOptions(format="musubi", frames=FrameRange(1, 6))
    )
    assert result.output == str(tmp_path / "a_00001-005_0030x0020_hv.safetensors")
    assert Path(result.output).exists()
    assert encode_video(folder / "a.mp4", "a.latent", model, EncodeOptions(format="comfyui")).output == "a.latent"
    for source, output, options in (
        (None, tmp_path, EncodeOptions(format="musubi")),
        (folder / "a.mp4", None, EncodeOptions(format="musubi")),
    ):
        with pytest.raises(UsageError, match="knows its caches by their names"):
            encode_video(source, output, model, options)
    with pytest.raises(UsageError, match="of the latent space 'small/1'"):
        encode_video(folder / "a.mp4", "b.latent", small, EncodeOptions(format="comfyui"))
    with pytest.raises(UsageError, match="no such format; give one of vae3d, musubi, comfyui"):
        EncodeOptions(format="other")
    assert not Path("b.latent").exists()


def test_our_own_files_do_not_say_that_they_are(folder: Path, small: Model) -> None:
    encode_video(folder / "a.mp4", "own", small)
    roundtrip_video(folder / "a.mp4", small, EncodeOptions(format="comfyui"), outputs={"latents": "kept"})
    assert Path("own").read_bytes() == Path("kept").read_bytes()
    with LatentsReader(Path("own")) as latents:
        assert "format" not in (latents.header.settings or {})


def test_two_clips_of_a_folder_with_one_stem_and_one_first_frame_are_status_2(
    folder: Path, hunyuanvideo_folder: Path
) -> None:
    shutil.copy(folder / "a.mp4", folder / "a.mkv")
    common = ("-o", "out", "-m", hunyuanvideo_folder, "--format", "musubi")
    result = run("encode", "clips", "-r", *common)
    assert_failed(result, 2, "a_00000-*_hv.safetensors: the output of clips/a.mkv and the output of clips/a.mp4 would")
    pictures = [{"path": "clips/a.mp4", "frames": frames} for frames in ("2:3", "4:5")]
    Path("list").write_text("\n".join(map(json.dumps, pictures)))
    assert_failed(run("encode", "--list", "list", *common), 2, "a_*_hv.safetensors: the output of clips/a.mp4")
    assert not Path("out").exists()


@pytest.mark.usefixtures("folder")
def test_parts_of_a_clip_lie_side_by_side_and_each_is_known_by_its_first_frame(
    encode: Encode, hunyuanvideo_folder: Path
) -> None:
    parts = [{"path": "clips/a.mp4", "frames": frames, "output": "parts"} for frames in ("0:5", "2:7", "6:9")]
    Path("list").write_text("\n".join(map(json.dumps, parts)))
    names = [f"a{part}_0030x0020_hv.safetensors" for part in ("_00000-005", "_00002-005", "")]
    assert encode("musubi", "--list", "list", "-q") == [f"parts/{name}" for name in names]
    again = ("encode", "--list", "list", "-o", "out", "-m", hunyuanvideo_folder, "--format", "musubi")
    assert run(*again, "--skip-existing").stderr.endswith("inputs were skipped: 3 up to date\n")
    assert run(*again, "--force", "-q").stdout.count("\n") == 3
    Path("out/parts", names[0]).unlink()
    Path("out/parts", names[2]).unlink()
    assert encode("musubi", "--list", "list", "-q", "--skip-existing") == [f"parts/{names[0]}", f"parts/{names[2]}"]
    assert len(files()) == 3
    # The name of the last one could be of the first part, too, if that were one frame.
    before = files()
    Path("out/parts", names[0]).unlink()
    assert f"parts/{names[0]}" in encode("musubi", "--list", "list", "-q", "--skip-existing")
    assert files() == before


@pytest.mark.parametrize("to", OTHERS)
def test_an_existing_output_is_refused_before_any_work(
    encode: Encode, hunyuanvideo_folder: Path, to: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    encode(to)
    before = files()
    with monkeypatch.context() as patch:
        patch.setattr("vae3d_cli.weights.load_model", None)
        result = run("encode", "clips", "-r", "-o", "out", "-m", hunyuanvideo_folder, "--format", to, "--frames", 2)
    assert (result.exit_code, result.stdout, result.stderr.count("exists already")) == (1, "", 3)
    assert files() == before
    assert len(encode(to, "--force")) == 3
    assert files() == before


@pytest.mark.parametrize("to", OTHERS)
def test_what_is_done_is_neither_read_nor_written_again(
    encode: Encode, to: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    encode(to)
    before = Path("out", NAME).read_bytes()
    monkeypatch.setattr("vae3d_cli.batch.existing.sha256_of", None)
    assert encode(to, "--skip-existing") == []
    assert Path("out", NAME).read_bytes() == before


@pytest.mark.parametrize("to", OTHERS)
def test_what_was_only_touched_or_copied_is_hashed_and_kept(folder: Path, encode: Encode, to: str) -> None:
    encode(to)
    shutil.copytree("out", "copy")
    shutil.rmtree("out")
    Path("copy").rename("out")
    shutil.copy(folder / "a.mp4", "touched.mp4")
    Path("touched.mp4").replace(folder / "a.mp4")
    before = files()
    assert encode(to, "--skip-existing") == []
    assert len(lines()) == 6, "each has a line with its new times"
    assert encode(to, "--skip-existing") == []
    assert len(lines()) == 6
    assert files() == before
    shutil.copy(folder / "sub" / "b.mp4", folder / "a.mp4")
    assert encode(to, "--skip-existing") == []
    assert encode(to, "--update") == ["a.latent" if to == "comfyui" else "a_00000-005_0032x0024_hv.safetensors"]


@pytest.mark.usefixtures("folder")
def test_a_cache_that_is_made_again_under_another_name_takes_the_place_of_the_old(
    encode: Encode, hunyuanvideo_folder: Path
) -> None:
    encode("musubi")
    assert [line["output"] for line in lines()] == [A, PICTURE, B]
    small = [f"{name}_0016x0016_hv.safetensors" for name in ("a_00000-009", "picture", "sub/b_00000-005")]
    for kind, option, names in (
        ("--update", ["--frames", 5], ["a_00000-005_0030x0020_hv.safetensors", PICTURE, B]),
        ("--update", ["--size", "16x16"], small),
        ("--force", ["--frames", 1], ["a_0030x0020_hv.safetensors", PICTURE, "sub/b_0032x0024_hv.safetensors"]),
        ("--update", [], [A, PICTURE, B]),
    ):
        assert encode("musubi", kind, *option) == names
        assert sorted(files()) == sorted(names)
        assert encode("musubi", "--skip-existing", *option) == []
        assert run("info", "--verify", "out").exit_code == 0, "the manifest lists nothing that is gone"
    (line,) = (line for line in lines()[-3:] if line["output"] == A)
    assert line["replaces"] == ["a_0030x0020_hv.safetensors"]
    os.utime(Path("out", A))
    assert encode("musubi", "--skip-existing") == []
    assert (lines()[-1]["output"], "replaces" in lines()[-1]) == (A, False)
    result = run(
        "encode", "clips", "-r", "-o", "out", "-m", hunyuanvideo_folder, "--format", "musubi", "--frames", 5, "-f"
    )
    assert f"a_00000-005_0030x0020_hv.safetensors: takes the place of {A}, which was removed" in result.stderr


def test_another_model_and_a_clip_that_changed_while_it_was_read_make_a_cache_anew(
    tmp_path: Path, encode: Encode, hunyuanvideo_folder: Path
) -> None:
    encode("musubi")
    other = shutil.copytree(hunyuanvideo_folder, tmp_path / "other")
    weights = load_file(other / "diffusion_pytorch_model.safetensors")
    weights["encoder.conv_in.conv.bias"] += 1
    save_file(weights, other / "diffusion_pytorch_model.safetensors")
    assert encode("musubi", "--skip-existing", "-m", other) == []
    assert encode("musubi", "--update", "-m", other) == [A, PICTURE, B]
    assert encode("musubi", "--update", "-m", other) == []
    first, *rest = lines()[-3:]
    first["source"]["sha256"] = None
    Path("out", NAME).write_text("".join(json.dumps(line) + "\n" for line in (first, *rest)))
    assert encode("musubi", "--update", "-m", other) == [A]


def test_a_clip_that_fails_leaves_its_old_cache(folder: Path, encode: Encode) -> None:
    encode("musubi")
    before = files()
    (folder / "a.mp4").write_text("no video")
    assert encode("musubi", "--force", "--frames", 2, status=1) == [PICTURE, "sub/b_00000-005_0032x0024_hv.safetensors"]
    assert files()[A] == before[A]
    assert lines()[-3]["error"].startswith("clips/a.mp4: not a readable video")
    assert [*Path("out").rglob(".vae3d-*")] == []


@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize("to", OTHERS)
def test_a_damaged_file_of_ours_is_made_again_and_found_by_verify(encode: Encode, to: str) -> None:
    encode(to)
    before, path = files(), Path("out", A if to == "musubi" else "a.latent")
    whole = path.read_bytes()
    for damaged in (whole[:-5], whole[:-4] + b"\xff" * 4, b"", bytes(99)):
        path.write_bytes(damaged)
        result = run("info", "--verify", "out")
        assert result.exit_code == 1
        assert f"vae3d: error: {path}: " in result.stderr
        assert encode(to, "--skip-existing") == [path.name]
        assert files() == before
        assert run("info", "--verify", "out").exit_code == 0


@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize("known", [True, False])
@pytest.mark.parametrize("name", [A, "a_00000-005_0016x0016_hv.safetensors", "a_0016x0016_hv.safetensors"])
def test_a_cache_that_musubi_made_is_never_replaced_unless_asked_for(encode: Encode, known: bool, name: str) -> None:
    encode("musubi")
    if not known:
        Path("out", NAME).unlink()
    Path("out", A).unlink()
    save_file({CACHE_NAME: LATENTS}, Path("out", name), CACHE)
    others = files()
    assert encode("musubi", "--skip-existing") == []
    assert files() == others
    assert encode("musubi", "--skip-existing", "--force", "-q")[0] == A
    assert name == A or not Path("out", name).exists()


@pytest.mark.usefixtures("folder")
def test_of_several_caches_of_a_clip_none_is_taken_for_ours_and_force_makes_one(
    encode: Encode, hunyuanvideo_folder: Path
) -> None:
    encode("musubi")
    other = Path("out/a_00000-005_0030x0020_hv.safetensors")
    for path in (
        other,
        Path("out/a_00004-005_0030x0020_hv.safetensors"),
        Path("out/aa_00000-005_0030x0020_hv.safetensors"),
    ):
        save_file({CACHE_NAME: LATENTS}, path, CACHE)
    before = files()
    arguments = ("encode", "clips", "-r", "-o", "out", "-m", hunyuanvideo_folder, "--format", "musubi")
    result = run(*arguments, "--skip-existing")
    assert "1 one of several caches, 2 up to date" in result.stderr
    assert files() == before
    assert len(run(*arguments, "--force", "-q").stdout.splitlines()) == 3
    assert sorted(files()) == sorted(set(before) - {other.name}), "those of another part, or another clip, stay"


def test_without_a_manifest_a_latent_file_says_what_it_is_and_a_cache_does_not(
    folder: Path, encode: Encode, hunyuanvideo_folder: Path
) -> None:
    for to, redone in (("comfyui", ["a.latent", "picture.latent", "sub/b.latent"]), ("musubi", [])):
        encode(to)
        Path("out", NAME).unlink()
        assert encode(to, "--skip-existing") == []
        assert encode(to, "--skip-existing", "--frames", 2) == []
        assert encode(to, "--update", "--frames", 2) == redone
    arguments = ("encode", folder / "a.mp4", "-m", hunyuanvideo_folder, "--format", "comfyui", "--update", "-q")
    assert run(*arguments).stdout
    assert run(*arguments).stdout == ""
    assert run(*arguments, "--frames", 1).stdout


@pytest.mark.parametrize("to", OTHERS)
def test_verify_compares_with_the_manifest_and_counts_what_others_wrote(encode: Encode, to: str) -> None:
    encode(to)
    save_file({CACHE_NAME: LATENTS}, "out/other_00000-009_0032x0024_hv.safetensors", CACHE)
    save_file({"latent_tensor": LATENTS[None]}, "out/other.latent")
    table = run("info", "--verify", "out").stdout.splitlines()
    assert [line.split()[-1] for line in table[1:]] == ["3", "0", "2"]
    path = Path("out", A if to == "musubi" else "a.latent")
    assert run("info", "--verify", path).exit_code == 0
    data = path.read_bytes()
    path.write_bytes(data[:-4] + bytes(4))
    assert f"{path}: is not what the manifest says was written" in run("info", "--verify", "out").stderr
    path.unlink()
    assert f"{path}: No such file" in run("info", "--verify", "out").stderr


@pytest.mark.parametrize("stem", ["a", "a_b", "a_00000-009", "a_0032x0024", "a_0032x0024_hv", "two\nlines", "_", "ä ö"])
@pytest.mark.parametrize("num_latent_frames", [1, 4])
@pytest.mark.parametrize("start", [0, 7, 123456])
def test_a_name_leads_back_to_its_stem_and_first_frame(stem: str, num_latent_frames: int, start: int) -> None:
    header = LatentsHeader(
        model="", latent_space="", encoder_sha256="", posterior="mode", num_frames=num_latent_frames * 4 - 3,
        height=20, width=30000, rate=Fraction(1), strategy={}, software="",
    )  # fmt: skip
    name = musubi_name(stem, header, (16, num_latent_frames, 3, 4), start=start)
    assert (stem, start if num_latent_frames > 1 else None) in list(musubi_names(name))


@pytest.mark.parametrize(
    "name", ["a.safetensors", "a_hv.safetensors", "a_0032x0024_wan.safetensors", "a_hv_te.safetensors"]
)
def test_other_names_are_no_caches(name: str) -> None:
    assert list(musubi_names(name)) == []


def test_workers_write_the_same_and_replace_the_same(encode: Encode, small_checkpoint: Path) -> None:
    encode("musubi", "--frames", 3, "-q")
    assert encode("musubi", "--skip-existing", "--workers", 2, "-q") == []
    assert sorted(encode("musubi", "--update", "--workers", 2, "-q")) == [A, PICTURE, B]
    several, entries = files(), {line["output"]: line.get("replaces", []) for line in lines()[3:]}
    assert entries == {A: ["a_00000-005_0030x0020_hv.safetensors"], PICTURE: [], B: []}
    assert encode("musubi", "--skip-existing", "--workers", 2, "-q") == []
    assert encode("musubi", "--force", "-q") == [A, PICTURE, B]
    assert files() == several
    arguments = ("encode", "clips", "-r", "-o", "none", "-m", small_checkpoint, "--workers", 2)
    assert_failed(run(*arguments, "--format", "comfyui"), 2, "--format comfyui with the model small.safetensors: its")
