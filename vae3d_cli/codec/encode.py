"""A video into a latents file."""

import contextlib
import secrets
import time
from array import array
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field, replace
from fractions import Fraction
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from vae3d_cli import __version__
from vae3d_cli.codec.memory import device_errors
from vae3d_cli.codec.outputs import binary_output, display_name, latents_spool
from vae3d_cli.codec.overlap import beside_reading
from vae3d_cli.codec.pixels import pixel_chunks
from vae3d_cli.codec.results import EncodeResult
from vae3d_cli.codec.timer import Stopwatch
from vae3d_cli.config import VaeConfig
from vae3d_cli.errors import LatentsError, VideoError
from vae3d_cli.execution import StrategyOptions, encode_chunks, input_device, reads_ahead
from vae3d_cli.files import AnyPath, FileStamp, as_path, sha256_of
from vae3d_cli.geometry import FrameRange, Protocol
from vae3d_cli.latents import LatentsHeader, LatentsSpool, kind_of_latents
from vae3d_cli.model.posterior import Posterior
from vae3d_cli.video import Frame, ReadOptions, Timing, VideoReader
from vae3d_cli.weights import Model

# The least that is exact: more would only take memory, since each latent frame goes through by itself.
CHUNK_LATENTS = 1

# Told how many frames are done, and of how many if that is known.
Progress = Callable[[int, int | None], None]


def ignore_progress(_done: int, _total: int | None) -> None:
    """Where nobody watches."""


@dataclass(frozen=True, kw_only=True)
class EncodeOptions:
    """How a clip is encoded.

    `seed` is for `sample`, and drawn where it is not given. `scaled` multiplies the latents by the scaling factor;
    moments stay as they are. `reading` is how the video is read: its rate, its size, and what to do with damage.
    `protocol` is the one that frames and size are of (see `by`): a clip that has fewer frames is an error.
    """

    posterior: str = "mode"
    seed: int | None = None
    frames: FrameRange = field(default_factory=FrameRange)
    latents_dtype: torch.dtype | None = None
    strategy: StrategyOptions = field(default_factory=StrategyOptions)
    scaled: bool = False
    reading: ReadOptions = field(default_factory=ReadOptions)
    protocol: Protocol | None = None

    def settings(self, model: Model) -> dict[str, object]:
        """What decides the numbers, beside the clip and the encoder, as JSON has it; what is not asked for is left out.

        Files that other options made than these are told by it, so the device, threads and memory are not in it.
        """
        reading, strategy, frames = self.reading, self.strategy, self.frames
        asked: dict[str, object] = {
            "dtype": model.dtype_name,
            "latents_dtype": str(self.latents_dtype or model.dtype).removeprefix("torch."),
            "posterior": self.posterior,
            "seed": self.seed,
            "scaled": self.scaled,
            "strategy": strategy.name,
            "tiles": asdict(strategy.tiles) if strategy.name == "tiled" else None,
            "kernels": None if strategy.kernels == StrategyOptions().kernels else sorted(strategy.kernels),
            "frames": None if frames == FrameRange() else [frames.start, frames.stop],
            "fps": None if reading.rate is None else f"{reading.rate.numerator}/{reading.rate.denominator}",
            "size": None if reading.size is None else list(reading.size),
            "protocol": None if self.protocol is None else self.protocol.name,
            "deinterlace": reading.deinterlace,
            "allow_damaged": reading.allow_damaged,
        }
        return {name: value for name, value in asked.items() if value is not None and value is not False}

    def by(self, protocol: Protocol) -> "EncodeOptions":
        """The same with the frames and the size that a protocol measures."""
        reading = replace(self.reading, size=None, cover=(protocol.width, protocol.height))
        return replace(self, protocol=protocol, frames=FrameRange(0, protocol.num_frames), reading=reading)


@dataclass(frozen=True)
class EncodedClip:
    """What is known of a clip once it is encoded: the header of its latents file, its timing, seconds in the model."""

    header: LatentsHeader
    timing: Timing
    seconds: float
    notes: tuple[str, ...]


def encode_video(
    source: AnyPath | None,
    output: AnyPath | None,
    model: Model,
    options: EncodeOptions = EncodeOptions(),
    progress: Progress = ignore_progress,
) -> EncodeResult:
    """Encode the video `source` into the latents file `output`; `None` is standard input or output.

    `progress` is told of every frame.

    Raises:
        VideoError: The video cannot be read.
        LatentsError: The latents are not finite in the type that they are stored in.
        OutputError: The output cannot be written.
    """
    start = time.perf_counter()
    source, output = as_path(source), as_path(output)
    with (
        device_errors(display_name(source)),
        latents_spool(output, options.latents_dtype or model.dtype) as spool,
    ):
        refuse_latents(source)
        with VideoReader(source, options.reading) as video:
            clip = encode_clip(video, spool, model, options, progress)
        with binary_output(output) as out:
            spool.write(out, clip.header, clip.timing.pts)
        shape = spool.shape
    total = model.load_seconds + time.perf_counter() - start
    return EncodeResult(
        input=display_name(source),
        output=display_name(output),
        model=model,
        header=clip.header,
        num_frames=clip.header.num_frames,
        latents_shape=shape,
        seconds={"load": model.load_seconds, "encode": clip.seconds, "total": total},
        notes=clip.notes,
    )


def refuse_latents(source: Path | None) -> None:
    """See that a file is not one of latents, of which FFmpeg would only say that it is no video.

    Raises:
        VideoError: It is.
    """
    with contextlib.suppress(OSError):  # the reader says what the system has against the file
        if source is not None and source.is_file() and (kind := kind_of_latents(source)):
            raise VideoError(f"{source}: a {kind} file and no video; vae3d decode makes a video of latents")


