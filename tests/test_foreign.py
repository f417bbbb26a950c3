"""Latent files of other tools: recognised by what is in them, and decoded."""

import os
import pickle
import zipfile
from fractions import Fraction
from pathlib import Path

import pytest
import torch
from hypothesis import given
from safetensors.torch import save, save_file
from torch import Tensor

from tests.clips import read_back
from tests.commands import assert_failed, json_lines, run, run_bytes
from tests.foreign import BY_NAME, CACHE, CACHE_NAME, EXAMPLES, FACTOR, LATENTS, MARKER, Example, random_latents, stored
from tests.fuzz.test_readers import check_one_line, damage, damaged, fuzzed, lengths
from tests.hunyuanvideo import UNEVEN, ours
from vae3d_cli.codec.pixels import to_frames
from vae3d_cli.errors import LatentsError
from vae3d_cli.latents import LatentsHeader, LatentsReader, Told

IMAGE = {key: text for key, text in CACHE.items() if key != "frame_count"}
each = pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: example.name)


@each
def test_a_file_is_known_by_what_is_in_it_and_not_by_its_name(tmp_path: Path, example: Example) -> None:
    with LatentsReader(example.write(tmp_path, "any name"), example.told) as latents:
        assert (latents.format, latents.shape, latents.pts) == (example.format, stored(example).shape, None)
        assert torch.equal(latents.read(0, 3), stored(example))
        assert torch.equal(latents.read(1, 2), stored(example)[:, 1:2])
        header = latents.header
        assert (header.num_frames, header.height, header.width, header.rate) == (9, 24, 32, Fraction(24))
        assert (header.latent_space, header.model, header.scaling_factor) == ("hunyuanvideo", "hunyuanvideo", FACTOR)
        assert header.scaled == bool(example.scaled)
        assert header.posterior == (example.posterior or "unknown")
        assert latents.notes == ()


@each
def test_latents_may_have_an_axis_for_a_batch_or_none(tmp_path: Path, example: Example) -> None:
    def other_rank(tensor: Tensor) -> Tensor:
        return tensor[0].clone() if tensor.ndim == 5 else tensor[None].clone() if tensor.ndim == 4 else tensor

    content = example.content
    if isinstance(content, Tensor):
        changed: object = other_rank(content)
    else:
        assert isinstance(content, dict)
        changed = {name: other_rank(tensor) for name, tensor in content.items()}
    path = Example(**{**vars(example), "content": changed}).write(tmp_path)
    with LatentsReader(path) as latents:
        assert torch.equal(latents.read(0, 3), stored(example))


@each
def test_what_a_file_does_not_say_must_be_told(tmp_path: Path, example: Example) -> None:
    path = example.write(tmp_path)
    with LatentsReader(path, Told(scaled=example.told.scaled)) as latents:
        latents.read(0, 3)
        with pytest.raises(LatentsError, match="does not say how many frames a second it has; give --fps RATE"):
            _ = latents.header
    with LatentsReader(path, Told(rate=Fraction(24))) as latents:
        if example.scaled is None:
            with pytest.raises(LatentsError, match=r"scaling factor .*; give --scaled or --unscaled"):
                _ = latents.header
        else:
            assert latents.header.rate == 24
    if example.scaled is not None:
        with (
            pytest.raises(LatentsError, match=r"known to be (un)?scaled; leave --(un)?scaled out"),
            LatentsReader(path, Told(scaled=not example.scaled)),
        ):
            pass


@pytest.mark.parametrize("scaled", [True, False])
def test_a_tensor_alone_is_what_the_user_says(tmp_path: Path, scaled: bool) -> None:
    told = Told(rate=Fraction(30000, 1001), scaled=scaled)
    with LatentsReader(BY_NAME["c.pt"].write(tmp_path), told) as latents:
        assert (latents.header.scaled, latents.header.rate) == (scaled, Fraction(30000, 1001))


def test_a_comfyui_latent_without_its_marker_must_be_told(tmp_path: Path) -> None:
    save_file({"latent_tensor": LATENTS[None]}, tmp_path / "a.latent")
    with (
        LatentsReader(tmp_path / "a.latent", Told(rate=Fraction(24))) as latents,
        pytest.raises(LatentsError) as raised,
    ):
        _ = latents.header
    assert "give --scaled or --unscaled" in str(raised.value)


