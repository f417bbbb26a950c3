"""The layouts of HunyuanVideo's VAE: all give the same network, and what is something else is refused."""

import argparse
import json
import logging
import os
import warnings
import zipfile
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import AutoencoderKLHunyuanVideo
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from vae3d_cli.config import HunyuanVideoConfig
from vae3d_cli.errors import WeightsError
from vae3d_cli.model.hunyuanvideo import HunyuanVideoVae
from vae3d_cli.weights import Checkpoint, load_model, read_checkpoint, write_checkpoint

# Without a config 32 groups are assumed, so this one can be told from its weights.
WIDE = HunyuanVideoConfig(latent_channels=4, block_out_channels=(32, 32, 64, 64), layers_per_block=1)
SMALL = replace(WIDE, block_out_channels=(8, 8, 16, 16), norm_num_groups=4, scaling_factor=0.5)
Weights = dict[str, Tensor]


def weights_of(config: HunyuanVideoConfig, dtype: torch.dtype = torch.float32) -> Weights:
    torch.manual_seed(0)
    return {name: torch.randn_like(value).to(dtype) for name, value in HunyuanVideoVae(config).state_dict().items()}


def diffusers_json(config: HunyuanVideoConfig, **changes: Any) -> str:
    return json.dumps({"_class_name": "AutoencoderKLHunyuanVideo", "act_fn": "silu", **asdict(config), **changes})


def original_json(config: HunyuanVideoConfig) -> str:
    fields = asdict(config)
    fields["time_compression_ratio"] = fields.pop("temporal_compression_ratio")
    return json.dumps({"_class_name": "AutoencoderKLCausal3D", "sample_size": 256, "sample_tsize": 64, **fields})


def ldm_name(name: str) -> str:
    """LDM's name of a weight, from the description of that layout read in the other direction."""
    match name.split("."):
        case ["encoder", "down_blocks", i, "resnets", j, *rest]:
            found = ["encoder", "down", i, "block", j, *rest]
        case ["encoder", "down_blocks", i, "downsamplers", "0", *rest]:
            found = ["encoder", "down", i, "downsample", *rest]
        case ["decoder", "up_blocks", i, "resnets", j, *rest]:
            found = ["decoder", "up", str(3 - int(i)), "block", j, *rest]
        case ["decoder", "up_blocks", i, "upsamplers", "0", *rest]:
            found = ["decoder", "up", str(3 - int(i)), "upsample", *rest]
        case [side, "mid_block", "resnets", i, *rest]:
            found = [side, "mid", f"block_{int(i) + 1}", *rest]
        case [side, "mid_block", "attentions", "0", "group_norm", *rest]:
            found = [side, "mid", "attn_1", "norm", *rest]
        case [side, "mid_block", "attentions", "0", "to_out", "0", *rest]:
            found = [side, "mid", "attn_1", "proj_out", *rest]
        case [side, "mid_block", "attentions", "0", matrix, *rest]:
            found = [side, "mid", "attn_1", matrix.removeprefix("to_"), *rest]
        case [side, "conv_norm_out", *rest]:
            found = [side, "norm_out", *rest]
        case found:
            pass
    return ".".join(found).replace("conv_shortcut", "nin_shortcut")


def in_ldm(weights: Weights) -> Weights:
    return {
        ldm_name(name): value[..., None, None, None] if value.ndim == 2 else value for name, value in weights.items()
    }


def write_shards(folder: Path, weights: Weights) -> Path:
    names = sorted(weights)
    shards = {f"diffusion_pytorch_model-0000{i + 1}-of-00002.safetensors": names[i::2] for i in range(2)}
    for file, part in shards.items():
        save_file({name: weights[name] for name in part}, folder / file)
    index = {"metadata": {}, "weight_map": {name: file for file, part in shards.items() for name in part}}
    (folder / "diffusion_pytorch_model.safetensors.index.json").write_text(json.dumps(index))
    return folder


