"""The commands as a user and a script see them."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from safetensors import safe_open

from tests.clips import NTSC, read_back, write_clip
from tests.commands import assert_failed, json_lines, run, run_bytes
from vae3d_cli import __version__
from vae3d_cli.cli.parse import parse_frames
from vae3d_cli.geometry import FrameRange


def test_a_clip_goes_through_encode_and_decode_to_the_default_names(clip: Path) -> None:
    encoded = run("encode", clip)
    assert (encoded.exit_code, encoded.stdout) == (0, f"{clip.with_suffix('.safetensors')}\n")
    assert "not HunyuanVideo's" in encoded.stderr
    decoded = run("decode", clip.with_suffix(".safetensors"))
    assert (decoded.exit_code, decoded.stdout) == (0, f"{clip.with_suffix('.decoded.mp4')}\n")
    assert len(read_back(clip.with_suffix(".decoded.mp4"))[0]) == 6
    assert sorted(path.name for path in clip.parent.iterdir()) == ["clip.decoded.mp4", "clip.mp4", "clip.safetensors"]


def test_a_pipeline_keeps_frames_size_and_rate(tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "clip.mp4", 83, 270, 182)
    encoded = run_bytes("encode", "-", "-o", "-", "--json", stdin=clip.read_bytes())
    assert encoded.returncode == 0, encoded.stderr
    assert json.loads(encoded.stderr.splitlines()[-1])["num_frames"] == 83
    decoded = run_bytes("decode", "-", "-o", "-", stdin=encoded.stdout)
    assert decoded.returncode == 0, decoded.stderr
    video = tmp_path / "out.mkv"
    video.write_bytes(decoded.stdout)
    frames, times = read_back(video)
    assert [frame.shape for frame in frames] == [(182, 270, 3)] * 83
    assert max(abs(time - n / NTSC) for n, time in enumerate(times)) <= 0.0005  # Matroska counts milliseconds
    described = json.loads(run("info", video, "--json").stdout)
    assert (described["num_frames"], described["width"], described["height"]) == (83, 270, 182)
    assert described["rate"] == "30000/1001"


def test_standard_input_gives_the_latents_of_the_file(clip: Path, tmp_path: Path) -> None:
    # The number of threads decides how sums are rounded.
    threads, output = ("--threads", 1), tmp_path / "piped.safetensors"
    piped = run_bytes("encode", "-", "-o", output, *threads, stdin=clip.read_bytes())
    assert piped.returncode == 0, piped.stderr
    assert run("encode", clip, *threads).exit_code == 0
    with safe_open(output, "np") as a, safe_open(clip.with_suffix(".safetensors"), "np") as b:
        assert (a.get_tensor("latents") == b.get_tensor("latents")).all()
        assert a.metadata() == {key: text for key, text in b.metadata().items() if key != "source"}


def test_roundtrip_prints_a_table_and_the_json_of_the_interface(clip: Path) -> None:
    table = run("roundtrip", clip)
    assert table.exit_code == 0
    assert "PSNR" in table.stdout
    assert "SSIM" in table.stdout
    result = run("roundtrip", clip, "--json", "--per-frame", "-q")
    assert result.stderr == ""
    (line,) = result.stdout.splitlines()
    report = json.loads(line)
    assert set(report) >= {
        *("input", "model", "encoder_sha256", "device", "dtype", "strategy", "num_frames", "width", "height", "rate"),
        *("latents_shape", "posterior", "metrics", "seconds", "frames_per_second", "peak_memory_bytes"),
        *("peak_device_bytes", "outputs", "gate"),
    }
    assert report["input"] == str(clip)
    assert (report["model"], report["strategy"]) == ("tiny", {"name": "stream"})
    assert report["latents_shape"] == [16, 3, 3, 4]
    assert set(report["metrics"]["psnr"]) == {"mean", "min", "worst_frame", "pooled", "per_frame"}
    assert len(report["metrics"]["ssim"]["per_frame"]) == 6
    assert set(report["seconds"]) == {"load", "encode", "decode", "total"}
    assert report["outputs"] == {"recon": None, "compare": None, "latents": None, "report": None}
    assert report["gate"] == {"passed": True, "missed": []}


def test_a_missed_gate_is_status_3_and_named(clip: Path) -> None:
    assert run("roundtrip", clip, "--fail-under", "psnr=5", "--fail-under", "ssim=0.1").exit_code == 0
    missed = run("roundtrip", clip, "--fail-under", "psnr=99", "--fail-under", "ssim=0.1", "--json")
    assert missed.exit_code == 3
    assert json.loads(missed.stdout)["gate"] == {"passed": False, "missed": ["psnr"]}
    assert "below --fail-under: psnr" in missed.stderr
    assert run("roundtrip", clip, clip.parent / "none.mp4", "--fail-under", "psnr=99").exit_code == 1


def test_several_inputs_share_a_folder_and_one_that_fails_stops_no_other(tmp_path: Path) -> None:
    clips = [write_clip(tmp_path / f"{name}.mp4", 2) for name in "ab"]
    result = run("encode", clips[0], tmp_path / "none.mp4", clips[1], "-o", tmp_path / "out")
    assert result.exit_code == 1
    assert result.stdout.splitlines() == [str(tmp_path / "out" / f"{name}.safetensors") for name in "ab"]
    assert f"1 of 3 inputs failed: {tmp_path / 'none.mp4'}" in result.stderr
    assert len(json_lines(run("encode", *clips, "-o", tmp_path / "out", "--json", "-f"))) == 2


def test_a_checkpoint_of_ones_own_must_be_named_to_decode(clip: Path, small_checkpoint: Path) -> None:
    assert run("encode", clip, "-m", small_checkpoint).exit_code == 0
    latents = clip.with_suffix(".safetensors")
    assert_failed(run("decode", latents), 1, "say where it is with -m")
    assert run("decode", latents, "-m", small_checkpoint).exit_code == 0
    assert_failed(run("decode", latents, "-m", "tiny", "-f"), 1, "its latent space is 'small/1'")
    assert run("decode", latents, "-m", "tiny", "-f", "--any-model").exit_code == 0


def test_the_environment_names_model_and_device(
    clip: Path, small_checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VAE3D_MODEL", str(small_checkpoint))
    assert json.loads(run("encode", clip, "--json").stdout)["model"] == "small.safetensors"
    monkeypatch.setenv("VAE3D_DEVICE", "cuda:77")
    assert_failed(run("encode", clip, "-f"), 1, "no such CUDA device")


def test_info_prints_a_table_or_json_and_an_error_for_the_rest(clip: Path, tmp_path: Path) -> None:
    assert "30000/1001" in run("info", clip).stdout
    described = run("info", clip, tmp_path / "none.mp4", "--json")
    assert described.exit_code == 1
    assert json_lines(described)[0]["num_frames"] == 6
    assert "none.mp4: No such file or directory" in described.stderr


@pytest.mark.parametrize(
    "name", ["a [final] b.mp4", "-dash.mp4", "a:b.mp4", "%03d.mp4", "ü\n.mp4", os.fsdecode(b"\xff.mp4")]
)
def test_any_file_name_works(clip: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.chdir(clip.parent)
    shutil.copy(clip, name)
    result = run_bytes("encode", "-q", "--", name)
    # A leading dash would be an option to the next program.
    expected = ("./" if name.startswith("-") else "") + Path(name).stem + ".safetensors\n"
    assert (result.returncode, result.stdout, result.stderr) == (0, os.fsencode(expected), b"")
    missing = run_bytes("encode", "-q", "--", "no-" + name)
    assert missing.stderr.count(b"\n") == 1


def test_verbose_names_the_decisions_and_quiet_says_nothing(clip: Path) -> None:
    verbose = run("encode", clip, "-v").stderr
    for word in ("encoder ", "device cpu", "fp32", '"stream"'):
        assert word in verbose
    assert run("encode", clip, "-f", "-q").stderr == ""


def test_version_and_help_answer() -> None:
    assert run("--version").stdout == f"vae3d {__version__}\n"
    for command in ("encode", "decode", "roundtrip", "info"):
        assert run(command, "--help").exit_code == 0


def test_help_imports_nothing_slow() -> None:
    script = "import sys, vae3d_cli.cli; print(*sys.modules)"
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert not {"torch", "av", "huggingface_hub", "numpy", "rich", "safetensors"} & set(result.stdout.split())


@pytest.mark.parametrize(
    ("text", "expected"), [("3:9", FrameRange(3, 9)), ("5", FrameRange(0, 5)), (None, FrameRange())]
)
def test_frames_are_parsed(text: str | None, expected: FrameRange) -> None:
    assert parse_frames(text) == expected


def test_info_reads_standard_input_and_fifos(clip: Path) -> None:
    described = run_bytes("info", "-", "--json", stdin=clip.read_bytes())
    assert json.loads(described.stdout)["num_frames"] == 6
    command = f'"{sys.executable}" -m vae3d_cli roundtrip <(cat "{clip}") --json -q'
    result = subprocess.run(["bash", "-c", command], capture_output=True, check=True, timeout=60)
    assert json.loads(result.stdout)["num_frames"] == 6
