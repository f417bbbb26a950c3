"""The package as a library."""

import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch.utils.data import DataLoader

import vae3d_cli
from tests.clips import read_back, write_clip
from tests.foreign import BY_NAME
from vae3d_cli import EncodeOptions, LatentsDataset, decode_video, encode_video, roundtrip_video
from vae3d_cli.errors import LatentsError
from vae3d_cli.latents import LatentsReader
from vae3d_cli.weights import Model


def test_three_lines_do_what_a_command_does(tmp_path: Path, small: Model) -> None:
    clip = write_clip(tmp_path / "clip.mp4", 5)
    encode_video(str(clip), str(tmp_path / "clip.safetensors"), small)
    decode_video(str(tmp_path / "clip.safetensors"), str(tmp_path / "back.mp4"), small)
    assert len(read_back(tmp_path / "back.mp4")[0]) == 5
    result = roundtrip_video(str(clip), small, outputs={"recon": str(tmp_path / "recon.mp4")})
    assert result.fidelity.metrics["psnr"].mean > 0
    assert (tmp_path / "recon.mp4").exists()


def test_everything_that_is_offered_is_there_and_nothing_else() -> None:
    for name in vae3d_cli.__all__:
        assert callable(getattr(vae3d_cli, name))
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        vae3d_cli.nothing  # noqa: B018


def test_the_package_itself_imports_nothing_slow() -> None:
    script = "import sys, vae3d_cli; sys.exit(any(name in sys.modules for name in ('torch', 'av', 'numpy')))"
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0


@pytest.fixture
def folder(tmp_path: Path, small: Model) -> Path:
    """Latents of two clips, one in a folder below and stored scaled."""
    (tmp_path / "latents" / "below").mkdir(parents=True)
    clip = write_clip(tmp_path / "clip.mp4", 5)
    model = replace(small, config=replace(small.config, scaling_factor=0.5))  # its own is 1
    encode_video(clip, tmp_path / "latents" / "b.safetensors", model)
    encode_video(clip, tmp_path / "latents" / "below" / "a.safetensors", model, EncodeOptions(scaled=True))
    return tmp_path / "latents"


@pytest.mark.parametrize("scaled", [False, True])
def test_a_dataset_gives_the_latents_of_a_folder_in_one_scale(folder: Path, scaled: bool) -> None:
    dataset = LatentsDataset(folder, scaled=scaled)
    assert [Path(item["path"]).name for item in dataset] == ["b.safetensors", "a.safetensors"]  # type: ignore[attr-defined]
    with LatentsReader(folder / "b.safetensors") as file:
        stored, factor = file.read(0, file.shape[1]), file.header.scaling_factor
    assert factor == 0.5
    for index in range(len(dataset)):
        torch.testing.assert_close(dataset[index]["latents"], stored * (factor if scaled else 1))
    batch = next(iter(DataLoader(dataset, batch_size=2)))
    assert batch["latents"].shape == (2, *stored.shape)
    assert batch["num_frames"].tolist() == [5, 5]
    assert (batch["height"].tolist(), batch["width"].tolist()) == ([24, 24], [32, 32])
    assert batch["fps"].tolist() == pytest.approx([30000 / 1001] * 2)


def test_of_moments_each_item_is_a_new_draw(tmp_path: Path, small: Model) -> None:
    clip = write_clip(tmp_path / "clip.mp4", 5)
    encode_video(clip, tmp_path / "m.safetensors", small, EncodeOptions(posterior="moments"))
    dataset = LatentsDataset(tmp_path)
    torch.manual_seed(0)
    first, second = dataset[0]["latents"], dataset[0]["latents"]
    torch.manual_seed(0)
    assert torch.equal(dataset[0]["latents"], first)
    assert not torch.equal(first, second)
    with LatentsReader(tmp_path / "m.safetensors") as file:
        mean, logvar = file.read(0, file.shape[1]).chunk(2)
    assert ((first - mean) / torch.exp(0.5 * logvar)).std() == pytest.approx(1, abs=0.2)


def test_what_does_not_belong_is_named(tmp_path: Path, folder: Path, tiny: Model) -> None:
    (tmp_path / "none").mkdir()
    with pytest.raises(LatentsError, match="none: has no latents file of vae3d"):
        LatentsDataset(tmp_path / "none")
    encode_video(write_clip(tmp_path / "other.mp4"), folder / "c.safetensors", tiny)
    with pytest.raises(LatentsError, match=r"c\.safetensors: its latent space is 'tiny/1' and that of b\.safet"):
        LatentsDataset(folder)[2]


def test_a_dataset_leaves_out_hidden_files_and_those_of_other_programs(
    folder: Path, small_checkpoint: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (folder / ".vae3d-0123456789abcdef.part.safetensors").write_bytes(b"half")
    (folder / ".cache").mkdir()
    shutil.copy(folder / "b.safetensors", folder / ".cache" / "copy.safetensors")
    (folder / "folder.safetensors").mkdir()
    BY_NAME["c_00000-009_0032x0024_hv.safetensors"].write(folder)
    shutil.copy(small_checkpoint, folder / "a-checkpoint.safetensors")
    dataset = LatentsDataset(folder)
    assert [path.name for path in dataset.paths] == ["b.safetensors", "a.safetensors"]
    assert len(list(DataLoader(dataset))) == 2
    assert f"{folder}: left out 2 files of other programs, such as a-checkpoint.safetensors" in caplog.text
    for path in dataset.paths:
        path.unlink()
    with pytest.raises(LatentsError, match="has no latents file of vae3d"):
        LatentsDataset(folder)


def test_a_damaged_file_of_a_dataset_is_named_when_it_is_read(folder: Path) -> None:
    path = folder / "c.safetensors"
    path.write_bytes((folder / "b.safetensors").read_bytes()[:100])
    with pytest.raises(LatentsError, match=r"c\.safetensors: "):
        LatentsDataset(folder)[2]