def write_pipeline(folder: Path, weights: Weights) -> Path:
    for part, content in (("vae", weights), ("transformer", {"transformer_blocks.0.norm.weight": torch.zeros(1)})):
        (folder / part).mkdir()
        save_file(content, folder / part / "diffusion_pytorch_model.safetensors")
    (folder / "model_index.json").write_text("{}")
    return folder


def write_folder(folder: Path, weights: Weights) -> Path:
    save_file(weights, folder / "diffusion_pytorch_model.safetensors")
    (folder / "config.json").write_text(diffusers_json(WIDE))
    return folder


def write_original_folder(folder: Path, weights: Weights) -> Path:
    torch.save({"state_dict": prefixed(weights)}, folder / "pytorch_model.pt")
    (folder / "config.json").write_text(original_json(WIDE))
    return folder


def write_file(folder: Path, weights: Mapping[str, Tensor], metadata: dict[str, str] | None = None) -> Path:
    path = folder / "vae.safetensors"
    save_file(dict(weights), path, metadata)
    return path


def write_pickle(folder: Path, content: object) -> Path:
    path = folder / "vae.pt"
    torch.save(content, path)
    return path


def write_legacy_pickle(folder: Path, content: object) -> Path:
    path = folder / "vae.pt"
    torch.save(content, path, _use_new_zipfile_serialization=False)
    return path


def write_ours(folder: Path, weights: Weights) -> Path:
    write_checkpoint(folder / "own.safetensors", Checkpoint(WIDE, weights, {}))
    return folder / "own.safetensors"


def prefixed(weights: Weights) -> Weights:
    return {**{f"vae.{name}": value for name, value in weights.items()}, "discriminator.weight": torch.zeros(2)}


LAYOUTS: dict[str, Callable[[Path, Weights], Path]] = {
    "the original, bare": write_pickle,
    "the original, as old torch wrote it": write_legacy_pickle,
    "the original, wrapped in state_dict": lambda folder, weights: write_pickle(folder, {"state_dict": weights}),
    "the original, wrapped in module": lambda folder, weights: write_pickle(folder, {"module": weights, "epoch": 3}),
    "the original, wrapped in model": lambda folder, weights: write_pickle(folder, {"model": {"module": weights}}),
    "the original, with a count of steps": lambda folder, weights: write_pickle(folder, {**weights, "global_step": 7}),
    "the original, trained in parallel": lambda folder, weights: write_pickle(
        folder, {"n_averaged": torch.tensor(3), **{f"module.{name}": value for name, value in weights.items()}}
    ),
    "the original, compiled": lambda folder, weights: write_file(
        folder, {f"module._orig_mod.{name}": value for name, value in weights.items()}
    ),
    "the original, its decoder compiled": lambda folder, weights: write_file(
        folder, {name.replace("decoder.", "decoder._orig_mod."): value for name, value in weights.items()}
    ),
    "one file in LDM's names, with a prefix": lambda folder, weights: write_file(
        folder,
        {
            "cond_stage_model.weight": torch.zeros(1),
            **{f"first_stage_model.{name}": value for name, value in in_ldm(weights).items()},
        },
    ),
    "the original, with a prefix": lambda folder, weights: write_pickle(folder, {**prefixed(weights), "epoch": 3}),
    "the original folder": write_original_folder,
    "diffusers' folder": write_folder,
    "diffusers' folder in shards": write_shards,
    "a pipeline": write_pipeline,
    "one file": write_file,
    "one file, with a prefix": lambda folder, weights: write_file(folder, prefixed(weights)),
    "one file in LDM's names": lambda folder, weights: write_file(folder, in_ldm(weights)),
    "our own file": write_ours,
}


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16], ids=str)
@pytest.mark.parametrize("write", LAYOUTS.values(), ids=LAYOUTS.keys())
def test_every_layout_gives_the_same_checkpoint(
    tmp_path: Path, write: Callable[[Path, Weights], Path], dtype: torch.dtype
) -> None:
    weights = weights_of(WIDE, dtype)
    expected = Checkpoint(WIDE, weights, {})
    found = read_checkpoint(write(tmp_path, weights))
    assert found.config == WIDE
    assert found.encoder_sha256 == expected.encoder_sha256
    assert found.weights.keys() == weights.keys()
    for name, value in weights.items():
        assert found.weights[name].dtype == dtype
        assert torch.equal(found.weights[name], value)