def encode_clip(
    video: VideoReader, spool: LatentsSpool, model: Model, options: EncodeOptions, progress: Progress
) -> EncodedClip:
    """Encode an open video into a spool, chunk by chunk.

    Raises:
        VideoError: The video is damaged, has none of the frames that were asked for, or fewer than the protocol takes.
        LatentsError: The latents are not finite in the type that they are stored in.
        UsageError: The model has no such strategy.
    """
    seed = options.seed
    if options.posterior == "sample" and seed is None:
        seed = secrets.randbits(32)
    before = _stamp(video)
    read = _FramesRead()
    stamps = read.stamps
    watch = Stopwatch()
    progress(0, video.info.estimated_num_frames)
    ahead = reads_ahead(options.strategy, model.network)
    reading = _read_frames(video, options, read, ignore_progress if ahead else progress)
    with beside_reading(reading, video.path) as frames:
        chunks = watch.outside(pixel_chunks(frames, model.config, CHUNK_LATENTS, input_device(model.network)))
        execution = encode_chunks(
            model.network, chunks, options.strategy, lambda share: progress(round(share * len(stamps)), len(stamps))
        )
        try:
            for latents in watch.over(_latents_of(execution.chunks, model.config, options, seed)):
                spool.append(latents)
        except LatentsError as error:
            raise LatentsError(f"{video.name}: {error}") from error
    if not stamps:
        raise VideoError(f"{video.name}: has only {video.num_read} frames; --frames starts at {options.frames.start}")
    timing = Timing.of(video.info.rate, video.info.time_base, np.frombuffer(stamps, np.int64))
    header = _header(video, model, options, seed, read, timing, execution.strategy)
    if before is not None:
        sha256 = sha256_of(before[0])
        # What changed while it was read is not what was encoded.
        header = replace(header, source_sha256=sha256 if _stamp(video) == before else None)
    timing = replace(timing, last_duration=header.last_duration)
    return EncodedClip(header, timing, watch.seconds, video.notes)


def _header(
    video: VideoReader,
    model: Model,
    options: EncodeOptions,
    seed: int | None,
    read: "_FramesRead",
    timing: Timing,
    strategy: dict[str, object],
) -> LatentsHeader:
    """What the latents file says of the clip that was read."""
    info = video.info
    return LatentsHeader(
        model=model.name,
        latent_space=model.config.latent_space,
        encoder_sha256=model.encoder_sha256,
        posterior=options.posterior,
        seed=seed,
        scaled=options.scaled and options.posterior != "moments",
        scaling_factor=model.config.scaling_factor,
        num_frames=len(read.stamps),
        strategy=strategy,
        settings=options.settings(model),
        source=video.base_name,
        software=f"vae3d {__version__}",
        height=info.height,
        width=info.width,
        rate=timing.rate,
        time_base=timing.time_base,
        start_time=read.stamps[0] * info.time_base or None,
        last_duration=read.last_duration(video),
        color=asdict(info.color),
        pix_fmt=info.pix_fmt,
        sample_aspect_ratio=info.sample_aspect_ratio,
    )


def _stamp(video: VideoReader) -> tuple[Path, FileStamp] | None:
    """The file that is read, as it is now; what is no file, or a copy of one that is read once, has no such name."""
    path = video.path
    return None if path is None or video.base_name is None or not path.is_file() else (path, FileStamp.of(path))


class _FramesRead:
    """The time stamps of the frames so far, and how long the last of them lasts, in the video's time base."""

    def __init__(self) -> None:
        self.stamps = array("q")
        self._last_duration = 0

    def add(self, frame: Frame) -> None:
        self.stamps.append(frame.pts)
        self._last_duration = frame.duration

    def last_duration(self, video: VideoReader) -> Fraction | None:
        """Seconds, if known and not those of the rate; a container that rounds to its ticks does not count."""
        seconds, tick = self._last_duration * video.info.time_base, video.info.time_base
        return seconds if seconds > 0 and abs(seconds - 1 / video.info.rate) >= tick else None


def _read_frames(
    video: VideoReader, options: EncodeOptions, read: _FramesRead, progress: Progress
) -> Iterator[NDArray[Any]]:
    frames, protocol, estimate = options.frames, options.protocol, video.info.estimated_num_frames
    total = len(frames.within(estimate)) if estimate else None
    for frame in islice(video, frames.start, frames.stop):
        read.add(frame)
        yield frame.rgb
        progress(len(read.stamps), total)
    if protocol is not None and len(read.stamps) < protocol.num_frames:
        raise VideoError(
            f"{video.name}: has only {len(read.stamps)} of the {protocol.num_frames} frames that --protocol "
            f"{protocol.name} takes; leave it out, or give a longer clip"
        )


def _latents_of(
    chunks: Iterator[Tensor], config: VaeConfig, options: EncodeOptions, seed: int | None
) -> Iterator[Tensor]:
    """What the file stores, `[C, T', h, w]` on the CPU: latents, or moments."""
    generator = torch.Generator().manual_seed(seed) if options.posterior == "sample" and seed is not None else None
    factor = config.scaling_factor if options.scaled else 1.0
    for moments in chunks:
        posterior = Posterior.from_moments(moments.cpu())
        if options.posterior == "moments":
            yield torch.cat((posterior.mean, posterior.logvar), dim=1)[0]
        else:
            yield (posterior.mode() if generator is None else posterior.sample(generator))[0] * factor
