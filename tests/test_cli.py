"""The commands as a user and a script see them."""

import csv
import json
import os
import shutil
import subprocess
import sys
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors import safe_open

from tests.clips import NTSC, read_back, write_clip
from tests.commands import PATIENCE_SECONDS, assert_failed, json_lines, run, run_bytes
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
        assert a.metadata() == {
            key: text for key, text in b.metadata().items() if key not in ("source", "source_sha256")
        }


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
    figures = {"pooled", "first", "position_1", "position_2", "position_3", "position_4"}
    assert set(report["metrics"]["psnr"]) == {"mean", "min", "worst_frame", "per_frame", *figures}
    assert len(report["metrics"]["ssim"]["per_frame"]) == 6
    assert report["metrics"]["psnr_temporal"]["per_frame"][0] is None
    assert report["metrics"]["ms_ssim"] is None
    assert report["absent"]["ms_ssim"] == "needs frames of at least 176x176"
    assert report["bits_per_pixel"] == 16 * 3 * 3 * 4 * 32 / (6 * 32 * 24)
    assert set(report["seconds"]) == {"load", "encode", "decode", "total"}
    assert report["outputs"] == {"recon": None, "compare": None, "latents": None, "report": None, "csv": None}
    assert (report["gate"], report["gates"]) == ({"passed": True, "missed": []}, [])


def test_a_missed_gate_is_status_3_and_named(clip: Path) -> None:
    assert run("roundtrip", clip, "--fail-under", "psnr=5", "--fail-under", "ssim=0.1").exit_code == 0
    missed = run("roundtrip", clip, "--fail-under", "psnr=99", "--fail-under", "ssim=0.1", "--json", "-q")
    assert missed.exit_code == 3
    report = json.loads(missed.stdout)
    gates, psnr = report["gates"], report["metrics"]["psnr"]["mean"]
    assert report["gate"] == {"passed": False, "missed": ["psnr"]}
    expected = {"metric": "psnr", "value": psnr, "threshold": 99.0, "side": "under", "passed": False, "absent": None}
    assert gates[0] == expected
    assert (gates[1]["metric"], gates[1]["passed"]) == ("ssim", True)
    assert missed.stderr == f"vae3d: error: gate missed: psnr {psnr:.2f} < 99 (tiny, {clip})\n"
    assert run("roundtrip", clip, clip.parent / "none.mp4", "--fail-under", "psnr=99").exit_code == 1


def test_an_absent_figure_misses_its_gate_and_says_why(tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "clip.mp4", 1, 16, 16)
    gates = ("--fail-under", "ms_ssim=0.5", "--fail-under", "psnr.position_1=1")
    missed = run("roundtrip", clip, *gates, "--json", "-q")
    assert missed.exit_code == 3
    report = json.loads(missed.stdout)
    assert report["gate"]["missed"] == ["ms_ssim", "psnr.position_1"]
    assert [gate["value"] for gate in report["gates"]] == [None, None]
    assert report["gates"][0]["absent"] == "needs frames of at least 176x176"
    assert missed.stderr.splitlines() == [
        f"vae3d: error: gate missed: ms_ssim is absent: needs frames of at least 176x176 (tiny, {clip})",
        f"vae3d: error: gate missed: psnr.position_1 is absent: needs a clip of 2 frames (tiny, {clip})",
    ]


def test_every_frame_has_a_row_in_the_table(tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "clip.mp4", 6, stamps=(Fraction(1, 100), [0, 10, 30, 31, 32, 50]))
    report = json_lines(run("roundtrip", clip, "--csv", tmp_path / "frames.csv", "--json", "--per-frame"))[0]
    rows = list(csv.DictReader((tmp_path / "frames.csv").read_text().splitlines()))
    assert report["outputs"]["csv"] == str(tmp_path / "frames.csv")  # type: ignore[index]
    assert [row["frame"] for row in rows] == list("012345")
    assert [float(row["seconds"]) for row in rows] == [0, 0.1, 0.3, 0.31, 0.32, 0.5]
    metrics: dict[str, Any] = report["metrics"]  # type: ignore[assignment]
    for name in ("psnr", "psnr_luma", "ssim", "psnr_temporal"):
        cells = [row[name] for row in rows]
        for cell, value in zip(cells, metrics[name]["per_frame"], strict=True):
            assert (cell == "") if value is None else float(cell) == pytest.approx(value, abs=1e-6)
    assert {row["ms_ssim"] for row in rows} == {""}


def test_the_comparison_is_a_video_of_three_panels_with_the_same_times(tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "clip.mkv", 6, 64, 48, codec="libx264rgb", pix_fmt="rgb24", options={"qp": "0"})
    paths = {name: tmp_path / f"{name}.mkv" for name in ("recon", "compare")}
    result = run("roundtrip", clip, "-o", paths["recon"], "--compare", paths["compare"], "--lossless")
    assert result.exit_code == 0, result.stderr
    originals, times = read_back(clip)
    recon, _ = read_back(paths["recon"])
    compared, compared_times = read_back(paths["compare"])
    assert compared_times == pytest.approx(times, abs=1e-3)
    for original, other, frame in zip(originals, recon, compared, strict=True):
        assert frame.shape == (48, 192, 3)
        below = slice(24, None)  # the labels lie above
        assert np.array_equal(frame[below, :64], original[below])
        assert np.array_equal(frame[below, 64:128], other[below])
        difference = np.abs(original.astype(int) - other.astype(int))[below]
        assert np.array_equal(frame[below, 128:], np.minimum(8 * difference, 255))
    for panel in range(3):
        assert (compared[0][:16, 64 * panel : 64 * panel + 32] > 200).any(), "a label is there"


