"""Output names: folders, kinds of files, standard streams."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.clips import write_clip
from tests.commands import PATIENCE_SECONDS, assert_failed, run, run_bytes
from tests.test_convert import own

COMFYUI = ("--format", "comfyui")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, with a clip, a photo and latents of HunyuanVideo."""
    monkeypatch.chdir(tmp_path)
    write_clip(tmp_path / "clip.mp4", 2)
    write_clip(tmp_path / "photo.png", 1, codec="png", pix_fmt="rgb24", container="image2")
    own(tmp_path, name="l.safetensors")
    return tmp_path


@pytest.mark.parametrize("exists", [True, False])
@pytest.mark.parametrize(
    ("command", "written"),
    [
        ("encode clip.mp4 -o out/", "out/clip.safetensors"),
        ("encode clip.mp4 -o v1.mp4/", "v1.mp4/clip.safetensors"),
        ("convert l.safetensors -o out/ --format vae3d", "out/l.safetensors"),
        ("convert l.safetensors -o out/ --format comfyui", "out/l.latent"),
        ("convert l.safetensors -o out/ --format musubi", "out/l_00000-009_0030x0020_hv.safetensors"),
    ],
)
@pytest.mark.usefixtures("folder")
def test_a_folder_is_one_for_one_input_too(command: str, written: str, exists: bool) -> None:
    words = command.split()
    if exists:
        words = [word.removesuffix("/") for word in words]
        Path(written).parent.mkdir()
    result = run(*words, "-q")
    assert (result.exit_code, result.stdout) == (0, f"{written}\n"), result.stderr
    assert [str(path) for path in Path(written).parent.iterdir()] == [written]
    assert_failed(run(*words), 1, f"{written}: exists already")
    assert run(*words, "--skip-existing").exit_code == 0
    assert json.loads(run(*words, "-f", "--json", "-q").stdout)["output"] == written


@pytest.mark.usefixtures("folder")
def test_a_file_is_no_folder() -> None:
    Path("file").touch()
    for command in (("encode", "clip.mp4"), ("convert", "l.safetensors", *COMFYUI), ("roundtrip", "clip.mp4")):
        assert_failed(run(*command, "-o", "file/"), 1, "file is no folder; name another with -o")


@pytest.mark.usefixtures("folder")
def test_every_output_of_a_roundtrip_may_be_a_folder() -> None:
    outputs = ("-o", "r/", "--compare", "r/", "--latents", "l/", "--csv", "c/", "--report", "p/")
    result = run("roundtrip", "clip.mp4", *outputs, "--json", "-q")
    expected = {
        "recon": "r/clip.mp4",
        "compare": "r/clip.compare.mp4",
        "latents": "l/clip.safetensors",
        "csv": "c/clip.csv",
        "report": "p/report.html",
    }
    assert json.loads(result.stdout)["outputs"] == expected
    assert all(map(Path.exists, map(Path, expected.values())))
    assert_failed(run("roundtrip", "clip.mp4", "-o", "no/r/"), 1, "there is no folder no")
    assert run("decode", "l/clip.safetensors", "-o", "d/", "-q").stdout == "d/clip.decoded.mp4\n"


@pytest.mark.parametrize(
    ("command", "reason"),
    [
        (
            "encode clip.mp4 -o x.mp4",
            "x.mp4: .mp4 means a video, but this output is vae3d latents; name it x.safetensors",
        ),
        ("encode clip.mp4 -o x.PNG", ".png means a picture"),
        ("encode clip.mp4 -o x.pt", ".pt means a PyTorch file"),
        ("encode clip.mp4 -o x.latent", ".latent means ComfyUI latents (--format comfyui)"),
        ("encode clip.mp4 -o memory://bucket/x.mp4", ".mp4 means a video"),
        ("convert l.safetensors -o x.latent --format vae3d", ".latent means ComfyUI latents (--format comfyui)"),
        ("convert l.safetensors -o x.mp4 --format comfyui", "but this output is ComfyUI latents; name it x.latent"),
        ("convert l.safetensors -o x.safetensors --format musubi", "-o x.safetensors: must be a folder"),
        ("encode clip.mp4 -o x.safetensors --format musubi", "-o x.safetensors: must be a folder"),
        ("decode l.safetensors -o x.safetensors", ".safetensors means latents, but this output is a video"),
        ("decode l.safetensors -o x.bin", "unknown kind of video"),
        ("roundtrip clip.mp4 -o x.csv", ".csv means a table, but this output is a video; name it x.mp4"),
        ("roundtrip clip.mp4 --compare x.html", ".html means a web page"),
        ("roundtrip clip.mp4 --latents x.mkv", ".mkv means a video"),
        ("roundtrip clip.mp4 --csv x.json", ".json means JSON"),
        ("roundtrip clip.mp4 --report x.pdf", ".pdf means a PDF, but this output is a web page; name it x.html"),
        ("roundtrip clip.mp4 photo.png --csv all.csv", "--csv all.csv: must be a folder"),
        ("roundtrip clip.mp4 -m tiny -m other -o x.mp4", "-o x.mp4: must be a folder"),
        ("encode clip.mp4 photo.png -o out.mp4", "but has a file's name; write out.mp4/ to make it a folder"),
        ("encode . -r -o all.safetensors", "-o all.safetensors: must be a folder"),
        (
            "encode clip.mp4 x.safetensors",
            "x.safetensors: No such file or directory; if it is the output, write -o",
        ),
        ("decode l.safetensors x.mp4", "x.mp4: No such file or directory; if it is the output, write -o x.mp4"),
    ],
)
def test_a_name_of_another_kind_of_file_is_status_2(folder: Path, command: str, reason: str) -> None:
    before = sorted(folder.iterdir())
    for more in ([], ["-f"]):
        assert_failed(run(*command.split(), *more), 2, reason)
    assert sorted(folder.iterdir()) == before


