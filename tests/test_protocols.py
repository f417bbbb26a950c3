"""The protocols of papers: which frames and which pixels of a clip are measured, and what is said of it."""

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from tests.clips import moving_frames, write_clip
from tests.commands import assert_failed, json_lines, run
from tests.test_reading import ONE, read, rgb_frames, shown, write_timed
from vae3d_cli.cli.parse import parse_protocol
from vae3d_cli.codec import EncodeOptions, roundtrip_video
from vae3d_cli.errors import VideoError
from vae3d_cli.geometry import PROTOCOLS, FrameRange
from vae3d_cli.video import ReadOptions
from vae3d_cli.weights import Model


def lossless(path: Path, frames: list[NDArray[np.uint8]]) -> Path:
    """A clip of these frames, which are read as they are."""
    _, height, width = frames[0].shape
    return write_clip(
        path,
        len(frames),
        width,
        height,
        codec="libx264rgb",
        pix_fmt="rgb24",
        options={"qp": "0"},
        frames=rgb_frames(frames),
    )


def moving(path: Path, num_frames: int, width: int, height: int) -> Path:
    """A lossless clip of moving colours."""
    return lossless(path, moving_frames(num_frames, width, height))


def by_torchvision(rgb: NDArray[np.uint8], width: int, height: int) -> NDArray[np.uint8]:
    """The frame after torchvision's Resize of the side that decides, by Pillow, and its CenterCrop."""
    _, whole_height, whole_width = rgb.shape
    scaled_height, scaled_width = height, int(height * whole_width / whole_height)
    if scaled_width < width:
        scaled_height, scaled_width = int(width * whole_height / whole_width), width
    image = Image.fromarray(rgb.transpose(1, 2, 0)).resize((scaled_width, scaled_height), Image.Resampling.BILINEAR)
    top, left = round((scaled_height - height) / 2.0), round((scaled_width - width) / 2.0)
    return np.asarray(image).transpose(2, 0, 1)[:, top : top + height, left : left + width]


@pytest.mark.parametrize(("width", "height"), [(256, 256), (640, 360)])
@pytest.mark.parametrize(
    "source", [(854, 480), (480, 854), (301, 257), (257, 301), (257, 611), (160, 120), (120, 161), (700, 700)]
)
def test_frames_are_resized_to_cover_the_size_and_their_centre_is_kept(
    tmp_path: Path, source: tuple[int, int], width: int, height: int
) -> None:
    # Noise, of which every filter makes something else.
    noise = np.random.default_rng(0).integers(0, 256, (2, 3, *source[::-1]), np.uint8)
    frames, info, _ = read(lossless(tmp_path / "a.mp4", list(noise)), cover=(width, height))
    assert (info.width, info.height) == (width, height)
    for frame, rgb in zip(frames, noise, strict=True):
        expected = by_torchvision(rgb, width, height)
        assert frame.rgb.shape == expected.shape
        # Pillow rounds between the two directions and FFmpeg its coefficients; bicubic differs by 2.5 to 12.
        assert np.abs(frame.rgb.astype(int) - expected).mean() < 0.5


@pytest.mark.parametrize(
    ("source", "cover", "left", "top"),
    [
        ((256, 256), (256, 256), 0, 0),
        ((300, 256), (256, 256), 22, 0),
        ((301, 256), (256, 256), 22, 0),  # 22.5
        ((303, 256), (256, 256), 24, 0),  # 23.5
        ((256, 303), (256, 256), 0, 24),
        ((640, 480), (640, 360), 0, 60),
        ((700, 360), (640, 360), 30, 0),
    ],
)
def test_where_nothing_is_resized_the_pixels_are_those_of_the_source(
    tmp_path: Path, source: tuple[int, int], cover: tuple[int, int], left: int, top: int
) -> None:
    frames, _, notes = read(moving(tmp_path / "a.mp4", 2, *source), cover=cover)
    for frame, rgb in zip(frames, moving_frames(2, *source), strict=True):
        assert np.array_equal(frame.rgb, rgb[:, top : top + cover[1], left : left + cover[0]])
    assert notes == ()


def test_a_lying_clip_is_cut_upright_and_its_pixels_keep_their_shape(tmp_path: Path) -> None:
    a, b, c, d = 0, 1, -1, 0
    matrix = (a * ONE, b * ONE, 0, c * ONE, d * ONE, 0, 0, 0, 1 << 30)
    path = write_timed(tmp_path / "a.mp4", Fraction(1, 30), [0, 1], [1, 1], matrix, aspect=2)
    frames, info, _ = read(path, cover=(24, 20))
    for frame, rgb in zip(frames, moving_frames(2, 32, 24), strict=True):
        assert np.array_equal(frame.rgb, shown(rgb, a, b, c, d)[:, 6:26])
    assert info.sample_aspect_ratio == read(path)[1].sample_aspect_ratio != 1


