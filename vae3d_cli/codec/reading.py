"""The frames of an open video, and what a model makes of them."""

import contextlib
import secrets
from array import array
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, replace
from fractions import Fraction
from itertools import islice
from pathlib import Path
from threading import Event
from types import TracebackType
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from vae3d_cli import __version__
from vae3d_cli.codec.options import EncodeOptions, Progress, ignore_progress
from vae3d_cli.codec.overlap import beside_reading
from vae3d_cli.codec.pixels import pixel_chunks
from vae3d_cli.codec.timer import Stopwatch
from vae3d_cli.config import VaeConfig
from vae3d_cli.errors import LatentsError, VideoError
from vae3d_cli.execution import encode_chunks, input_device, reads_ahead
from vae3d_cli.files import FileStamp, sha256_of
from vae3d_cli.geometry import MAX_SIDE_PX
from vae3d_cli.latents import LatentsHeader, LatentsSpool
from vae3d_cli.model.posterior import Posterior
from vae3d_cli.video import Clip, Timing
from vae3d_cli.weights import Model

# The least that is exact: more would only take memory, since each latent frame goes through by itself.
CHUNK_LATENTS = 1


@dataclass(frozen=True)
class EncodedClip:
    """What is known of a clip once it is encoded: the header of its latents file, its timing, seconds in the model.

    `source` is the file that was read, as it was before.
    """

    header: LatentsHeader
    timing: Timing
    seconds: float
    notes: tuple[str, ...]
    source: tuple[Path, FileStamp] | None

    def hashed(self) -> "EncodedClip":
        """The same with the SHA-256 of the source in the header, unless it is no file, or has changed meanwhile."""
        if self.source is None:
            return self
        path, stamp = self.source
        sha256 = sha256_of(path)
        # What changed while it was read is not what was encoded.
        return replace(self, header=replace(self.header, source_sha256=sha256 if FileStamp.of(path) == stamp else None))


class Reading:
    """The frames of an open video that are asked for, read ahead where it is a file, and what was seen of them.

    After the last of them the video is closed, and `has_ended` is set: FFmpeg logs for the whole process, so that what
    it says of damage could be about another video if two were open.

    Raises:
        VideoError: The video is damaged, has none of the frames that were asked for, or fewer than the protocol takes;
            or its frames have a longer side than a latents file may have.
    """

    def __init__(self, video: Clip, options: EncodeOptions, has_ended: Event | None = None) -> None:
        width, height = video.info.width, video.info.height
        if max(width, height) > MAX_SIDE_PX:
            raise VideoError(
                f"{video.name}: its frames of {width}x{height} are too large; a side may have {MAX_SIDE_PX} pixels, "
                "make them smaller with --size"
            )
        self.video, self._options = video, options
        self._has_ended = has_ended or Event()
        self.stamps = array("q")
        self._last_duration = 0
        self._source = _stamp(video)
        self._stack = contextlib.ExitStack()

    def __enter__(self) -> "Reading":
        """Begin."""
        self._stack.callback(self._end)
        self._frames: Iterable[NDArray[Any]] = self._stack.enter_context(beside_reading(self._read(), self.video.path))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Read no more."""
        self._stack.close()

    def last_duration(self, rate: Fraction) -> Fraction | None:
        """Seconds, if known and not those of the rate; a container that rounds to its ticks does not count."""
        tick = self.video.info.time_base
        seconds = self._last_duration * tick
        return seconds if seconds > 0 and abs(seconds - 1 / rate) >= tick else None

    def encode(self, spool: LatentsSpool, model: Model, progress: Progress) -> EncodedClip:
        """Encode the frames into a spool, chunk by chunk.

        Raises:
            LatentsError: The latents are not finite in the type that they are stored in.
            UsageError: The model has no such strategy.
        """
        video, options, stamps = self.video, self._options, self.stamps
        seed = options.seed
        if options.posterior == "sample" and seed is None:
            seed = secrets.randbits(32)
        watch = Stopwatch()
        progress(0, video.info.estimated_num_frames)
        frames = self._told(ignore_progress if reads_ahead(options.strategy, model.network) else progress)
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
            raise VideoError(
                f"{video.name}: has only {video.num_read} frames; --frames starts at {options.frames.start}"
            )
        timing = Timing.of(video.info.rate, video.info.time_base, np.frombuffer(stamps, np.int64))
        header = _header(self, model, options, seed, timing, execution.strategy)
        timing = replace(timing, last_duration=header.last_duration)
        missing = options.frames.missing_note(options.frames.start + len(stamps))
        notes = (*video.notes, *(f"{video.name}: {note}" for note in missing))
        return EncodedClip(header, timing, watch.seconds, notes, self._source)

    def _end(self) -> None:
        self.video.close()
        self._has_ended.set()

    def _told(self, progress: Progress) -> Iterator[NDArray[Any]]:
        """The frames; `progress` is told of each that is done with."""
        estimate = self.video.info.estimated_num_frames
        total = len(self._options.frames.within(estimate)) if estimate else None
        for number, rgb in enumerate(self._frames, 1):
            yield rgb
            progress(number, total)

    def _read(self) -> Iterator[NDArray[Any]]:
        frames, protocol = self._options.frames, self._options.protocol
        try:
            for frame in islice(self.video, frames.start, frames.stop):
                self.stamps.append(frame.pts)
                self._last_duration = frame.duration
                yield frame.rgb
        finally:
            self._end()
        if protocol is not None and len(self.stamps) < protocol.num_frames:
            raise VideoError(
                f"{self.video.name}: has only {len(self.stamps)} of the {protocol.num_frames} frames that --protocol "
                f"{protocol.name} takes; leave it out, or give a longer clip"
            )


def _header(
    read: Reading,
    model: Model,
    options: EncodeOptions,
    seed: int | None,
    timing: Timing,
    strategy: dict[str, object],
) -> LatentsHeader:
    """What the latents file says of the clip that was read."""
    video, info = read.video, read.video.info
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
        last_duration=read.last_duration(timing.rate),
        color=asdict(info.color),
        pix_fmt=info.pix_fmt,
        sample_aspect_ratio=info.sample_aspect_ratio,
    )


def _stamp(video: Clip) -> tuple[Path, FileStamp] | None:
    """The file that is read, as it is now; what is no file, or a copy of one that is read once, has no such name."""
    path = video.path
    return None if path is None or video.base_name is None or not path.is_file() else (path, FileStamp.of(path))


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
