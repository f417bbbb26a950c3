"""Lists of other files are refused before anything that they name is opened."""

import contextlib
import ctypes
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.clips import write_clip
from tests.commands import assert_failed, run
from tests.test_audio import write_sounding
from vae3d_cli.video.opening import _formats

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="inotify sees what is opened")

_IN_OPEN = 0x20
LISTS = {
    "a.m3u8": "#EXTM3U\n#EXT-X-VERSION:3\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\n{path}\n#EXT-X-ENDLIST\n",
    "a.ffconcat": "ffconcat version 1.0\nfile '{path}'\n",
    "a.mp4": "ffconcat version 1.0\nfile '{path}'\n",  # the name says nothing
    "a.sdp": "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=video 5004 RTP/AVP 96\n"
    "a=rtpmap:96 H264/90000\n",
}


@contextlib.contextmanager
def opened(path: Path) -> Iterator[list[int]]:
    """Watch whether a file is opened within the context: the list is empty afterwards if not."""
    system = ctypes.CDLL(None, use_errno=True)
    watch = system.inotify_init1(os.O_NONBLOCK)
    assert watch >= 0
    assert system.inotify_add_watch(watch, os.fsencode(path), _IN_OPEN) >= 0
    count: list[int] = []
    yield count
    with contextlib.suppress(BlockingIOError):
        count.append(len(os.read(watch, 4096)) // 16)
    os.close(watch)


def test_opening_is_seen(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "a.ts")
    with opened(path) as count:
        path.read_bytes()
    assert count


@pytest.mark.parametrize("name", LISTS)
@pytest.mark.parametrize("command", ["encode", "roundtrip", "info"])
def test_nothing_that_a_playlist_names_is_opened(tmp_path: Path, command: str, name: str) -> None:
    target = write_clip(tmp_path / "target.ts")
    (tmp_path / name).write_text(LISTS[name].format(path=target))
    with opened(target) as count:
        assert_failed(run(command, tmp_path / name), 1, f"{name}: this is a playlist; give the files that it names")
    assert not count


@pytest.mark.parametrize("name", LISTS)
def test_nothing_that_a_playlist_names_is_opened_for_its_sound(tmp_path: Path, name: str) -> None:
    clip = write_clip(tmp_path / "clip.mp4")
    run("encode", clip)
    target = write_sounding(tmp_path / "target.ts")
    (tmp_path / name).write_text(LISTS[name].format(path=target))
    with opened(target) as count:
        result = run("decode", tmp_path / "clip.safetensors", "--audio", tmp_path / name)
        assert_failed(result, 1, f"{name}: this is a playlist; give the files that it names")
    assert not count


def test_all_other_formats_may_be_opened() -> None:
    formats = set(_formats().split(","))
    assert {"matroska", "mov", "mpegts", "avi", "yuv4mpegpipe", "h264", "gif", "png_pipe", "flv", "mp3"} <= formats
    assert not {"hls", "concat", "dash", "imf", "sdp"} & formats