def test_clips_and_models_are_compared_in_one_table(tmp_path: Path, small_checkpoint: Path) -> None:
    clips = [write_clip(tmp_path / f"{name}.mp4", 3) for name in "ab"]
    models = ("-m", "tiny", "-m", small_checkpoint)
    compared = run("roundtrip", *clips, *models, "--csv", tmp_path / "out")
    assert compared.exit_code == 0, compared.stderr
    header, *rows = (line.split() for line in compared.stdout.splitlines())
    assert header == ["clip", "model", "PSNR", "worst", "first", "SSIM", "MS-SSIM", "changes", "still", "frames/s"]
    own = str(small_checkpoint)
    assert [row[:2] for row in rows[:4]] == [[str(clip), model] for model in ("tiny", own) for clip in clips]
    assert [row[:5] for row in rows[4:]] == [["mean", "of", "2", "clips", model] for model in ("tiny", own)]
    psnr = [float(row[2]) for row in rows[:4]] + [float(row[5]) for row in rows[4:]]
    assert psnr[4:] == pytest.approx([sum(psnr[:2]) / 2, sum(psnr[2:4]) / 2], abs=0.01)
    names = {f"{clip}.{model}.csv" for clip in "ab" for model in ("tiny", small_checkpoint.stem)}
    assert {path.name for path in (tmp_path / "out").iterdir()} == names
    reports = json_lines(run("roundtrip", *clips, *models, "--json"))
    assert [report["metrics"]["psnr"]["mean"] for report in reports] == pytest.approx(psnr[:4], abs=0.01)  # type: ignore[index]


def test_a_table_holds_what_was_done_where_a_clip_fails(tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "a.mp4", 2)
    (tmp_path / "b.mp4").write_text("no video")
    result = run("roundtrip", clip, tmp_path / "b.mp4")
    assert result.exit_code == 1
    assert [line.split()[0] for line in result.stdout.splitlines()] == ["clip", str(clip)]


def test_standard_input_goes_through_one_model() -> None:
    assert_failed(run("roundtrip", "-", "-m", "tiny", "-m", "other"), 2, "standard input is read once")


def test_the_environment_names_one_model_for_a_roundtrip(
    clip: Path, small_checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spaced = tmp_path / "my models" / "a b.safetensors"
    spaced.parent.mkdir()
    shutil.copy(small_checkpoint, spaced)
    monkeypatch.setenv("VAE3D_MODEL", str(spaced))
    assert json_lines(run("roundtrip", clip, "--json"))[0]["model"] == spaced.name
    assert json_lines(run("roundtrip", clip, "--json", "-m", "tiny"))[0]["model"] == "tiny"
    monkeypatch.setenv("VAE3D_MODEL", "")
    assert json_lines(run("roundtrip", clip, "--json"))[0]["model"] == "tiny"


def test_a_model_that_cannot_be_loaded_stops_no_other(clip: Path, tmp_path: Path) -> None:
    none = tmp_path / "none.safetensors"
    for models in ((none, "tiny"), ("tiny", none)):
        result = run("roundtrip", clip, "-m", models[0], "-m", models[1])
        assert result.exit_code == 1
        assert str(none) in result.stderr
        assert [line.split()[:2] for line in result.stdout.splitlines()] == [["clip", "model"], [str(clip), "tiny"]]


def test_several_inputs_share_a_folder_and_one_that_fails_stops_no_other(tmp_path: Path) -> None:
    clips = [write_clip(tmp_path / f"{name}.mp4", 2) for name in "ab"]
    result = run("encode", clips[0], tmp_path / "none.mp4", clips[1], "-o", tmp_path / "out")
    assert result.exit_code == 1
    assert result.stdout.splitlines() == [str(tmp_path / "out" / f"{name}.safetensors") for name in "ab"]
    assert f"1 of 3 inputs failed: {tmp_path / 'none.mp4'}" in result.stderr
    assert len(json_lines(run("encode", *clips, "-o", tmp_path / "out", "--json", "-f"))) == 2


def test_a_checkpoint_that_cannot_be_found_must_be_named_to_decode(clip: Path, small_checkpoint: Path) -> None:
    assert run("encode", clip, "-m", small_checkpoint).exit_code == 0
    latents = clip.with_suffix(".safetensors")
    assert_failed(run("decode", latents), 1, f"vae3d decode {latents} -m PATH/small.safetensors")
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


def test_the_environment_names_the_model_of_a_file_whose_own_cannot_be_found(
    clip: Path, small_checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert run("encode", clip, "-m", small_checkpoint).exit_code == 0
    latents = clip.with_suffix(".safetensors")
    monkeypatch.setenv("VAE3D_MODEL", str(small_checkpoint))
    result = run("decode", latents)
    assert result.exit_code == 0, result.stderr
    assert f"cannot find small.safetensors, which encoded it; decoded with {small_checkpoint} instead" in result.stderr
    monkeypatch.setenv("VAE3D_MODEL", "")
    assert_failed(run("decode", latents, "-f"), 1, "cannot find the checkpoint small.safetensors")
    monkeypatch.setenv("VAE3D_MODEL", "tiny")
    assert_failed(run("decode", latents, "-f"), 1, "its latent space is 'small/1' and that of tiny is 'tiny/1'")
    assert run("encode", clip, "-m", "tiny", "-f").exit_code == 0
    monkeypatch.setenv("VAE3D_MODEL", str(small_checkpoint))
    (decoded,) = json_lines(run("decode", latents, "-f", "--json"))
    assert decoded["model"] == "tiny"


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
    result = subprocess.run(["bash", "-c", command], capture_output=True, check=True, timeout=PATIENCE_SECONDS)
    assert json.loads(result.stdout)["num_frames"] == 6