def test_a_single_frame_needs_no_rate(tmp_path: Path) -> None:
    save_file({"latents_1x3x4_float32": random_latents(num_frames=1)}, tmp_path / "a_0032x0024_hv.safetensors", IMAGE)
    with LatentsReader(tmp_path / "a_0032x0024_hv.safetensors") as latents:
        assert (latents.header.num_frames, latents.header.rate) == (1, Fraction(25))
    result = run("info", tmp_path / "a_0032x0024_hv.safetensors", "--json")
    assert json_lines(result)[0]["rate"] is None
    assert result.stderr == ""


def test_sizes_are_those_of_the_latents_and_others_are_said(tmp_path: Path) -> None:
    metadata = CACHE | {"width": "1280", "height": "720", "frame_count": "8"}
    save_file({CACHE_NAME: LATENTS}, tmp_path / "a", metadata)
    with LatentsReader(tmp_path / "a") as latents:
        assert (latents.said.num_frames, latents.said.height, latents.said.width) == (9, 24, 32)
        assert [note.removeprefix(f"{tmp_path / 'a'}: ") for note in latents.notes] == [
            "was made of 1280x720, and its latents are of 32x24",
            "says frame_count 8, and its latents are of 9 frames",
        ]


def test_generated_latents_say_their_rate_where_framepack_wrote_it(tmp_path: Path) -> None:
    path = tmp_path / "a_latent.safetensors"
    for fps, rate in (("30", 30), ("0", None), ("fast", None), ("99999999", None)):
        save_file({"latent": LATENTS}, path, {"prompt": "a cat", "embedded_cfg_scale": "10.0", "fps": fps})
        with LatentsReader(path) as latents:
            assert not isinstance(latents.said, LatentsHeader)
            assert (latents.said.rate, latents.said.scaled) == (rate, True)


class Code:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.system, ("touch was-run",)


def as_pickle(content: object, *, legacy: bool = False) -> bytes:
    import io

    out = io.BytesIO()
    torch.save(content, out, _use_new_zipfile_serialization=not legacy)
    return out.getvalue()


def bomb() -> bytes:
    """A compressed `.pt` that is small and holds much."""
    import io

    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data.pkl", pickle.dumps(torch.zeros(1)))
        archive.writestr("archive/data/0", bytes(1 << 24))
    return out.getvalue()


GOOD_PICKLE = as_pickle({"latents": LATENTS})
GOOD_CACHE = save({CACHE_NAME: LATENTS}, CACHE)
NAN = torch.full_like(LATENTS, float("nan"))


