"""Finding and loading models."""

import json
from dataclasses import asdict, replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from tests.conftest import SMALL_CONFIG
from vae3d_cli.errors import UsageError, WeightsError
from vae3d_cli.weights import Checkpoint, Model, load_model, read_checkpoint, read_config, write_checkpoint


def test_a_checkpoint_survives_its_file(small_checkpoint: Path, tmp_path: Path) -> None:
    checkpoint = replace(read_checkpoint(small_checkpoint), notes={"made": "by hand"})
    assert checkpoint.config == SMALL_CONFIG
    write_checkpoint(tmp_path / "again", checkpoint)
    again = read_checkpoint(tmp_path / "again")
    assert (again.config, again.notes, again.encoder_sha256) == (
        checkpoint.config,
        checkpoint.notes,
        checkpoint.encoder_sha256,
    )
    assert again.weights.keys() == checkpoint.weights.keys()
    assert all(torch.equal(again.weights[name], weight) for name, weight in checkpoint.weights.items())


def test_the_embedded_model_is_small_and_half_precision(tiny: Model) -> None:
    path = Path(__file__).parent.parent / "vae3d_cli" / "weights" / "tiny.safetensors"
    assert path.stat().st_size < 20_000_000
    checkpoint = read_checkpoint(path)
    assert {weight.dtype for weight in checkpoint.weights.values()} == {torch.float16}
    assert tiny.config.latent_space == "tiny/1"
    assert {"data", "held_out_scenes", "licence", "training", "training_log_sha256"} <= checkpoint.notes.keys()
    assert sum(weight.numel() for weight in checkpoint.weights.values()) <= 8_000_000


def test_the_encoder_hash_sees_the_encoder_and_nothing_else(small_checkpoint: Path) -> None:
    checkpoint = read_checkpoint(small_checkpoint)
    weights = dict(checkpoint.weights)

    def hash_with(name: str, value: torch.Tensor) -> str:
        return Checkpoint(SMALL_CONFIG, {**weights, name: value}, {}).encoder_sha256

    encoder, decoder = "encoder.conv_in.bias", "decoder.conv_in.bias"
    assert hash_with(encoder, weights[encoder] + 1) != checkpoint.encoder_sha256
    assert hash_with(encoder, weights[encoder].half()) != checkpoint.encoder_sha256
    assert hash_with(decoder, weights[decoder] + 1) == checkpoint.encoder_sha256
    assert Checkpoint(SMALL_CONFIG, dict(reversed(weights.items())), {}).encoder_sha256 == checkpoint.encoder_sha256


def test_a_weight_too_few_too_many_or_of_another_shape_is_named(small_checkpoint: Path, tmp_path: Path) -> None:
    weights = dict(read_checkpoint(small_checkpoint).weights)
    name = "decoder.conv_in.bias"
    path = tmp_path / "bad.safetensors"
    for changed, reason in (
        ({key: value for key, value in weights.items() if key != name}, f"{name} is missing"),
        ({**weights, "extra.weight": torch.zeros(1)}, "extra.weight belongs to no part"),
        ({**weights, name: torch.zeros(5)}, rf"{name} has the shape \[5\]"),
    ):
        write_checkpoint(path, Checkpoint(SMALL_CONFIG, changed, {}))
        with pytest.raises(WeightsError, match=f"bad.safetensors: the weight {reason}"):
            load_model(str(path), device="cpu")


def test_what_is_no_checkpoint_is_refused(tmp_path: Path, small_checkpoint: Path) -> None:
    foreign, text, short = tmp_path / "foreign.safetensors", tmp_path / "text", tmp_path / "short.safetensors"
    save_file({"decoder.conv_in.conv.weight": torch.zeros(1)}, foreign)
    text.write_text("text")
    (tmp_path / "empty").mkdir()
    short.write_bytes(small_checkpoint.read_bytes()[:-10])
    for name, reason in (
        (foreign, "a model vae3d does not know, of 1 weights"),
        (text, "not a readable checkpoint"),
        (short, "not a readable checkpoint"),
        (tmp_path / "empty", "no checkpoint in this folder"),
        (tmp_path / "none", "no such model"),
    ):
        with pytest.raises(WeightsError, match=f"{name}: .*{reason}"):
            load_model(str(name), device="cpu")


