"""Configs of checkpoints: from our metadata, from the JSON of others, or from the shapes of the weights.

A refusal is a `ValueError` whose text says what is wrong and what to do; callers put the file before it.
"""

import dataclasses
import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

from vae3d_cli.config import HunyuanVideoConfig, TinyConfig, VaeConfig
from vae3d_cli.errors import WeightsError
from vae3d_cli.files import check_regular
from vae3d_cli.weights.layouts import Shape

Config = TypeVar("Config", bound=VaeConfig)
ARCHITECTURES: dict[str, type[VaeConfig]] = {"tiny": TinyConfig, "hunyuanvideo": HunyuanVideoConfig}

NAMES: dict[type[VaeConfig], str] = {TinyConfig: "tiny", HunyuanVideoConfig: "HunyuanVideo's VAE"}
# Limits of the fields of a config: numbers up to these, or only this.
HIGHEST = {"latent_channels": 4096, "layers_per_block": 64, "norm_num_groups": 65536}
HIGHEST_WIDTH, MOST_LAYERS = 65536, 64
FIXED = {"in_channels": 3, "out_channels": 3, "temporal_compression_ratio": 4, "spatial_compression_ratio": 8}
# Factors beyond these are mistakes, and latents files hold them as short decimal numbers.
FACTORS = (1e-6, 1e6)
LONGEST_NAME = 100
NUM_BLOCKS = 4


def config_to_metadata(config: VaeConfig) -> str:
    """A config as our own checkpoints hold it."""
    architecture = next(name for name, kind in ARCHITECTURES.items() if isinstance(config, kind))
    return json.dumps({"architecture": architecture, **dataclasses.asdict(config)})


def config_from_metadata(text: str) -> VaeConfig:
    """The config in a checkpoint of our own.

    Raises:
        ValueError: It cannot be read, or no network has it.
    """
    try:
        fields = json.loads(text)
        kind = ARCHITECTURES.get(fields.pop("architecture"))
        if kind is not None:
            config = kind(**_with_tuples(fields))
    except (KeyError, ValueError, TypeError, AttributeError, RecursionError) as error:
        raise ValueError(f"its config cannot be read ({error}); take a whole copy of it") from error
    if kind is None:
        raise ValueError("its architecture is not known; update vae3d")
    return _checked(config, "take a whole copy of it")


def from_json(text: str) -> HunyuanVideoConfig | None:
    """The config that diffusers or the original write as JSON; None if it is plainly of something else.

    Raises:
        ValueError: It cannot be read, or the network cannot have it.
    """
    try:
        found = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"not readable as JSON ({error}); take a whole copy of it, or remove it") from error
    if not isinstance(found, dict) or "block_out_channels" not in found:
        return None
    if found.get("act_fn", "silu") != "silu":
        raise ValueError(f"act_fn is {found['act_fn']!r}, and HunyuanVideo's VAE has 'silu'; take the model's config")
    if "time_compression_ratio" in found:  # as the original has it
        found = {"temporal_compression_ratio": found["time_compression_ratio"], **found}
    # The latent space is ours to name; everything else they name as we do.
    known = {field.name for field in dataclasses.fields(HunyuanVideoConfig)} - {"latent_space"}
    config = HunyuanVideoConfig(**_with_tuples({key: found[key] for key in known & found.keys()}))
    return _checked(config, "take the config that belongs to the weights")


def read_config(path: Path) -> VaeConfig:
    """The config in a JSON file, as our metadata has it or as diffusers or the original write it.

    Raises:
        WeightsError: It cannot be read, or is of something else.
    """
    try:
        check_regular(path)
        text = path.read_text(encoding="utf-8")
        config = config_from_metadata(text) if '"architecture"' in text else from_json(text)
    except OSError as error:
        raise WeightsError(f"{path}: {error.strerror or error}; the config cannot be read") from error
    except ValueError as error:
        raise WeightsError(f"{path}: {error}") from error
    if config is None:
        raise WeightsError(f"{path}: the config of something else; give that of a HunyuanVideo VAE, or of tiny")
    return config