def cache(name: str = CACHE_NAME, latents: Tensor = LATENTS, **metadata: str) -> bytes:
    return save({name: latents}, CACHE | metadata)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (as_pickle({"latents": LATENTS, "more": Code()}), "not loaded because loading it would run its code"),
        (as_pickle({"latents": LATENTS, "more": Code()}, legacy=True), "not loaded because loading it would run its"),
        (pickle.dumps(Code()), "not loaded because loading it would run its code"),
        (bomb(), "its parts are larger than itself"),
        (as_pickle(torch.zeros(1).expand(16, 1 << 20, 1 << 10, 1 << 10)), "fewer values than that"),
        (as_pickle({"latents": torch.zeros(16, 1, 2, 2, device="meta")}), "not a plain tensor"),
        (as_pickle({"latents": torch.zeros(16, 1, 2, 2).to_sparse()}), "not a plain tensor"),
        (as_pickle({"latents": [1, 2]}), "not a plain tensor"),
        (as_pickle([LATENTS]), "not a plain tensor"),
        (as_pickle({"state_dict": {"conv.weight": LATENTS}}), "a .pt file without 'latents'"),
        (as_pickle({"latents": LATENTS.double()}), "are float64, expected one of F32"),
        (as_pickle({"latents": LATENTS[None].expand(2, -1, -1, -1, -1).clone()}), "holds 2 clips; take a file of one"),
        (as_pickle(random_latents(32)), "HunyuanVideo's latents have 16 channels, frames"),
        (as_pickle({"latents": random_latents(4)}), "have 16 channels, or 32 of moments"),
        (as_pickle({"latents": NAN}), "latent frames 0 to 2 hold values that are not finite"),
        (as_pickle(torch.zeros(16, 1, 1, 9000)), "beyond any video's"),
        (GOOD_PICKLE[:-10], "damaged or cut short"),
        (GOOD_PICKLE[:200], "damaged or cut short"),
        (cache(architecture="wan"), "of the architecture 'wan'; only those of hunyuan_video, framepack"),
        (save({CACHE_NAME: LATENTS}), "of the architecture ''"),
        (cache("latents_3x4x3_float32"), "not those of its name"),
        (cache("latents_3x3x4_bfloat16"), "not those of its name"),
        (cache(latents=NAN), "not finite"),
        (cache(latents=random_latents(32)), "16 channels"),
        (GOOD_CACHE[:-4], "damaged or cut short"),
        (save({CACHE_NAME: LATENTS, "latents_1x1x1_float16": LATENTS.clone()}, CACHE), "holds 2 latents, latents_1x"),
        (save({f"{CACHE_NAME}\n": LATENTS}, CACHE), "its metadata has no 'format'"),
        (save({"latent": LATENTS[0]}), "only these can be read"),
        (save({"latent": LATENTS}, {"prompt": "a cat"}), "generated by another model than HunyuanVideo"),
        (save({"latent": LATENTS.double()}), "is F64, expected one of"),
        (save({"latent_tensor": torch.zeros(1, 4, 8, 8), **MARKER}), "only these can be read"),
        (save({"latent_tensor": torch.zeros(1, 16, 0, 8, 8), **MARKER}), "only these can be read"),
        (save({"latent_tensor": LATENTS[None], **MARKER}, {"format": "vae3d.latents/1"}), "no 'model'"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)  # fmt: skip
def test_what_is_damaged_or_hostile_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, data: bytes, reason: str
) -> None:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "a.pt"
    path.write_bytes(data)
    with pytest.raises(LatentsError) as raised, LatentsReader(path) as latents:
        latents.read(0, latents.shape[1])
    check_one_line(path, raised.value)
    assert reason in str(raised.value)
    assert not (tmp_path / "was-run").exists()


