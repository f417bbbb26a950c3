"""Latent files as other tools read them: their layout, their names, and what they cannot hold."""

import re
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from vae3d_cli.errors import LatentsError
from vae3d_cli.geometry import num_decoded_frames
from vae3d_cli.latents.foreign.header import HUNYUANVIDEO, ForeignHeader
from vae3d_cli.latents.foreign.recognition import (
    COMFYUI,
    COMFYUI_MARKER,
    COMFYUI_TENSOR,
    MUSUBI,
    MUSUBI_ARCHITECTURE,
    musubi_tensor,
)
from vae3d_cli.latents.header import MOMENTS, LatentsHeader
from vae3d_cli.latents.writer import Layout, own_layout

VAE3D = "vae3d"
# The formats that are written, and the suffix of their files.
SUFFIXES = {VAE3D: ".safetensors", MUSUBI: ".safetensors", COMFYUI: ".latent"}
_MUSUBI_VERSION = "1.0.1"
_MUSUBI_NAME = re.compile(
    r"(?P<stem>.+?)(?P<frames>_(?P<start>[0-9]{5,9})-(?P<count>[0-9]{3,9}))?_[0-9]{4,9}x[0-9]{4,9}_hv\.safetensors",
    re.DOTALL,
)

Said = LatentsHeader | ForeignHeader
Shape = tuple[int, int, int, int]


def layout_of(format_name: str, said: Said, shape: Shape, dtype: str, pts: NDArray[np.int64] | None = None) -> Layout:
    """The layout of a file in this format, for unscaled latents (or moments, in `vae3d`) of this shape and type.

    Raises:
        LatentsError: The format holds what is not known of the clip.
    """
    if format_name == MUSUBI:
        counts = {"frame_count": str(num_decoded_frames(shape[1], HUNYUANVIDEO))} if shape[1] > 1 else {}
        sizes = {"width": str(said.width), "height": str(said.height)}
        version = {"architecture": MUSUBI_ARCHITECTURE, "format_version": _MUSUBI_VERSION}
        return Layout(metadata={**version, **sizes, **counts}, tensor_name=musubi_tensor(shape, dtype), shape=shape)
    if format_name == COMFYUI:
        # ComfyUI ignores the metadata, so that there is room for ours; it has no place for times.
        metadata = {} if said.rate is None else replace(_written(said, format_name), time_base=None).to_metadata()
        marker = {COMFYUI_MARKER: ("F32", 0, b"")}
        return Layout(metadata=metadata, tensor_name=COMFYUI_TENSOR, shape=(1, *shape), others=marker)
    return own_layout(_written(said, format_name), shape, pts)


def _written(said: Said, format_name: str) -> LatentsHeader:
    """The header of what is written, of which `layout_of` says what it is."""
    header = said.to_header() if isinstance(said, ForeignHeader) else said
    if header.settings is not None:
        others = {name: value for name, value in header.settings.items() if name != "format"}
        header = replace(header, settings=others | settings_of(format_name))
    if header.posterior == MOMENTS:
        return header if format_name == VAE3D else replace(header, posterior="mode")
    return replace(header, scaled=False)


def musubi_name(stem: str, said: Said, shape: Shape, *, start: int = 0) -> str:
    """What musubi-tuner calls the cache of a clip, or of an image; `start` is the first frame in the source."""
    frames = f"_{start:05d}-{num_decoded_frames(shape[1], HUNYUANVIDEO):03d}" if shape[1] > 1 else ""
    return f"{stem}{frames}_{said.width:04d}x{said.height:04d}_hv.safetensors"


def musubi_pattern(stem: str, start: int | None) -> str:
    """What is known of `musubi_name` before a clip is read, with `*` for the rest; `None` is an image."""
    return f"{stem}_*_hv.safetensors" if start is None else f"{stem}_{start:05d}-*_hv.safetensors"


def musubi_names(name: str) -> Iterator[tuple[str, int | None]]:
    """The stems and first frames that `musubi_name` gives this name for; `None` is an image. It may be none's."""
    if match := _MUSUBI_NAME.fullmatch(name):
        frames = match["frames"] or ""
        if frames:
            yield match["stem"], int(match["start"])
        yield match["stem"] + frames, None


def is_musubi_name(name: str, shape: Shape) -> bool:
    """Whether this is a file name that musubi-tuner may give to the cache of a clip of this shape."""
    match = _MUSUBI_NAME.fullmatch(name)
    if match is None or not name.isprintable() or "/" in name or "\\" in name:
        return False
    return shape[1] == 1 or int(match["count"] or 0) == num_decoded_frames(shape[1], HUNYUANVIDEO)


def settings_of(format_name: str) -> dict[str, object]:
    """What the settings of a latents file say of its format: nothing of our own."""
    return {} if format_name == VAE3D else {"format": format_name}


def check_space(name: str, latent_space: str, channels: int) -> None:
    """See that latents, of what is called `name`, are those that other tools have.

    Raises:
        LatentsError: They are of another latent space.
    """
    if latent_space != HUNYUANVIDEO.latent_space or channels % HUNYUANVIDEO.latent_channels:
        raise LatentsError(
            f"{name}: its latents are of the latent space {latent_space!r} with {channels} channels; other tools take "
            "only HunyuanVideo's"
        )


def losses(format_name: str, said: Said, shape: Shape, *, has_pts: bool) -> list[str]:
    """What the format cannot hold of this clip."""
    if format_name == VAE3D:
        return []
    decoded = ForeignHeader(format=format_name, tensor_name="", shape=shape)
    own, others = (f"{clip.num_frames} frames of {clip.width}x{clip.height}" for clip in (said, decoded))
    has_rate = said.rate is not None and said.num_frames > 1
    notes = []
    if format_name == MUSUBI and has_rate:
        notes.append(f"musubi-tuner's caches hold no frame rate; the clip has {said.rate} frames per second")
    if own != others:
        notes.append(
            f"{'musubi-tuner' if format_name == MUSUBI else 'ComfyUI'} knows no padding; there are {own}, which it "
            f"takes for {others}"
        )
    if format_name == COMFYUI and has_rate:
        notes.append("ComfyUI ignores the frame rate and the size, which the file holds for vae3d alone")
    if has_pts:
        notes.append("the times of the frames, which vary, are not in the file")
    if said.posterior == MOMENTS:
        notes.append("the file holds the mean of the moments")
    return notes
