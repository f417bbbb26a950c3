"""The layouts in which checkpoints name their weights, and the way from each to the canonical names.

Canonical are the network's own names, which are those of diffusers and of the original. All here works on names and
shapes. A refusal is a `ValueError` whose text says what the file holds and what to do; callers put the file before it.
"""

import re
from collections.abc import Mapping
from enum import Enum
from typing import TypeVar

from torch import Tensor

FORMAT = "vae3d.checkpoint/1"
Shape = tuple[int, ...]
Value = TypeVar("Value")


class Layout(Enum):
    """How a checkpoint names its weights."""

    OURS = "vae3d"
    CANONICAL = "original or diffusers"
    LDM = "LDM"


# A weight that every HunyuanVideo VAE has in this layout.
MARKS = {
    "decoder.up_blocks.0.resnets.0.norm1.weight": Layout.CANONICAL,
    "decoder.up.0.block.0.norm1.weight": Layout.LDM,
}

# What stands before the names of the VAE's weights in a state dict of more: pipelines, data parallel training, LDM.
PREFIXES = ("vae.", "module.", "first_stage_model.")
COMPILED = "_orig_mod."

# What else people hold, by what only it has: a pattern of a weight's name and shape.
FOREIGN = (
    (r"(^|\.)((double|single|(single_)?transformer)_blocks|diffusion_model)\.", "a transformer or U-Net"),
    (r"^blocks\.\d+\.", "a transformer"),
    (r"^encoder\.block_in\.", "a Mochi VAE"),
    (r"\.norm_layer\.", "a CogVideoX VAE"),
    (r"\.res_blocks\.|^per_channel_statistics\.|^latents_mean ", "an LTX VAE"),
    (r"^decoder\.middle\.|^decoder\.conv_in\.weight \[\d+(, \d+){4}\]", "a VAE of Wan's kind"),
    (r"^decoder\.conv_in\.weight \[\d+(, \d+){3}\]", "a VAE of 2-D convolutions, such as Stable Diffusion's"),
    (r"^decoder\.conv_in\.conv\.weight \[\d+, 32,", "HunyuanVideo-1.5's VAE"),
)

# In this order. LDM counts the decoder's blocks from its output.
LDM_RENAMES = (
    (r"^encoder\.down\.(\d+)\.block\.", r"encoder.down_blocks.\1.resnets."),
    (r"^encoder\.down\.(\d+)\.downsample\.", r"encoder.down_blocks.\1.downsamplers.0."),
    *((rf"^decoder\.up\.{3 - i}\.block\.", f"decoder.up_blocks.{i}.resnets.") for i in range(4)),
    *((rf"^decoder\.up\.{3 - i}\.upsample\.", f"decoder.up_blocks.{i}.upsamplers.0.") for i in range(4)),
    *((rf"\.mid\.block_{i + 1}\.", f".mid_block.resnets.{i}.") for i in range(2)),
    (r"\.mid\.attn_1\.norm\.", ".mid_block.attentions.0.group_norm."),
    (r"\.mid\.attn_1\.([qkv])\.", r".mid_block.attentions.0.to_\1."),
    (r"\.mid\.attn_1\.proj_out\.", ".mid_block.attentions.0.to_out.0."),
    (r"\.nin_shortcut\.", ".conv_shortcut."),
    (r"\.norm_out\.", ".conv_norm_out."),
)
MATRIX = re.compile(r"\.attentions\.0\.to_\w+\.(0\.)?weight$")


def of_the_vae(items: Mapping[str, Value]) -> dict[str, Value]:
    """The items of a state dict that are the VAE's, by their names without prefixes.

    Training frameworks and torch.compile put a prefix before every name; where some names have one of a VAE, the others
    are another part's.
    """
    found = {name.replace(COMPILED, ""): value for name, value in items.items()}
    while prefix := next((prefix for prefix in PREFIXES if any(name.startswith(prefix) for name in found)), None):
        found = {name.removeprefix(prefix): value for name, value in found.items() if name.startswith(prefix)}
    return found


def is_counter(name: str) -> bool:
    """Whether a name of a state dict belongs to no layer, such as `global_step`."""
    return "." not in name


def layout_of(shapes: Mapping[str, Shape], metadata: Mapping[str, str]) -> Layout:
    """The layout of a checkpoint with weights of these shapes.

    Raises:
        ValueError: They are not those of a network of ours.
    """
    found = metadata.get("format", "")
    if found == FORMAT:
        return Layout.OURS
    if found.startswith("vae3d."):
        raise ValueError(f"its format is {found!r}, expected {FORMAT!r}; give a checkpoint, or update vae3d")
    lines = [f"{name} {list(shape)}" for name, shape in shapes.items()]
    for pattern, kind in FOREIGN:
        if any(map(re.compile(pattern).search, lines)):
            raise ValueError(f"{kind}, not HunyuanVideo's VAE; use -m hunyuanvideo, or a checkpoint of that")
    for mark, layout in MARKS.items():
        if mark in shapes:
            return layout
    what = f"a model vae3d does not know, of {len(shapes)} weights" if shapes else "no weights in it"
    raise ValueError(f"{what}; use -m hunyuanvideo, or a checkpoint of HunyuanVideo's VAE")


def canonical(weights: Mapping[str, Tensor], layout: Layout) -> dict[str, Tensor]:
    """The weights by their canonical names, in the shapes that go with these.

    Raises:
        ValueError: Two weights claim one name.
    """
    if layout is not Layout.LDM:
        return dict(weights)
    renamed: dict[str, Tensor] = {}
    for name, tensor in weights.items():
        for pattern, replacement in LDM_RENAMES:
            name = re.sub(pattern, replacement, name)
        if name in renamed:
            raise ValueError(f"the weight {name} is in it twice; take a whole copy of the checkpoint")
        # Where the network has matrices, LDM has convolutions with a kernel of one position.
        renamed[name] = tensor.flatten(1) if MATRIX.search(name) and tensor.ndim > 2 else tensor
    return renamed
