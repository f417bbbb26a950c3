"""Which model decodes a latents file that was made with a checkpoint of one's own."""

import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from tests.clips import write_clip
from tests.commands import assert_failed, json_lines, run
from vae3d_cli.codec import encode_video
from vae3d_cli.codec.decoders import decoder_of
from vae3d_cli.errors import LatentsError
from vae3d_cli.latents import LatentsReader
from vae3d_cli.weights import Model, read_checkpoint, write_checkpoint


@pytest.fixture
def latents(tmp_path: Path, small: Model, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Latents in `there`, made with `small.safetensors`; the current folder is `here`."""
    (tmp_path / "here").mkdir()
    (tmp_path / "there").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    path = tmp_path / "there" / "clip.safetensors"
    encode_video(write_clip(tmp_path / "clip.mp4", 2), path, small)
    return path


@pytest.mark.parametrize("folder", ["here", "there"])
def test_a_checkpoint_is_found_beside_its_latents_and_in_the_current_folder(
    tmp_path: Path, latents: Path, small_checkpoint: Path, folder: str
) -> None:
    shutil.copy(small_checkpoint, tmp_path / folder)
    result = run("decode", latents)
    assert result.exit_code == 0, result.stderr
    found = "./small.safetensors" if folder == "here" else tmp_path / "there" / "small.safetensors"
    assert f"{latents}: decoded with {found}, found by its name and the hash of its encoder" in result.stderr


def test_a_checkpoint_with_another_encoder_is_passed_over(
    tmp_path: Path, latents: Path, small_checkpoint: Path
) -> None:
    checkpoint = read_checkpoint(small_checkpoint)
    weights = {name: value + name.startswith("encoder.") for name, value in checkpoint.weights.items()}
    write_checkpoint(latents.with_name("small.safetensors"), replace(checkpoint, weights=weights))
    assert_failed(run("decode", latents), 1, f"give its path: vae3d decode {latents} -m PATH/small.safetensors")
    shutil.copy(small_checkpoint, tmp_path / "here")
    result = run("decode", latents)
    assert "decoded with ./small.safetensors" in result.stderr
    shutil.copy(small_checkpoint, latents.parent)  # it is looked at again where it changed
    assert f"decoded with {latents.parent}" in run("decode", latents, "-f").stderr


def test_a_decoder_tuned_for_an_encoder_is_found(latents: Path, small_checkpoint: Path) -> None:
    checkpoint = read_checkpoint(small_checkpoint)
    weights = {name: value * (1 - 0.1 * name.startswith("decoder.")) for name, value in checkpoint.weights.items()}
    write_checkpoint(latents.with_name("small.safetensors"), replace(checkpoint, weights=weights))
    assert json_lines(run("decode", latents, "--json"))[0]["encoder_sha256"] == checkpoint.encoder_sha256


def test_a_pickle_is_not_read_unasked(latents: Path, small_checkpoint: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.save(dict(read_checkpoint(small_checkpoint).weights), latents.with_name("small.safetensors"))
    monkeypatch.setattr("vae3d_cli.codec.decoders.read_checkpoint", lambda _: pytest.fail("it was read"))
    assert_failed(run("decode", latents), 1, "cannot find the checkpoint small.safetensors")


@pytest.mark.parametrize("name", ["..", "no\0name", "x" * 300])
def test_a_name_that_no_file_can_have_is_one_line_of_error(
    tmp_path: Path, latents: Path, small: Model, name: str
) -> None:
    encode_video(tmp_path / "clip.mp4", latents, replace(small, name=name))
    assert_failed(run("decode", latents), 1, f"{latents}: cannot find the checkpoint ")


def test_a_name_that_leads_out_of_the_folder_is_not_looked_for(
    tmp_path: Path, latents: Path, small_checkpoint: Path, small: Model
) -> None:
    shutil.copy(small_checkpoint, tmp_path)
    encode_video(tmp_path / "clip.mp4", latents, replace(small, name="../small.safetensors"))
    assert_failed(run("decode", latents), 1, f"to use it, run vae3d decode {latents} -m ../small.safetensors")


def test_a_checkpoint_from_the_hub_keeps_its_whole_name(tmp_path: Path, small: Model) -> None:
    latents = tmp_path / "clip.safetensors"
    encode_video(write_clip(tmp_path / "clip.mp4", 2), latents, replace(small, name="org/name/vae.safetensors"))
    assert_failed(run("decode", latents), 1, f"to use it, run vae3d decode {latents} -m org/name/vae.safetensors")


def test_latents_on_standard_input_find_a_checkpoint_in_the_current_folder(
    tmp_path: Path, latents: Path, small_checkpoint: Path
) -> None:
    with LatentsReader(latents) as reader:
        with pytest.raises(LatentsError, match=r"vae3d decode - -m PATH/small\.safetensors"):
            decoder_of(reader, None, None)
        shutil.copy(small_checkpoint, tmp_path / "here")
        assert decoder_of(reader, None, None)[0] == "./small.safetensors"
