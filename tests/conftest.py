"""What many tests need."""

import os
import warnings
from pathlib import Path

import pytest
import torch

from tests.clips import write_clip
from vae3d_cli.config import TinyConfig
from vae3d_cli.model.tiny import TinyVae
from vae3d_cli.weights import Checkpoint, Model, load_model, write_checkpoint

# Toy networks are no work for several threads, which only wait for each other where the machine is busy; nor are they
# in the processes that tests start.
torch.set_num_threads(1)
os.environ["OMP_NUM_THREADS"] = "1"

SMALL_CONFIG = TinyConfig(
    latent_space="small/1", block_out_channels=(4, 6, 8), encoder_layers=(1, 1, 2), decoder_layers=(1, 1, 3)
)


@pytest.fixture(autouse=True)
def _own_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """No setting of the machine reaches a test."""
    for name in ("VAE3D_MODEL", "VAE3D_DEVICE", "VAE3D_DEBUG"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(scope="session")
def small_checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint whose networks do something, unlike those of a model that is yet to be trained."""
    torch.manual_seed(0)
    weights = {
        name: torch.randn_like(value) * (0.3 if value.ndim == 1 else value[0].numel() ** -0.5)
        for name, value in TinyVae(SMALL_CONFIG).state_dict().items()
    }
    path = tmp_path_factory.mktemp("models") / "small.safetensors"
    write_checkpoint(path, Checkpoint(SMALL_CONFIG, weights, {}))
    return path


@pytest.fixture(scope="session")
def small(small_checkpoint: Path) -> Model:
    """The small model, loaded."""
    return load_model(str(small_checkpoint), device="cpu")


@pytest.fixture(scope="session")
def small_network(small: Model) -> TinyVae:
    """The network of the small model."""
    assert isinstance(small.network, TinyVae)
    return small.network


@pytest.fixture(scope="session")
def tiny() -> Model:
    """The embedded model, loaded."""
    return load_model("tiny", device="cpu")


@pytest.fixture(scope="session")
def hunyuanvideo_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """HunyuanVideo's VAE at toy size, with its 16 channels, as diffusers saves it."""
    from tests.hunyuanvideo import UNEVEN, reference  # takes seconds to import

    path = tmp_path_factory.mktemp("models") / "diffusers"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        reference(UNEVEN).save_pretrained(path)
    return path


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    """A clip of 6 frames."""
    return write_clip(tmp_path / "clip.mp4")
