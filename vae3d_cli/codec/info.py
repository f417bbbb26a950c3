"""What a file is: a latents file, or a video and how it would be padded."""

import math
from dataclasses import asdict, dataclass
from pathlib import Path

from vae3d_cli.codec.outputs import display_name
from vae3d_cli.config import TinyConfig, VaeConfig
from vae3d_cli.errors import VideoError
from vae3d_cli.files import STDIN_NAME, copy_of_pipe, is_read_once
from vae3d_cli.geometry import latents_shape, padded_num_frames, padded_size_px
from vae3d_cli.latents import ForeignHeader, LatentsHeader, LatentsReader, kind_of_latents
from vae3d_cli.video import VideoInfo, open_clip


@dataclass(frozen=True)
class LatentsDescription:
    """A file of latents; `said` is what it says of itself, and `format` and `tensor_name` are those of the file."""

    name: str
    said: LatentsHeader | ForeignHeader
    format: str
    tensor_name: str
    shape: tuple[int, int, int, int]
    dtype: str
    has_pts: bool
    notes: tuple[str, ...]

    def to_json(self) -> dict[str, object]:
        """One JSON object: what is said with its numbers as numbers, and the tensor."""
        tensor = {"tensor": self.tensor_name, "latents_shape": list(self.shape), "latents_dtype": self.dtype}
        return {"input": self.name, "type": "latents", **self._facts(), **tensor, "has_pts": self.has_pts}

    def _facts(self) -> dict[str, object]:
        header = self.said
        if isinstance(header, ForeignHeader):
            return header.to_json()
        return {
            **header.to_metadata(),
            "format": self.format,
            "num_frames": header.num_frames,
            "height": header.height,
            "width": header.width,
            "seed": header.seed,
            "scaled": header.scaled,
            "scaling_factor": header.scaling_factor,
            "color": header.color,
            "strategy": header.strategy,
            "settings": header.settings,
        }


@dataclass(frozen=True)
class VideoDescription:
    """A video or an image: what its container and its first frame say, and the latents it would give."""

    name: str
    info: VideoInfo
    num_frames: int
    config: VaeConfig
    notes: tuple[str, ...] = ()

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
            "input": self.name,
            "type": "video",
            "container": info.container,
            "codec": info.codec,
            "pix_fmt": info.pix_fmt,
            "color": asdict(info.color),
            "num_frames": self.num_frames,
            "num_frames_exact": info.is_count_exact,
            "height": info.height,
            "width": info.width,
            "rate": f"{info.rate.numerator}/{info.rate.denominator}",
            "sample_aspect_ratio": f"{info.sample_aspect_ratio.numerator}/{info.sample_aspect_ratio.denominator}",
            "padded": padded,
            "latents_shape": list(shape),
            "compression": round(values / math.prod(shape), 2),
        }


def describe(path: Path | None, config: VaeConfig | None = None) -> LatentsDescription | VideoDescription:
    """Look at a file (`None` is standard input); of a video only the first frame is decoded, and its packets counted.

    `config` is of the model whose latents a video is asked about, by default the embedded one.

    Raises:
        LatentsError: It is a safetensors file or one of `torch.save`, and no file of latents.
        VideoError: It is neither that nor a readable video.
    """
    if path is None or is_read_once(path):
        with copy_of_pipe(path) as copy:
            return _describe(copy, display_name(path), str(path or STDIN_NAME), config or TinyConfig())
    return _describe(path, display_name(path), None, config or TinyConfig())


def _describe(path: Path, name: str, copy_of: str | None, config: VaeConfig) -> LatentsDescription | VideoDescription:
    try:
        is_latents = path.is_file() and kind_of_latents(path) is not None
    except OSError as error:
        raise VideoError(f"{path}: {error.strerror}; the file cannot be read") from error
    if is_latents:
        with LatentsReader(path, copy_of=copy_of) as latents:
            return LatentsDescription(
                name,
                latents.said,
                latents.format,
                latents.tensor_name,
                latents.shape,
                str(latents.dtype).removeprefix("torch."),
                latents.pts is not None,
                (*latents.notes, *_left_open(latents)),
            )
    with open_clip(path, copy_of=copy_of) as video:
        num_frames = video.count_frames()
        return VideoDescription(name, video.info, num_frames, config, video.notes)


def _left_open(latents: LatentsReader) -> list[str]:
    """What decode must be told of a file of another tool."""
    facts, options = latents.said.missing() if isinstance(latents.said, ForeignHeader) else ("", "")
    return [f"{latents.name}: does not say {facts}; decode and convert take it from {options}"] if facts else []
