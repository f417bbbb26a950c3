"""What a file is: a latents file, or a video and how it would be padded."""

import math
from dataclasses import asdict, dataclass
from pathlib import Path

from vae3d_cli.config import VaeConfig
from vae3d_cli.errors import VideoError
from vae3d_cli.geometry import latents_shape, padded_num_frames, padded_size_px
from vae3d_cli.latents import LatentsHeader, LatentsReader, is_safetensors
from vae3d_cli.video import VideoInfo, probe


@dataclass(frozen=True)
class LatentsDescription:
    """A latents file."""

    path: Path
    header: LatentsHeader
    shape: tuple[int, int, int, int]
    dtype: str
    has_pts: bool

    def to_json(self) -> dict[str, object]:
        """One JSON object: the metadata with its numbers as numbers, and the tensor."""
        header = self.header
        values = {
            **header.to_metadata(),
            "num_frames": header.num_frames,
            "height": header.height,
            "width": header.width,
            "seed": header.seed,
            "scaled": header.scaled,
            "scaling_factor": header.scaling_factor,
            "color": header.color,
            "strategy": header.strategy,
        }
        tensor = {"tensor": header.tensor_name, "latents_shape": list(self.shape), "latents_dtype": self.dtype}
        return {"input": str(self.path), "type": "latents", **values, **tensor, "has_pts": self.has_pts}


@dataclass(frozen=True)
class VideoDescription:
    """A video or an image: what its container and its first frame say, and the latents it would give."""

    path: Path
    info: VideoInfo
    num_frames: int
    config: VaeConfig

    def to_json(self) -> dict[str, object]:
        """One JSON object."""
        info, config = self.info, self.config
        padded = {
            "num_frames": padded_num_frames(self.num_frames, config),
            "height": padded_size_px(info.height, config),
            "width": padded_size_px(info.width, config),
        }
        shape = latents_shape(self.num_frames, info.height, info.width, config)
        values = self.num_frames * info.height * info.width * 3
        return {
            "input": str(self.path),
            "type": "video",
            "container": info.container,
            "codec": info.codec,
            "pix_fmt": info.pix_fmt,
            "color": asdict(info.color),
            "num_frames": self.num_frames,
            "height": info.height,
            "width": info.width,
            "rate": f"{info.rate.numerator}/{info.rate.denominator}",
            "sample_aspect_ratio": f"{info.sample_aspect_ratio.numerator}/{info.sample_aspect_ratio.denominator}",
            "padded": padded,
            "latents_shape": list(shape),
            "compression": round(values / math.prod(shape), 2),
        }


def describe(path: Path) -> LatentsDescription | VideoDescription:
    """Look at a file; of a video only the first frame is decoded, and its packets are counted.

    Raises:
        LatentsError: It is a safetensors file and no latents file.
        VideoError: It is neither that nor a readable video.
    """
    try:
        if path.is_file() and is_safetensors(path):
            with LatentsReader(path) as latents:
                dtype = str(latents.dtype).removeprefix("torch.")
                return LatentsDescription(path, latents.header, latents.shape, dtype, latents.pts is not None)
    except OSError as error:
        raise VideoError(f"{path}: {error.strerror or error}") from error
    info, num_frames = probe(path)
    return VideoDescription(path, info, num_frames, VaeConfig(latent_space=""))