@pytest.mark.usefixtures("folder")
def test_a_suffix_without_a_meaning_is_taken() -> None:
    for name in ("x", "x.bin", "x.v1.5"):
        assert run("encode", "clip.mp4", "-o", name, "-q").stdout == f"{name}\n"
    assert run("convert", "l.safetensors", "-o", "c.safetensors", *COMFYUI, "-q").exit_code == 0
    assert run("encode", "clip.mp4", "photo.png", "-o", "v1.5", "-q").exit_code == 0
    assert run("roundtrip", "clip.mp4", "--csv", "x.txt", "--report", "x.htm", "-q").exit_code == 0


@pytest.mark.parametrize("name", ["/dev/stdout", "/dev/fd/1", "/proc/self/fd/1", "/dev/../dev//stdout"])
def test_other_names_of_standard_streams_are_the_streams(folder: Path, name: str) -> None:
    (folder / "here").symlink_to("/dev/stdout")
    clip = Path("clip.mp4").read_bytes()
    expected = run_bytes("encode", "-", "-o", "-", "-q", "--threads", 1, stdin=clip).stdout
    source = name.replace("stdout", "stdin").replace("/1", "/0")
    for output in (name, "here"):
        result = run_bytes("encode", source, "-o", output, "--json", "--threads", 1, stdin=clip)
        assert (result.returncode, result.stdout) == (0, expected)
        assert (json.loads(line := result.stderr.splitlines()[-1])["input"], json.loads(line)["output"]) == ("-", "-")
    video = run_bytes("decode", source, "-o", name, "-q", stdin=expected)
    assert b"/dev" not in video.stdout
    described = run_bytes("info", source, "--json", stdin=video.stdout)
    assert json.loads(described.stdout)["num_frames"] == 2
    report = run_bytes("roundtrip", "clip.mp4", "--csv", name)
    assert report.stdout.startswith(b"frame,")
    assert b"PSNR" in report.stderr


def test_a_pipe_that_is_standard_output_is_written_as_that(folder: Path) -> None:
    script = 'mkfifo p && { cat p > read & } && "$0" -m vae3d_cli encode clip.mp4 -q -o p > p && wait'
    done = subprocess.run(["bash", "-c", script, sys.executable], capture_output=True, timeout=PATIENCE_SECONDS)
    assert (done.returncode, done.stderr) == (0, b"")
    assert json.loads(run("info", folder / "read", "--json").stdout)["num_frames"] == 2


@pytest.mark.usefixtures("folder")
def test_the_latents_of_a_photo_become_a_picture_by_default() -> None:
    assert run("encode", "photo.png", "clip.mp4", "-o", "in", "-q").exit_code == 0
    assert run("encode", "clip.mp4", "--frames", 1, "-o", "in/first.safetensors", "-q").exit_code == 0
    inputs = [f"in/{name}.safetensors" for name in ("photo", "clip", "first")]
    names = ["photo.decoded.png", "clip.decoded.mp4", "first.decoded.mp4"]
    assert run("decode", *inputs, "-q").stdout.splitlines() == [f"in/{name}" for name in names]
    assert run("decode", *inputs, "-q", "-o", "out").stdout.splitlines() == [f"out/{name}" for name in names]
    assert Path("out/photo.decoded.png").read_bytes().startswith(b"\x89PNG")
    assert run("decode", inputs[0], "-q", "-o", "x.mp4").stdout == "x.mp4\n"
    assert run("decode", inputs[0], "-q", "--crf", 0).stdout == "in/photo.decoded.mp4\n"
    assert_failed(run("decode", "gone.safetensors"), 1, "gone.safetensors: No such file or directory")
