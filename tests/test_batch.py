"""Folders, patterns and lists of clips."""

import errno
import json
import os
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.clips import write_clip
from tests.commands import assert_failed, json_lines, run, run_bytes
from vae3d_cli.batch import Found, Policy, check_clips, find_clips, plan_clips
from vae3d_cli.codec import EncodeOptions


@pytest.fixture
def tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder `clips` in the current one, with three clips and what is none."""
    monkeypatch.chdir(tmp_path)
    clip = write_clip(tmp_path / "clip.mp4", 2)
    for name in ("a.mp4", "sub/b.MP4", "sub/deep.er/c.mp4", ".hidden.mp4", ".git/d.mp4", "sub/notes.txt"):
        path = tmp_path / "clips" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(clip, path)
    clip.unlink()
    return tmp_path / "clips"


def names(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*.safetensors"))


def test_a_folder_is_mirrored_in_the_output(tree: Path) -> None:
    result = run("encode", "clips", "-r", "-o", "out")
    assert result.exit_code == 0, result.stderr
    expected = ["a.safetensors", "sub/b.safetensors", "sub/deep.er/c.safetensors"]
    assert result.stdout.splitlines() == [f"out/{name}" for name in expected]
    assert names(Path("out")) == expected
    assert names(tree) == []


def test_without_an_output_latents_lie_beside_their_clips(tree: Path) -> None:
    assert [line["input"] for line in json_lines(run("encode", ".", "-r", "--json"))] == [
        *("clips/a.mp4", "clips/sub/b.MP4", "clips/sub/deep.er/c.mp4")
    ]
    assert names(tree) == ["a.safetensors", "sub/b.safetensors", "sub/deep.er/c.safetensors"]


def test_several_folders_and_files_share_an_output(tree: Path) -> None:
    shutil.copy(tree / "a.mp4", "one.mp4")
    shutil.copytree(tree / "sub", "other")
    Path("other/b.MP4").rename("other/x.mp4")
    Path("other/deep.er").rename("other/deeper")
    assert run("encode", "one.mp4", "other", tree, "-r", "-o", "out").exit_code == 0
    assert names(Path("out")) == [
        *("a.safetensors", "deeper/c.safetensors", "one.safetensors", "sub/b.safetensors"),
        *("sub/deep.er/c.safetensors", "x.safetensors"),
    ]


@pytest.mark.usefixtures("tree")
def test_a_folder_is_searched_only_if_asked_and_stops_no_other_input() -> None:
    assert_failed(run("encode", "clips"), 1, "clips: Is a directory; give -r to encode the clips in it")
    result = run("encode", "clips", "clips/a.mp4", "-o", "out")
    assert (result.exit_code, result.stdout) == (1, "out/a.safetensors\n")


@pytest.mark.usefixtures("tree")
def test_a_folder_without_clips_is_an_error() -> None:
    Path("none").mkdir()
    assert_failed(run("encode", "none", "-r"), 1, "none: there are no videos or images in it")


def test_the_output_within_a_folder_is_not_searched(tree: Path) -> None:
    (tree / "out").mkdir()
    shutil.copy(tree / "a.mp4", tree / "out" / "reconstruction.mp4")
    assert run("encode", "clips", "-r", "-o", "clips/out").exit_code == 0
    assert len(names(tree / "out")) == 3
    assert run("encode", "clips", "-r", "-o", "clips", "-q").exit_code == 0
    assert "out/reconstruction.safetensors" in names(tree), "it is searched where it is what was asked for"


def test_two_clips_with_one_output_are_status_2_before_any_work(tree: Path) -> None:
    shutil.copy(tree / "a.mp4", tree / "a.mkv")
    message = (
        "a.safetensors: the output of clips/a.mkv and the output of clips/a.mp4 would both be written to this file"
    )
    assert_failed(run("encode", "clips", "-r", "-o", "out"), 2, message)
    assert not Path("out").exists()


def test_links_to_folders_are_not_entered_and_those_to_files_are_followed(tree: Path) -> None:
    (tree / "loop").symlink_to(tree)
    (tree / "self.mp4").symlink_to("self.mp4")
    (tree / "link.mp4").symlink_to("a.mp4")
    (tree / "broken.mp4").symlink_to("gone.mp4")
    os.mkfifo(tree / "pipe.mp4")
    result = run("encode", "clips", "-r", "-o", "out")
    assert result.exit_code == 1
    assert "note: clips: 1 link to a folder is not entered" in result.stderr
    assert "2 of 6 inputs failed: clips/broken.mp4, clips/self.mp4" in result.stderr
    assert [line for line in result.stdout.splitlines() if "link" in line] == ["out/link.safetensors"]


@pytest.mark.usefixtures("tree")
def test_a_folder_that_cannot_be_read_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    scan = os.scandir

    def refuse(folder: Path) -> Iterator[os.DirEntry[str]]:  # root may read everything
        if folder.name == "sub":
            raise PermissionError(errno.EACCES, "Permission denied")
        return scan(folder)

    monkeypatch.setattr(os, "scandir", refuse)
    result = run("encode", "clips", "-r", "-o", "out")
    assert (result.exit_code, result.stdout) == (1, "out/a.safetensors\n")
    assert "clips/sub: Permission denied; what is in this folder is left out" in result.stderr


def test_a_quoted_pattern_is_what_the_shell_makes_of_it(tree: Path) -> None:
    shutil.copy(tree / "a.mp4", tree / "[x].mp4")
    assert run("encode", "clips/[x].mp4", "-q").stdout == "clips/[x].safetensors\n"
    assert run("encode", "clips/**/*.mp4", "-o", "out", "-q").stdout.splitlines() == [
        *("out/[x].safetensors", "out/a.safetensors", "out/c.safetensors")
    ]
    assert_failed(run("encode", "clips/*.mov"), 1, "clips/*.mov: there is no such file, and none that matches it")


def test_pictures_beside_a_video_of_their_name_are_left_out(tree: Path) -> None:
    for name in ("a.JPG", "a.webp", "sub/b.png", "sub/a.png", "c.png"):
        write_clip(tree / name, 1, codec="png", pix_fmt="rgb24", container="image2")
    result = run("encode", "clips", "-r", "-o", "out")
    assert result.exit_code == 0, result.stderr
    expected = ["a", "c", "sub/a", "sub/b", "sub/deep.er/c"]
    assert [line.removeprefix("out/").removesuffix(".safetensors") for line in result.stdout.splitlines()] == expected
    assert "note: clips: left out 3 pictures that have the name of a video in the same folder" in result.stderr
    pattern = run("encode", "clips/a.*", "-o", "out2")
    assert pattern.stdout == "out2/a.safetensors\n"
    assert "note: clips/a.*: left out 2 pictures" in pattern.stderr
    assert run("encode", "clips/*.png", "-o", "out2", "-q").stdout == "out2/c.safetensors\n"
    assert run("encode", "clips/*.JPG", "-o", "out3", "-q").stdout == "out3/a.safetensors\n"
    for inputs in (["clips/a.mp4", "clips/a.JPG"], ["clips/a.mp4", "clips/*.JPG"]):
        assert_failed(
            run("encode", *inputs, "-o", "out4"), 2, "and the output of clips/a.JPG would both be written to this file"
        )


@pytest.mark.usefixtures("tree")
def test_an_output_that_is_no_folder_is_an_error() -> None:
    Path("file").write_text("precious")
    result = run("encode", "clips", "-r", "-o", "file")
    assert result.exit_code == 1
    assert "file is no folder" in result.stderr
    assert "there is no folder none" in run("encode", "clips", "-r", "-o", "none/out").stderr
    assert "only local files are written here" in run("encode", "clips", "-r", "-o", "http://host").stderr
    assert_failed(run("encode", "clips", "-r", "-o", "-"), 2, "standard output takes one clip")


@pytest.mark.usefixtures("tree")
def test_an_existing_output_is_refused_and_the_rest_is_done() -> None:
    Path("out/sub").mkdir(parents=True)
    Path("out/a.safetensors").write_text("precious")
    Path("out/sub/b.safetensors").mkdir()
    result = run("encode", "clips", "-r", "-o", "out", "-q")
    assert (result.exit_code, result.stdout) == (1, "out/sub/deep.er/c.safetensors\n")
    assert (
        "out/a.safetensors: exists already; overwrite it with --force, leave it with --skip-existing" in result.stderr
    )
    assert "out/sub/b.safetensors: is a directory" in result.stderr
    assert Path("out/a.safetensors").read_text() == "precious"
    assert "out/a.safetensors" in run("encode", "clips", "-r", "-o", "out", "-q", "-f").stdout.splitlines()


def test_a_list_names_clips_with_their_places(tree: Path) -> None:
    Path("list.txt").write_bytes(b"\xef\xbb\xbfclips/sub/b.MP4\r\n\n" + bytes(tree / "a.mp4") + b"\n")
    result = run("encode", "--list", "list.txt", "-o", "out")
    assert result.exit_code == 0, result.stderr
    below = tree.relative_to("/")
    assert result.stdout.splitlines() == ["out/clips/sub/b.safetensors", f"out/{below}/a.safetensors"]
    (tree.parent / "elsewhere").mkdir()
    os.chdir(tree.parent / "elsewhere")
    listed = run_bytes("encode", "--list", "-", "-q", "-o", "out", "-r", stdin=b"../clips/sub")
    assert listed.stdout.splitlines() == [b"out/clips/sub/b.safetensors", b"out/clips/sub/deep.er/c.safetensors"]


@pytest.mark.usefixtures("tree")
def test_a_list_of_objects_gives_clips_options_of_their_own() -> None:
    lines: list[dict[str, object]] = [
        {"path": "clips/a.mp4", "output": "x/first", "frames": 1},
        {"path": "clips/a.mp4", "output": "x/second.safetensors", "size": "16x16", "frames": "1:2"},
        {"path": "clips/a.mp4"},
        {"path": "clips/a.mp4", "output": "y/"},
    ]
    Path("list.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    results = json_lines(run("encode", "--list", "list.jsonl", "-o", "out", "--json"))
    assert [(line["output"], line["num_frames"], line["width"]) for line in results] == [
        ("out/x/first", 1, 32),
        ("out/x/second.safetensors", 1, 16),
        ("out/clips/a.safetensors", 2, 32),
        ("out/y/a.safetensors", 2, 32),
    ]


@pytest.mark.usefixtures("tree")
@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("", "names no clips"),
        ("{", "line 1: is no JSON object"),
        ('{"path": 3}', "line 1: names no file"),
        ("-", "line 1: names no file"),
        ('{"path": "a.mp4", "crf": 3}', "line 1: there is no option 'crf'; use path, output, frames"),
        ('{"path": "a.mp4", "frames": "5:3"}', "line 1: --frames 5:3"),
        ('{"path": "a.mp4", "frames": true}', "line 1: frames: give a text"),
        ('{"path": "a.mp4", "deinterlace": 1}', "line 1: deinterlace: give true or false"),
        ('{"path": "a.mp4", "seed": 1}', "line 1: seed: only --posterior sample"),
        ('{"path": "a.mp4", "output": ""}', 'line 1: "output" names no file'),
        ('{"path": "a.mp4", "output": "../x"}', "line 1: the output ../x leads out of out"),
        ('{"path": "clips", "output": "x"}', "line 1: clips is a folder"),
        ('{"path": "clips/a.mp4", "output": "x.mp4"}', "line 1: x.mp4: .mp4 means a video"),
    ],
)
def test_a_line_that_makes_no_sense_is_status_2(line: str, reason: str) -> None:
    Path("list").write_text(line)
    assert_failed(run("encode", "--list", "list", "-r", "-o", "out"), 2, reason)


def test_any_name_goes_through_a_list(tree: Path) -> None:
    odd = [os.fsdecode(b"\xff.mp4"), "two\nlines.mp4", "{.mp4"]
    for name in odd:
        shutil.copy(tree / "a.mp4", name)
    lines = [os.fsencode(odd[0]), *(json.dumps({"path": name}).encode() for name in odd[1:])]
    result = run_bytes("encode", "--list", "-", "-q", "-o", "out", stdin=b"\n".join(lines))
    assert (result.returncode, result.stderr) == (0, b"")
    assert names(Path("out")) == sorted(str(Path(name).with_suffix(".safetensors")) for name in odd)


@pytest.mark.parametrize(
    "line",
    [
        "clips/a.mp4 ",
        '"clips/a.mp4"',
        "'clips/a.mp4'\t",
        "\ufeffclips/a.mp4".encode("utf-16-le"),
        "\ufeffclips/a.mp4\r\n".encode("utf-16-be"),
    ],
    ids=str,
)
@pytest.mark.usefixtures("tree")
def test_a_list_as_editors_and_powershell_write_it(line: str | bytes) -> None:
    Path("list").write_bytes(line if isinstance(line, bytes) else line.encode())
    assert run("encode", "--list", "list", "-q", "-o", "out").stdout == "out/clips/a.safetensors\n"


def test_spaces_and_quotes_are_part_of_a_name_where_there_is_such_a_file(tree: Path) -> None:
    for name in ("b.mp4 ", '"c.mp4"'):
        shutil.copy(tree / "a.mp4", name)
    Path("list").write_text('b.mp4 \n"c.mp4"\n')
    assert run("encode", "--list", "list", "-q", "-o", "out").exit_code == 0
    assert names(Path("out")) == ['"c.safetensors', "b.safetensors"]


@pytest.mark.parametrize(
    ("text", "status"),
    [
        (b'{"path": "\\ud800.mp4"}', 2),
        (b'{"path": "a\\u0000b.mp4"}', 2),
        (b'{"path": ""}', 2),
        (b'{"path": "clips/a.mp4", "output": "\\ud800"}', 2),
        (b'{"path": "clips/a.mp4", "output": "a\\u0000"}', 2),
        (b'{"path": "clips/a.mp4", "output": "' + b"x" * 300 + b'"}', 1),
        (b"a\0b.mp4", 2),
        (b"x" * 300 + b".mp4", 1),
        (b"x" * 5000, 1),
        (b'""', 1),
        (b"\xff\xfe\x00\xd8", 2),
    ],
)
@pytest.mark.usefixtures("tree")
def test_an_absurd_name_in_a_list_is_one_line(text: bytes, status: int) -> None:
    Path("list").write_bytes(text)
    assert_failed(run("encode", "--list", "list", "-q", "-o", "out"), status, "")
    assert "bug" not in run("encode", "--list", "list", "-q", "-o", "out").stderr


def test_pictures_and_videos_that_cannot_be_read_are_named_or_counted(tree: Path) -> None:
    for name in ("p.jxl", "q.heic", "r.vob", "s.jfif", "e.cr2", "f.txt"):
        (tree / name).write_bytes(b"nothing")
    os.mkfifo(tree / "pipe.mp4")
    result = run("encode", "clips", "-r", "-o", "out")
    assert result.exit_code == 1
    assert "note: clips: 2 videos and images in it cannot be read and are left out, first clips/e.cr2" in result.stderr
    for name in ("p.jxl", "q.heic", "r.vob", "s.jfif"):
        assert f"vae3d: error: clips/{name}: " in result.stderr
    assert "f.txt" not in result.stderr


@pytest.mark.usefixtures("tree")
def test_a_missing_list_and_a_call_without_inputs_say_what_to_do() -> None:
    assert_failed(run("encode", "--list", "none"), 1, "none: No such file or directory; check the name of the list")
    assert_failed(run("encode", "-o", "out"), 2, "give videos, images, folders of them with -r, or a --list")


def test_what_failed_is_summed_up_at_the_end_and_the_rest_is_done(tree: Path) -> None:
    (tree / "sub" / "bad.mp4").write_text("no video")
    result = run("encode", "clips", "-r", "gone.mp4", "-o", "out", "-q")
    assert result.exit_code == 1
    assert len(result.stdout.splitlines()) == 3
    *_, bad, summary = result.stderr.splitlines()
    assert bad.startswith("vae3d: error: clips/sub/bad.mp4: not a readable video")
    assert summary == "vae3d: error: 2 of 5 inputs failed: gone.mp4, clips/sub/bad.mp4"


def test_clips_are_planned_by_the_thousand_without_opening_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in "abcde":
        (tmp_path / "clips" / name).mkdir(parents=True)
        for number in range(1000):
            (tmp_path / "clips" / name / f"{number}.mp4").touch()
    out, options = tmp_path / "out", EncodeOptions()
    with monkeypatch.context() as patch:
        patch.setattr("builtins.open", None)
        patch.setattr(os, "open", None)
        began = time.process_time()
        found = find_clips([Found(tmp_path / "clips", Path())], recursive=True, output=out)
        ready, failed = check_clips(plan_clips(found.clips, out, lambda _: options), Policy())
        seconds = time.process_time() - began
    assert (len(ready), failed) == (5000, [])
    assert seconds < 3, "of the order of 0.3"