@pytest.mark.parametrize("folder", ["", "vae"])
@pytest.mark.parametrize("shard_size", ["10GB", "300KB"])
def test_what_diffusers_saves_is_loaded(tmp_path: Path, folder: str, shard_size: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        fields = asdict(SMALL)
        del fields["latent_space"]
        theirs = AutoencoderKLHunyuanVideo(**fields)
        theirs.save_pretrained(tmp_path / folder, max_shard_size=shard_size)
    assert len(list(tmp_path.rglob("*.safetensors"))) > 1 or shard_size == "10GB"
    ours = load_model(str(tmp_path), device="cpu")
    assert (ours.config, ours.name) == (SMALL, tmp_path.name)
    expected = theirs.state_dict()
    assert ours.network.state_dict().keys() == expected.keys()
    assert all(torch.equal(value, expected[name]) for name, value in ours.network.state_dict().items())


def test_a_network_is_ready_to_run(tmp_path: Path) -> None:
    model = load_model(str(write_file(tmp_path, in_ldm(weights_of(WIDE, torch.float16)))), device="cpu", dtype="bf16")
    assert isinstance(model.network, HunyuanVideoVae)
    assert not model.network.training
    weight = model.network.encoder.conv_in.conv.weight
    assert weight.is_contiguous(memory_format=torch.channels_last_3d)
    assert {(value.dtype, value.requires_grad) for value in model.network.parameters()} == {(torch.bfloat16, False)}
    with torch.inference_mode():
        assert model.network.encode(torch.zeros(1, 3, 5, 16, 16)).shape == (1, 8, 2, 2, 2)


def test_each_tensor_is_read_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    reads: Counter[str] = Counter()

    class Counting:
        def __init__(self, *args: object, backend: str) -> None:
            assert backend == "pread"
            self.context = safe_open(*args, backend=backend)

        def __enter__(self) -> "Counting":
            self.file = self.context.__enter__()  # type: ignore[no-untyped-call]
            return self

        def __exit__(self, *error: object) -> None:
            self.context.__exit__(*error)  # type: ignore[no-untyped-call]

        def __getattr__(self, name: str) -> Any:
            return getattr(self.file, name)

        def get_tensor(self, name: str) -> Tensor:
            reads[name] += 1
            return self.file.get_tensor(name)  # type: ignore[no-any-return]

    monkeypatch.setattr("vae3d_cli.weights.files.safe_open", Counting)
    weights = weights_of(WIDE)
    load_model(str(write_shards(tmp_path, weights)), device="cpu")
    assert reads == Counter(weights.keys())


def test_a_checkpoint_of_either_architecture_survives_our_format(tmp_path: Path) -> None:
    config = replace(SMALL, latent_space="mine/1", mid_block_add_attention=False)
    checkpoint = Checkpoint(config, weights_of(config), {"made": "by hand"})
    write_checkpoint(tmp_path / "own", checkpoint)
    again = read_checkpoint(tmp_path / "own")
    assert (again.config, again.notes, again.encoder_sha256) == (config, checkpoint.notes, checkpoint.encoder_sha256)
    assert load_model(str(tmp_path / "own"), device="cpu").config == config


def test_the_encoder_hash_sees_the_moments_and_not_the_decoder() -> None:
    weights = weights_of(SMALL)
    expected = Checkpoint(SMALL, weights, {}).encoder_sha256
    for name, counts in (
        ("quant_conv.bias", True),
        ("post_quant_conv.bias", False),
        ("decoder.conv_in.conv.bias", False),
    ):
        changed = Checkpoint(SMALL, {**weights, name: weights[name] + 1}, {}).encoder_sha256
        assert (changed != expected) == counts


# --- which file of a folder


def test_the_vae_is_found_among_other_files(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    save_file({"double_blocks.0.img_mlp.0.weight": torch.zeros(1)}, tmp_path / "a_transformer.safetensors")
    for name, dtype in (("bf16", torch.bfloat16), ("fp16", torch.float16), ("fp32", torch.float32)):
        save_file(weights_of(WIDE, dtype), tmp_path / f"vae_{name}.safetensors")
    for best in ("vae_fp32.safetensors", "vae_fp16.safetensors", "vae_bf16.safetensors"):
        caplog.clear()
        read_checkpoint(tmp_path)
        assert f"{tmp_path / best}: taken of" in caplog.text
        (tmp_path / best).unlink()
    with pytest.raises(WeightsError, match=r"a_transformer\.safetensors: a transformer"):
        read_checkpoint(tmp_path)


def test_a_hidden_file_of_a_folder_is_no_checkpoint(tmp_path: Path) -> None:
    save_file(weights_of(WIDE), tmp_path / ".vae3d-0123456789abcdef.part.safetensors")
    with pytest.raises(WeightsError, match="no checkpoint in this folder"):
        read_checkpoint(tmp_path)


def test_a_standard_name_comes_before_a_better_precision(tmp_path: Path) -> None:
    save_file(weights_of(WIDE), tmp_path / "a.safetensors")
    torch.save(weights_of(WIDE, torch.float16), tmp_path / "pytorch_model.pt")
    assert read_checkpoint(tmp_path).weights["quant_conv.bias"].dtype == torch.float16
    save_file(weights_of(WIDE, torch.bfloat16), tmp_path / "diffusion_pytorch_model.safetensors")
    assert read_checkpoint(tmp_path).weights["quant_conv.bias"].dtype == torch.bfloat16


def test_a_folder_of_other_models_is_refused(tmp_path: Path) -> None:
    for name in "ab":
        save_file({"transformer_blocks.0.weight": torch.zeros(1)}, tmp_path / f"{name}.safetensors")
    with pytest.raises(WeightsError, match=r"none of the 2 files in it .*a\.safetensors: a transformer"):
        read_checkpoint(tmp_path)


# --- configs


@pytest.mark.parametrize("write", [diffusers_json, original_json])
def test_a_config_beside_the_weights_is_read_in_either_dialect(
    tmp_path: Path, write: Callable[[HunyuanVideoConfig], str]
) -> None:
    path = write_file(tmp_path, weights_of(SMALL))
    (tmp_path / "config.json").write_text(write(SMALL))
    assert load_model(str(path), device="cpu").config == SMALL


def test_a_config_in_the_metadata_is_read_and_one_beside_the_file_wins(tmp_path: Path) -> None:
    path = write_file(tmp_path, weights_of(SMALL), {"format": "pt", "config": original_json(SMALL)})
    assert load_model(str(path), device="cpu").config == SMALL
    other = replace(SMALL, scaling_factor=2.0)
    (tmp_path / "config.json").write_text(diffusers_json(other))
    assert load_model(str(path), device="cpu").config == other


def test_the_config_of_something_else_is_not_used(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    path = write_file(tmp_path, weights_of(WIDE), {"config": '{"hidden_size": 4096}'})
    for text in ('{"hidden_size": 4096}', "[]"):
        (tmp_path / "config.json").write_text(text)
        assert read_checkpoint(path).config == WIDE
    assert "norm_num_groups 32, scaling_factor 0.476986" in caplog.text


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"block_out_channels": [8, 8, 16]}, "not 4 widths"),
        ({"block_out_channels": [8, 8, 16, 16.0]}, "not 4 widths"),
        ({"block_out_channels": "8888"}, "not 4 widths"),
        ({"block_out_channels": [8, 8, 16, 18]}, "norm_num_groups 4 does not divide"),
        ({"norm_num_groups": 0}, "norm_num_groups is 0"),
        ({"norm_num_groups": None}, "norm_num_groups is None"),
        ({"layers_per_block": 1.5}, "layers_per_block is 1.5"),
        ({"layers_per_block": True}, "layers_per_block is True"),
        ({"layers_per_block": 10**9}, "layers_per_block is 1000000000"),
        ({"latent_channels": "4"}, "latent_channels is '4'"),
        ({"in_channels": 4}, "in_channels is 4"),
        ({"temporal_compression_ratio": 8}, "temporal_compression_ratio is 8"),
        ({"spatial_compression_ratio": 16}, "spatial_compression_ratio is 16"),
        ({"mid_block_add_attention": "yes"}, "mid_block_add_attention is 'yes'"),
        ({"scaling_factor": float("nan")}, "scaling_factor is nan"),
        ({"scaling_factor": 0}, "scaling_factor is 0"),
        ({"scaling_factor": 10**400}, "scaling_factor is 1000"),
        ({"act_fn": "gelu"}, "act_fn is 'gelu'"),
    ],
)
def test_a_config_the_network_cannot_have_is_refused(tmp_path: Path, changes: dict[str, Any], reason: str) -> None:
    path = write_file(tmp_path, weights_of(SMALL))
    (tmp_path / "config.json").write_text(diffusers_json(SMALL, **changes))
    assert_refused(path, reason, by=tmp_path / "config.json")