def test_a_pixel_stays_square_although_the_size_is_rounded(tmp_path: Path) -> None:
    assert read(moving(tmp_path / "a.mp4", 1, 854, 480), cover=(256, 256))[1].sample_aspect_ratio == 1


def test_smaller_frames_are_enlarged_with_a_note(tmp_path: Path) -> None:
    _, _, notes = read(moving(tmp_path / "a.mp4", 1, 160, 120), cover=(256, 256))
    assert notes == (f"{tmp_path / 'a.mp4'}: its frames were enlarged, from 160x120 to 341x256",)
    assert read(moving(tmp_path / "b.mp4", 1, 700, 520), cover=(256, 256))[2] == ()


@pytest.mark.parametrize("name", PROTOCOLS)
def test_a_protocol_is_named_after_what_it_measures(name: str) -> None:
    protocol = parse_protocol(name)
    assert protocol is not None
    assert name == f"{protocol.num_frames}x{protocol.height}x{protocol.width}"


def test_a_protocol_fixes_frames_and_size_and_nothing_else(tmp_path: Path, small: Model) -> None:
    clip = moving(tmp_path / "a.mp4", 20, 320, 180)
    options = EncodeOptions(posterior="sample", seed=3, reading=ReadOptions(size=(32, 32), allow_damaged=True))
    by_hand = EncodeOptions(
        posterior="sample",
        seed=3,
        frames=FrameRange(0, 17),
        reading=ReadOptions(cover=(256, 256), allow_damaged=True),
    )
    result, expected = (
        roundtrip_video(clip, small, chosen) for chosen in (options.by(PROTOCOLS["17x256x256"]), by_hand)
    )
    assert (result.num_frames, result.header.width, result.header.height) == (17, 256, 256)
    assert result.fidelity.by_name() == expected.fidelity.by_name()
    assert (result.protocol, expected.protocol) == ("17x256x256", None)


def test_a_clip_of_just_as_many_frames_is_measured_and_one_less_is_an_error(tmp_path: Path, small: Model) -> None:
    options = EncodeOptions().by(PROTOCOLS["17x256x256"])
    assert roundtrip_video(moving(tmp_path / "a.mp4", 17, 64, 64), small, options).num_frames == 17
    clip = moving(tmp_path / "b.mp4", 16, 64, 64)
    with pytest.raises(VideoError, match=r"b.mp4: has only 16 of the 17 frames that --protocol 17x256x256 takes;"):
        roundtrip_video(clip, small, options)


def test_the_report_names_the_protocol(tmp_path: Path, small_checkpoint: Path) -> None:
    clip = moving(tmp_path / "a.mp4", 17, 64, 64)
    arguments = ("roundtrip", clip, "-m", small_checkpoint, "-q")
    (report,) = json_lines(run(*arguments, "--protocol", "17x256x256", "--json"))
    assert report["protocol"] == "17x256x256"
    assert (report["num_frames"], report["width"], report["height"]) == (17, 256, 256)
    assert json_lines(run(*arguments, "--json"))[0]["protocol"] is None
    table = " ".join(run(*arguments, "--protocol", "17x256x256").stdout.split())
    assert table.startswith(f"{clip} through small.safetensors, by 17x256x256 PSNR")


def test_of_several_clips_those_too_short_are_named_and_the_others_measured(
    tmp_path: Path, small_checkpoint: Path
) -> None:
    clips = [moving(tmp_path / f"{name}.mp4", frames, 64, 64) for name, frames in (("a", 17), ("b", 9), ("c", 18))]
    latents = tmp_path / "latents"
    arguments = ("--protocol", "17x256x256", "-m", small_checkpoint, "--latents", latents, "-q")
    result = run("roundtrip", *clips, *arguments)
    assert result.exit_code == 1
    header, *rows = (line.split("  ")[0] for line in result.stdout.splitlines())
    assert header == "clip, by 17x256x256"
    assert rows == [str(clips[0]), str(clips[2]), "mean of 2 clips, by 17x256x256"]
    assert f"{clips[1]}: has only 9 of the 17 frames" in result.stderr
    assert sorted(path.name for path in latents.iterdir()) == ["a.safetensors", "c.safetensors"]


@pytest.mark.parametrize("other", [("--frames", "17"), ("--size", "256x256"), ("--fps", "30")])
def test_what_a_protocol_fixes_cannot_be_given_beside_it(tmp_path: Path, other: tuple[str, str]) -> None:
    result = run("roundtrip", tmp_path / "missing.mp4", "--protocol", "17x256x256", *other)
    assert_failed(result, 2, f"--protocol 17x256x256: fixes the frames and their size; leave {other[0]} out")


def test_an_unknown_protocol_is_called_wrong_and_the_known_ones_are_named(tmp_path: Path) -> None:
    result = run("roundtrip", tmp_path / "missing.mp4", "--protocol", "17x256")
    assert_failed(result, 2, "there is no such protocol; use 17x256x256, 33x256x256, 33x360x640")