def from_shapes(shapes: Mapping[str, Shape]) -> HunyuanVideoConfig:
    """The config that weights of these shapes, by canonical name, can only have; the rest is as released.

    Raises:
        ValueError: A weight that tells it is missing, or the network cannot have it.
    """

    def size(name: str, axis: int) -> int:
        try:
            return shapes[name][axis]
        except KeyError:
            raise ValueError(f"the weight {name} is missing; take a whole copy of the checkpoint") from None
        except IndexError:
            raise ValueError(f"the weight {name} has the shape {list(shapes[name])}; take a whole copy of it") from None

    def count(pattern: str) -> int:
        return len({match[1] for match in map(re.compile(pattern).match, shapes) if match})

    blocks = range(count(r"encoder\.down_blocks\.(\d+)\."))
    config = HunyuanVideoConfig(
        in_channels=size("encoder.conv_in.conv.weight", 1),
        out_channels=size("decoder.conv_out.conv.weight", 0),
        latent_channels=size("decoder.conv_in.conv.weight", 1),
        block_out_channels=tuple(size(f"encoder.down_blocks.{i}.resnets.0.conv1.conv.weight", 0) for i in blocks),
        layers_per_block=count(r"encoder\.down_blocks\.0\.resnets\.(\d+)\."),
        mid_block_add_attention=any(".mid_block.attentions." in name for name in shapes),
    )
    return _checked(config, "put its config.json beside it")


def _with_tuples(fields: Mapping[str, Any]) -> dict[str, Any]:
    return {key: tuple(value) if isinstance(value, list) else value for key, value in fields.items()}


def is_latent_space(name: object) -> bool:
    """Whether this can be the name of a latent space: one short line."""
    return isinstance(name, str) and 0 < len(name) <= LONGEST_NAME and name.isprintable() and name == name.strip()


def _checked(config: Config, advice: str) -> Config:
    """The config, if there is a network of it; a dataclass takes anything."""
    fault = next(_faults(config), None)
    if fault is not None:
        raise ValueError(f"{fault}; {advice}")
    return config


def _faults(config: VaeConfig) -> Iterator[str]:
    """What no network can have, field by field."""
    for name, highest in HIGHEST.items():
        if hasattr(config, name) and not _is_count(getattr(config, name), highest):
            yield f"{name} is {_shown(getattr(config, name))}, not a number from 1 to {highest}"
    for name, only in FIXED.items():
        if hasattr(config, name) and not (_is_count(getattr(config, name), only) and getattr(config, name) == only):
            yield f"{name} is {_shown(getattr(config, name))}, and {NAMES[type(config)]} has {only}"
    if isinstance(config, HunyuanVideoConfig):
        yield from _faults_of_blocks(config)
    if isinstance(config, TinyConfig):
        yield from _faults_of_stages(config)
    factor = config.scaling_factor
    if isinstance(factor, bool) or not isinstance(factor, int | float) or not FACTORS[0] <= factor <= FACTORS[1]:
        yield f"scaling_factor is {_shown(factor)}, not a number from {FACTORS[0]:f} to {FACTORS[1]:.0f}"
    if not is_latent_space(config.latent_space):
        yield f"latent_space is {_shown(config.latent_space)}, not a name of up to {LONGEST_NAME} characters"


def _faults_of_blocks(config: HunyuanVideoConfig) -> Iterator[str]:
    widths = config.block_out_channels
    if not _are_counts(widths, NUM_BLOCKS, 1, HIGHEST_WIDTH):
        yield f"block_out_channels is {_shown(widths)}, not {NUM_BLOCKS} widths"
    elif any(width % config.norm_num_groups for width in widths):
        yield f"block_out_channels is {widths!r}, which norm_num_groups {config.norm_num_groups} does not divide"
    if not isinstance(config.mid_block_add_attention, bool):
        yield f"mid_block_add_attention is {_shown(config.mid_block_add_attention)}, not true or false"


def _faults_of_stages(config: TinyConfig) -> Iterator[str]:
    """A stage for each halving of the size; a stage may have no layers."""
    num_stages = len(TinyConfig.block_out_channels)
    if not _are_counts(config.block_out_channels, num_stages, 1, HIGHEST_WIDTH):
        yield f"block_out_channels is {_shown(config.block_out_channels)}, not {num_stages} widths"
    for name in ("encoder_layers", "decoder_layers"):
        if not _are_counts(getattr(config, name), num_stages, 0, MOST_LAYERS):
            yield f"{name} is {_shown(getattr(config, name))}, not {num_stages} numbers from 0 to {MOST_LAYERS}"


def _are_counts(values: object, length: int, least: int, highest: int) -> bool:
    if not isinstance(values, tuple) or len(values) != length:
        return False
    return all(type(value) is int and least <= value <= highest for value in values)


def _is_count(value: object, highest: int) -> bool:
    return type(value) is int and 1 <= value <= highest


def _shown(value: object) -> str:
    """A value as an error shows it, which may be of any length."""
    text = ascii(value)
    return text if len(text) <= 60 else f"{text[:60]}..."