@pytest.mark.parametrize("text", ["not json", "", "[" * 100_000])
def test_a_damaged_config_is_refused(tmp_path: Path, text: str) -> None:
    path = write_file(tmp_path, weights_of(SMALL))
    (tmp_path / "config.json").write_text(text)
    assert_refused(path, "not readable as JSON", by=tmp_path / "config.json")


def test_our_own_config_is_checked_too(tmp_path: Path) -> None:
    for change, reason in (({"layers_per_block": 0}, "layers_per_block"), ({"latent_space": 3}, "latent_space")):
        config = replace(SMALL, **change)  # type: ignore[arg-type]
        write_checkpoint(tmp_path / "own.safetensors", Checkpoint(config, weights_of(SMALL), {}))
        assert_refused(tmp_path / "own.safetensors", reason)


def test_widths_that_32_does_not_divide_need_a_config(tmp_path: Path) -> None:
    assert_refused(write_file(tmp_path, weights_of(SMALL)), "norm_num_groups 32 does not divide.*config.json beside")


# --- refusals


def assert_refused(path: Path, reason: str, by: Path | None = None) -> None:
    with pytest.raises(WeightsError, match=reason) as caught:
        load_model(str(path), device="cpu")
    text = str(caught.value)
    assert text.startswith(f"{by or path}: ")
    assert "; " in text
    assert text.isprintable()