@pytest.mark.parametrize(
    "config",
    [
        "not json",
        "[]",
        '{"architecture": "tiny", "depth": 3}',
        '{"architecture": "other"}',
        "{}",
        '{"architecture": "tiny", "block_out_channels": [1]}',
    ],
)
def test_a_config_that_is_not_known_is_refused(tmp_path: Path, config: str) -> None:
    path = tmp_path / "a.safetensors"
    save_file({"x": torch.zeros(1)}, path, {"format": "vae3d.checkpoint/1", "config": config})
    with pytest.raises(WeightsError, match=str(path)):
        load_model(str(path), device="cpu")


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("block_out_channels", [4, 6]),
        ("block_out_channels", [4, 6, 0]),
        ("block_out_channels", [4, 6, 10**9]),
        ("block_out_channels", 4),
        ("encoder_layers", [1, 1, 10**9]),
        ("encoder_layers", [1, 1, -1]),
        ("decoder_layers", [1, 1, 1.5]),
        ("decoder_layers", [True, 1, 1]),
        ("decoder_layers", "111"),
        ("latent_channels", 0),
        ("latent_channels", "16"),
        ("latent_channels", 10**9),
        ("temporal_compression_ratio", 8),
        ("temporal_compression_ratio", 4.0),
        ("spatial_compression_ratio", 16),
        ("scaling_factor", 0),
        ("scaling_factor", -1),
        ("scaling_factor", True),
        ("scaling_factor", "1"),
        ("scaling_factor", None),
        ("scaling_factor", 1e-300),
        ("scaling_factor", float("nan")),
        ("scaling_factor", float("inf")),
        ("latent_space", ""),
        ("latent_space", 3),
        ("latent_space", "a\nb"),
        ("latent_space", "\ud800"),
        ("latent_space", " a"),
        ("latent_space", "x" * 10**6),
    ],
)  # fmt: skip
def test_a_config_the_network_cannot_have_is_refused_field_by_field(tmp_path: Path, field: str, value: object) -> None:
    path = tmp_path / "a.safetensors"
    text = json.dumps({"architecture": "tiny", **asdict(SMALL_CONFIG), field: value})
    save_file({"x": torch.zeros(1)}, path, {"format": "vae3d.checkpoint/1", "config": text})
    (tmp_path / "config.json").write_text(text)
    for read, name in ((read_checkpoint, path), (read_config, tmp_path / "config.json")):
        with pytest.raises(WeightsError) as raised:
            read(name)
        error = str(raised.value)
        assert error.startswith(f"{name}: {field} is ")
        assert error.isprintable()
        assert len(error) < 500


def test_a_checkpoint_with_values_that_are_not_finite_is_refused(small_checkpoint: Path, tmp_path: Path) -> None:
    weights = dict(read_checkpoint(small_checkpoint).weights)
    name = "decoder.conv_in.bias"
    weights[name] = weights[name] / 0
    write_checkpoint(tmp_path / "bad.safetensors", Checkpoint(SMALL_CONFIG, weights, {}))
    with pytest.raises(WeightsError, match=f"bad.safetensors: the weight {name} holds values that are not finite"):
        load_model(str(tmp_path / "bad.safetensors"), device="cpu")


def test_a_file_that_is_called_tiny_takes_a_path(
    tmp_path: Path, small_checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("tiny").write_bytes(small_checkpoint.read_bytes())
    assert load_model("tiny", device="cpu").config.latent_space == "tiny/1"
    assert load_model("./tiny", device="cpu").config == SMALL_CONFIG


def test_devices_and_dtypes_are_checked() -> None:
    with pytest.raises(UsageError, match="--device gpu"):
        load_model(device="gpu")
    with pytest.raises(UsageError, match="--dtype fp8"):
        load_model(device="cpu", dtype="fp8")
    with pytest.raises(WeightsError, match="no such CUDA device"):
        load_model(device="cuda:99")