def test_a_pickle_is_not_read_by_a_torch_that_would_run_its_code(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = BY_NAME["c.pt"].write(tmp_path)
    monkeypatch.setattr(torch, "__version__", "2.5.1+cpu")
    with pytest.raises(LatentsError, match=r"a pickle, which torch 2\.5\.1"), LatentsReader(path):
        pass


@each
@fuzzed(60)
@given(damage, lengths)
def test_any_damage_gives_latents_or_one_line(
    tmp_path: Path, example: Example, patches: list[tuple[float, bytes]], length: float | None
) -> None:
    path = tmp_path / "damaged"
    path.write_bytes(damaged(example.write(tmp_path).read_bytes(), patches, length))
    try:
        with LatentsReader(path, example.told) as latents:
            latents.read(0, latents.shape[1])
    except LatentsError as error:
        check_one_line(path, error)


def options_of(example: Example) -> list[str]:
    return ["--fps", "30000/1001", *(["--unscaled"] if example.scaled is None else [])]


@each
def test_decode_gives_the_frames_of_the_unscaled_latents(
    tmp_path: Path, hunyuanvideo_folder: Path, example: Example
) -> None:
    path, output = example.write(tmp_path), tmp_path / "out.mkv"
    result = run("decode", path, "-o", output, "-m", hunyuanvideo_folder, "--lossless", *options_of(example))
    assert (result.exit_code, result.stderr) == (0, "")
    frames, times = read_back(output)
    assert [round(float(time) * 30000 / 1001) for time in times] == list(range(9))
    latents = stored(example).float()[None, :16] / (FACTOR if example.scaled else 1)
    expected = list(to_frames(ours(UNEVEN).decode(latents), 24, 32))
    for frame, rgb in zip(frames, expected, strict=True):
        assert (torch.from_numpy(frame).permute(2, 0, 1).int() - rgb.int()).abs().max() <= 1


def test_decode_says_what_it_must_be_told(tmp_path: Path, hunyuanvideo_folder: Path) -> None:
    path = BY_NAME["c.pt"].write(tmp_path)
    before = sorted(tmp_path.iterdir())
    missing = "does not say how many frames a second it has, nor whether the scaling factor is multiplied into its "
    result = run("decode", path, "-m", hunyuanvideo_folder)
    assert_failed(result, 1, f"{path}: {missing}latents; give --fps RATE and --scaled or --unscaled")
    assert_failed(run("decode", path, "-m", hunyuanvideo_folder, "--fps", "24"), 1, "give --scaled or --unscaled")
    assert_failed(run("decode", path, "-m", hunyuanvideo_folder, "--scaled"), 1, "give --fps RATE\n")
    assert_failed(run("decode", path, "--fps", "fast"), 2, "--fps fast")
    assert sorted(tmp_path.iterdir()) == before


def test_decode_reads_other_tools_files_from_a_pipe(tmp_path: Path, hunyuanvideo_folder: Path) -> None:
    for example in (BY_NAME["c_00001_.latent"], BY_NAME["latent-0-7.pt"]):
        data = example.write(tmp_path).read_bytes()
        result = run_bytes("decode", "-", "-o", "-", "-m", hunyuanvideo_folder, "--fps", "24", stdin=data)
        assert (result.returncode, result.stderr) == (0, b"")
        assert result.stdout.startswith(b"\x1aE\xdf\xa3")


def test_ones_own_files_say_themselves_what_they_are(clip: Path, tmp_path: Path) -> None:
    assert run("encode", clip).exit_code == 0
    latents = clip.with_suffix(".safetensors")
    assert_failed(run("decode", latents, "--fps", "24"), 1, "it has 30000/1001 frames per second; leave --fps out")
    assert_failed(run("decode", latents, "--scaled"), 1, "known to be unscaled; leave --scaled out")
    output = tmp_path / "out.mp4"
    assert run("decode", latents, "--fps", "30000/1001", "--unscaled", "-o", output).exit_code == 0


@each
def test_info_says_what_is_known_and_what_is_not(tmp_path: Path, example: Example) -> None:
    path = example.write(tmp_path)
    result = run("info", path, "--json")
    (facts,) = json_lines(result)
    tensor = next(iter(example.content)) if isinstance(example.content, dict) else "tensor"
    assert facts == {
        "input": str(path),
        "type": "latents",
        "format": example.format,
        "latent_space": "hunyuanvideo",
        "posterior": example.posterior,
        "scaled": example.scaled,
        "scaling_factor": FACTOR,
        "num_frames": 9,
        "height": 24,
        "width": 32,
        "rate": None,
        "tensor": tensor,
        "latents_shape": list(stored(example).shape),
        "latents_dtype": "bfloat16" if example.name == "c.pt" else "float32",
        "has_pts": False,
    }
    options = "--fps RATE and --scaled or --unscaled" if example.scaled is None else "--fps RATE"
    assert f"{path}: does not say how many frames a second" in result.stderr
    assert f"; decode and convert take it from {options}\n" in result.stderr
    assert example.format in run("info", path).stdout


def test_info_refuses_what_runs_code(tmp_path: Path) -> None:
    (tmp_path / "a.pt").write_bytes(as_pickle({"latents": Code()}))
    assert_failed(run("info", tmp_path / "a.pt"), 1, "would run its code")
    (tmp_path / "a.zip").write_bytes(bomb()[4:])
    assert_failed(run("info", tmp_path / "a.zip"), 1, "not a readable video")


def test_latents_of_another_tool_are_no_video(tmp_path: Path) -> None:
    path = BY_NAME["c.pt"].write(tmp_path)
    assert_failed(run("encode", path), 1, "a PyTorch file and no video; vae3d decode")


def test_tiny_does_not_decode_latents_of_hunyuanvideo(tmp_path: Path) -> None:
    path = BY_NAME["latent-0-7.pt"].write(tmp_path)
    assert_failed(run("decode", path, "--fps", "24", "-m", "tiny"), 1, "its latent space is 'hunyuanvideo'")