VIDEO_CONV_IN = "decoder.conv_in.conv.weight"


@pytest.mark.parametrize(
    ("shapes", "reason"),
    [
        ({VIDEO_CONV_IN: (8, 32, 3, 3, 3), "decoder.up_blocks.0.resnets.0.norm1.gamma": (8, 1)}, "HunyuanVideo-1.5"),
        ({"decoder.up_blocks.0.resnets.0.norm1.norm_layer.weight": (8,)}, "CogVideoX"),
        ({"decoder.up_blocks.0.res_blocks.0.conv1.conv.weight": (8, 8, 3, 3, 3)}, "LTX"),
        ({"latents_mean": (8,), "decoder.up_blocks.0.resnets.0.conv1.conv.weight": (8, 8, 3, 3, 3)}, "LTX"),
        ({"decoder.middle.0.residual.0.gamma": (8, 1, 1, 1)}, "Wan"),
        ({"decoder.conv_in.weight": (8, 16, 3, 3, 3)}, "Wan"),
        ({"decoder.conv_in.weight": (8, 4, 3, 3), "decoder.up_blocks.0.resnets.0.norm1.weight": (8,)}, "2-D convol"),
        ({"decoder.conv_in.weight": (8, 4, 3, 3), "decoder.up.0.block.0.norm1.weight": (8,)}, "Stable Diffusion"),
        ({"encoder.block_in.resnets.0.norm1.norm_layer.weight": (8,)}, "Mochi"),
        ({"double_blocks.0.img_attn.qkv.weight": (8, 8)}, "transformer"),
        ({"model.model.single_blocks.0.linear1.weight": (8, 8)}, "transformer"),
        ({"transformer_blocks.0.attn.to_q.weight": (8, 8)}, "transformer"),
        ({"model.diffusion_model.input_blocks.0.weight": (8, 8)}, "transformer or U-Net"),
        ({"blocks.0.self_attn.q.weight": (8, 8)}, "transformer"),
        ({"something.weight": (8,)}, "a model vae3d does not know, of 1 weights"),
        ({}, "no weights"),
    ],
)
def test_another_model_is_refused_by_its_name(tmp_path: Path, shapes: dict[str, tuple[int, ...]], reason: str) -> None:
    weights = {name: torch.zeros(shape) for name, shape in shapes.items()}
    assert_refused(write_file(tmp_path, weights), reason)
    assert_refused(write_pickle(tmp_path, weights), reason)


