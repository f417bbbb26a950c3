"""Which tool wrote a safetensors file of latents; the facts are those of the README's table."""

import re
from collections.abc import Mapping
from dataclasses import replace

from vae3d_cli.errors import LatentsError
from vae3d_cli.latents.container import Entry, Structure
from vae3d_cli.latents.foreign.header import ForeignHeader, clip_shape

MUSUBI, MUSUBI_GENERATED, COMFYUI = "musubi", "musubi-generated", "comfyui"
COMFYUI_TENSOR, COMFYUI_MARKER = "latent_tensor", "latent_format_version_0"
GENERATED_TENSOR = "latent"
MUSUBI_ARCHITECTURE = "hunyuan_video"
# As musubi-tuner names the types that safetensors calls so.
MUSUBI_DTYPES = {"F32": "float32", "F16": "float16", "BF16": "bfloat16"}
_CACHE = re.compile(r"latents_[0-9]{1,9}x[0-9]{1,9}x[0-9]{1,9}_[a-z0-9]{1,16}")


def recognise(structure: Structure) -> ForeignHeader | None:
    """What the file of another tool says, or `None` where it is of none that we know.

    Raises:
        LatentsError: It is, and its latents are not HunyuanVideo's, or it contradicts itself.
    """
    entries, metadata = structure.entries, structure.metadata
    if COMFYUI_TENSOR in entries:
        return _comfyui(entries)
    caches = [name for name in entries if _CACHE.fullmatch(name)]
    if len(caches) > 1:
        raise LatentsError(f"holds {len(caches)} latents, {' and '.join(sorted(caches)[:2])}; take a file of one")
    if caches:
        return _musubi(caches[0], entries[caches[0]], metadata)
    if GENERATED_TENSOR in entries:
        shape = clip_shape(entries[GENERATED_TENSOR].shape, GENERATED_TENSOR)
        said = ForeignHeader(format=MUSUBI_GENERATED, tensor_name=GENERATED_TENSOR, shape=shape, scaled=True)
        return _noting(said, metadata, num_frames="video_length")
    return None


def musubi_tensor(shape: tuple[int, int, int, int], dtype: str) -> str:
    """The name of the tensor of a musubi cache, which says its shape and type."""
    return f"latents_{shape[1]}x{shape[2]}x{shape[3]}_{MUSUBI_DTYPES.get(dtype, dtype)}"


def _comfyui(entries: Mapping[str, Entry]) -> ForeignHeader:
    shape = clip_shape(entries[COMFYUI_TENSOR].shape, COMFYUI_TENSOR)
    # ComfyUI would take latents without the marker for Stable Diffusion's, multiplied by 0.18215. It has always written
    # it for HunyuanVideo, so that another tool made this file.
    is_marked = COMFYUI_MARKER in entries
    return ForeignHeader(format=COMFYUI, tensor_name=COMFYUI_TENSOR, shape=shape, scaled=False if is_marked else None)


def _musubi(name: str, entry: Entry, metadata: Mapping[str, str]) -> ForeignHeader:
    architecture = metadata.get("architecture", "")
    if architecture != MUSUBI_ARCHITECTURE:
        raise LatentsError(
            f"a musubi-tuner cache of the architecture {architecture[:60]!r}; only those of {MUSUBI_ARCHITECTURE!r} "
            "hold HunyuanVideo's latents"
        )
    shape = clip_shape(entry.shape, name)
    if name != musubi_tensor(shape, entry.dtype):
        raise LatentsError(
            f"its tensor {name!r} has the shape {list(entry.shape)} and the type {entry.dtype}, not those of its name; "
            "take a whole copy of it"
        )
    said = ForeignHeader(format=MUSUBI, tensor_name=name, shape=shape, posterior="sample")
    return _noting(said, metadata, num_frames="frame_count")


def _noting(said: ForeignHeader, metadata: Mapping[str, str], *, num_frames: str) -> ForeignHeader:
    """With a note where the metadata have other sizes: musubi-tuner's are of the source, which it has resized."""
    notes = []
    width, height, frames = (_count(metadata.get(key)) for key in ("width", "height", num_frames))
    if width and height and (width, height) != (said.width, said.height):
        notes.append(f"was made of {width}x{height}, and its latents are of {said.width}x{said.height}")
    if frames and frames != said.num_frames:
        notes.append(f"says {num_frames} {frames}, and its latents are of {said.num_frames} frames")
    return replace(said, notes=tuple(notes))


def _count(text: str | None) -> int | None:
    """A count in the metadata, if it is one."""
    return int(text) if text and re.fullmatch("[0-9]{1,9}", text) else None