def test_a_latents_file_is_no_checkpoint(tmp_path: Path) -> None:
    assert_refused(write_file(tmp_path, {"latents": torch.zeros(1)}, {"format": "vae3d.latents/1"}), "its format is")


def test_a_file_that_was_cut_is_refused(tmp_path: Path) -> None:
    weights = weights_of(SMALL)
    for path in (write_file(tmp_path, weights), write_pickle(tmp_path, weights)):
        whole = path.read_bytes()
        for size in (len(whole) - 10, len(whole) // 2, 100, 0):
            path.write_bytes(whole[:size])
            assert_refused(path, "not a readable checkpoint .*; take a whole copy")


def test_an_old_pickle_that_was_cut_is_refused(tmp_path: Path) -> None:
    path = write_legacy_pickle(tmp_path, weights_of(SMALL))
    whole = path.read_bytes()
    for size in (len(whole) - 10, len(whole) // 2, 1000, 100, 30, 5):
        path.write_bytes(whole[:size])
        assert_refused(path, "not a readable checkpoint .*; take a whole copy")


def test_a_pickle_with_more_than_tensors_is_not_loaded(tmp_path: Path) -> None:
    for content in ({"args": argparse.Namespace()}, {"state_dict": weights_of(SMALL), "run": Path("x")}):
        assert_refused(write_pickle(tmp_path, content), "not loaded because loading it would run its code")


def test_a_pickle_of_something_else_is_refused(tmp_path: Path) -> None:
    itself: dict[str, Any] = {}
    itself["model"] = itself
    for content, reason in (
        ([torch.zeros(1)], "not of a dict of tensors"),
        (torch.zeros(1), "not of a dict of tensors"),
        ({1: torch.zeros(1)}, "not of a dict of tensors"),
        ({**weights_of(SMALL), "conv.epoch": 3}, "conv.epoch in it is not a plain tensor"),
        ({"weight": torch.zeros(2, 2).to_sparse()}, "weight in it is not a plain tensor"),
        ({"weight": torch.zeros(2, device="meta")}, "weight in it is not a plain tensor"),
        ({"weight": torch.zeros(1).expand(1 << 20, 1 << 20)}, "fewer values than that"),
        (itself, "no weights in it"),
    ):
        assert_refused(write_pickle(tmp_path, content), reason)


def test_a_pointer_of_git_lfs_is_told_from_a_damaged_file(tmp_path: Path) -> None:
    pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 986000000\n"
    (tmp_path / "vae.safetensors").write_text(pointer)
    assert_refused(tmp_path / "vae.safetensors", "a Git LFS pointer in place of the weights; .*git lfs pull")
    assert_refused(tmp_path, "a Git LFS pointer", by=tmp_path / "vae.safetensors")


def test_a_shard_that_is_not_there_is_named(tmp_path: Path) -> None:
    write_shards(tmp_path, weights_of(WIDE))
    shard = tmp_path / "diffusion_pytorch_model-00002-of-00002.safetensors"
    shard.unlink()
    index = tmp_path / "diffusion_pytorch_model.safetensors.index.json"
    assert_refused(tmp_path, f"1 of the 2 files that it names are missing, first {shard.name}", by=index)


@pytest.mark.parametrize("text", ["not json", "[]", "{}", '{"weight_map": {"a": "../a"}}', '{"weight_map": {"a": 1}}'])
def test_an_index_that_is_none_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "vae.safetensors.index.json"
    path.write_text(text)
    assert_refused(path, "not a readable index")


def test_weights_that_do_not_fit_are_named(tmp_path: Path) -> None:
    weights = weights_of(WIDE)
    name = "decoder.up_blocks.0.upsamplers.0.conv.conv.weight"
    changed: Weights
    for changed, reason in (
        ({key: value for key, value in weights.items() if key != name}, f"{name} is missing"),
        ({key: value for key, value in weights.items() if not key.startswith("encoder.")}, "encoder.* is missing"),
        ({**weights, "loss.weight": torch.zeros(1)}, "loss.weight belongs to no part of the model"),
        ({**weights, name: torch.zeros(64, 64, 3, 3, 1)}, rf"{name} has the shape \[64, 64, 3, 3, 1\]"),
        ({**weights, VIDEO_CONV_IN: torch.zeros(1)}, rf"{VIDEO_CONV_IN} has the shape \[1\]"),
        ({**weights, name: weights[name].to(torch.float8_e4m3fn)}, f"{name} is float8_e4m3fn, too coarse"),
        ({**weights, name: weights[name].int()}, f"{name} is int32"),
        ({**weights, name: weights[name] / 0}, f"{name} holds values that are not finite"),
        (
            {**in_ldm(weights), "decoder.conv_norm_out.bias": torch.zeros(32)},
            "decoder.conv_norm_out.bias is in it twice",
        ),
    ):
        assert_refused(write_file(tmp_path, changed), reason)


def test_fp64_is_rounded_to_fp32(tmp_path: Path) -> None:
    weights = weights_of(WIDE)
    doubled = {name: value.double() for name, value in weights.items()}
    for path in (write_file(tmp_path, doubled), write_pickle(tmp_path, doubled)):
        found = read_checkpoint(path)
        assert all(torch.equal(value, weights[name]) for name, value in found.weights.items())
        assert found.encoder_sha256 == Checkpoint(WIDE, weights, {}).encoder_sha256


def test_a_count_of_steps_among_the_weights_is_left_out(tmp_path: Path) -> None:
    weights = {**weights_of(WIDE), "global_step": torch.tensor(7)}
    for path in (write_file(tmp_path, weights), write_pickle(tmp_path, weights)):
        assert "global_step" not in load_model(str(path), device="cpu").network.state_dict()


def test_a_compressed_pickle_is_refused_before_it_is_unpacked(tmp_path: Path) -> None:
    path = tmp_path / "vae.pt"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data.pkl", b"\x80\x02}.")
        archive.writestr("archive/data/0", bytes(1 << 24))
    assert_refused(path, "its parts are larger than itself")


def test_what_is_not_a_file_is_never_opened(tmp_path: Path) -> None:
    path = write_file(tmp_path, weights_of(SMALL))
    pipe = tmp_path / "config.json"
    os.mkfifo(pipe)
    assert_refused(path, "a pipe, where a file is expected", by=pipe)
    assert_refused(pipe, "a pipe, where a file is expected")
    assert_refused(Path("/dev/zero"), "a device, where a file is expected")
    pipe.unlink()
    write_shards(tmp_path, weights_of(WIDE))
    shard = tmp_path / "diffusion_pytorch_model-00001-of-00002.safetensors"
    shard.unlink()
    os.mkfifo(shard)
    assert_refused(tmp_path / "diffusion_pytorch_model.safetensors.index.json", "a pipe, where a file", by=shard)


def test_an_index_of_very_many_files_says_how_many_are_missing(tmp_path: Path) -> None:
    path = tmp_path / "vae.safetensors.index.json"
    path.write_text(json.dumps({"weight_map": {f"w{i}": f"{i:06d}.safetensors" for i in range(100_000)}}))
    assert_refused(path, "100000 of the 100000 files that it names are missing, first 000000.safetensors")


@pytest.mark.parametrize("name", ["", ".", "..", "/", "a/b", "a\0b", "\ud800", "x" * 256, "\u00e9" * 128])
def test_an_index_names_files_beside_it(tmp_path: Path, name: str) -> None:
    path = tmp_path / "vae.safetensors.index.json"
    path.write_text(json.dumps({"weight_map": {"a": name}}))
    assert_refused(path, "not a readable index .*is not the name of a file beside it")


# --- names


def test_a_model_is_called_after_its_file_or_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "my_vae"
    (folder / "vae").mkdir(parents=True)
    write_folder(folder, weights_of(WIDE))
    monkeypatch.chdir(folder)
    for name in (".", f"{folder}/", "../my_vae", "vae/.."):
        assert load_model(name, device="cpu").name == "my_vae"
    (tmp_path / "link.safetensors").symlink_to(folder / "diffusion_pytorch_model.safetensors")
    assert load_model("../link.safetensors", device="cpu").name == "link.safetensors"


def test_a_path_comes_before_the_hub_and_the_hub_before_giving_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    cached = write_file(tmp_path, weights_of(WIDE))
    asked: list[str] = []

    def find_in_hub(name: str) -> Path:
        asked.append(name)
        return cached

    monkeypatch.setattr("vae3d_cli.weights.hub.find_in_hub", find_in_hub)
    names = {
        "hunyuanvideo": "hunyuanvideo",
        "diffusers/HunyuanVideo-vae": "hunyuanvideo",
        "org/name/vae.safetensors@main": "org/name/vae.safetensors@main",
    }
    for name, label in names.items():
        assert load_model(name, device="cpu").name == label
    assert asked == list(names)
    (tmp_path / "hunyuanvideo").mkdir()  # a known name is no path, or a folder would take the place of the model
    assert load_model("hunyuanvideo", device="cpu").name == "hunyuanvideo"
    assert asked.pop() == "hunyuanvideo"
    (tmp_path / "tiny").write_bytes(cached.read_bytes())
    assert load_model("./tiny", device="cpu").name == "./tiny"  # a file of latents must not take it for the embedded
    (tmp_path / "org").mkdir()
    cached.rename(tmp_path / "org" / "name")
    assert load_model("org/name", device="cpu").name == "name"
    assert asked == list(names)
    for name in ("none", "", "/no/such/file"):
        with pytest.raises(WeightsError, match=f"^{name}: no such model or file; use tiny, hunyuanvideo, a checkpoint"):
            load_model(name, device="cpu")


def test_a_pickle_is_not_read_by_a_torch_that_would_run_its_code(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.save(weights_of(WIDE), tmp_path / "a.pt")
    monkeypatch.setattr(torch, "__version__", "2.5.1+cpu")
    with pytest.raises(WeightsError, match=r"a pickle, which torch 2\.5\.1"):
        read_checkpoint(tmp_path / "a.pt")
