"""A latents file into a video."""

import contextlib
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from torch import Tensor

from vae3d_cli.codec.decoders import decoder_of
from vae3d_cli.codec.memory import device_errors
from vae3d_cli.codec.options import Progress, ignore_progress
from vae3d_cli.codec.outputs import display_name, video_output
from vae3d_cli.codec.overlap import beside_writing
from vae3d_cli.codec.pixels import to_frames
from vae3d_cli.codec.reading import CHUNK_LATENTS
from vae3d_cli.codec.results import DecodeResult
from vae3d_cli.codec.timer import Stopwatch
from vae3d_cli.config import VaeConfig
from vae3d_cli.errors import LatentsError, VideoError
from vae3d_cli.execution import Execution, StrategyOptions, decode_chunks, input_device, reads_ahead
from vae3d_cli.files import AnyPath, as_path
from vae3d_cli.geometry import Chunk, FrameRange, latent_frame_of, latents_shape, num_latent_frames, plan_chunks
from vae3d_cli.latents import MOMENTS, UNKNOWN, LatentsHeader, LatentsReader, Told
from vae3d_cli.model.posterior import Posterior
from vae3d_cli.video import AudioCopy, EncoderOptions, Span, Timing, check_audio, check_size, is_deep, suffix_of
from vae3d_cli.weights import Model, load_model


class LatentsSource(Protocol):
    """Latent frames at rest."""

    def read(self, start: int, stop: int) -> Tensor:
        """Latent frames `start` to `stop - 1` as they are stored, `[C, stop - start, h, w]`."""


@dataclass(frozen=True, kw_only=True)
class DecodeOptions:
    """How latents are decoded, and how the video is written.

    `any_model` decodes latents of another latent space, which gives noise or worse. `default_model` is for files whose
    own model cannot be found. `audio` is a file whose audio is copied into the video. `told` is for files of other
    tools: their rate, and whether they are scaled.
    """

    frames: FrameRange = field(default_factory=FrameRange)
    strategy: StrategyOptions = field(default_factory=StrategyOptions)
    any_model: bool = False
    default_model: str | None = None
    encoder: EncoderOptions = field(default_factory=EncoderOptions)
    audio: Path | None = None
    told: Told = field(default_factory=Told)


def decode_video(
    source: AnyPath | None,
    output: AnyPath | None,
    model: Model | str | None = None,
    options: DecodeOptions = DecodeOptions(),
    *,
    load: Callable[[str], Model] = load_model,
    overwrite: bool = True,
    progress: Progress = ignore_progress,
) -> DecodeResult:
    """Decode the latents file `source` into the video `output`; `None` is standard input or output.

    An output that exists is replaced or, without `overwrite`, an error in the end. The model is the one that the file
    names, unless `model` is or names another; see `decoder_of` for a checkpoint of one's own.
    `progress` is told of every frame.

    Raises:
        LatentsError: The file cannot be read, or does not fit the model.
        WeightsError: The model cannot be loaded.
        VideoError: The clip cannot be written as such a video.
        OutputError: The output cannot be written.
    """
    start = time.perf_counter()
    source, output = as_path(source), as_path(output)
    with device_errors(display_name(source)), LatentsReader(source, options.told) as latents:
        header = latents.header
        check_video(output, options.encoder, header.width, header.height, name=latents.name)
        waiting = time.perf_counter()
        found: tuple[str, ...] = ()
        if model is None:
            model, found = decoder_of(latents, source, options.default_model)
        loaded = model if isinstance(model, Model) else load(model)
        start += time.perf_counter() - waiting  # the model itself says how long it took, once
        notes = (*latents.notes, *found, *check_fit(latents, loaded, any_model=options.any_model))
        selected = options.frames.within(header.num_frames)
        if not selected:
            raise LatentsError(
                f"{latents.name}: has only {header.num_frames} frames; --frames starts at {options.frames.start}"
            )
        notes = (*notes, *(f"{latents.name}: {note}" for note in options.frames.missing_note(header.num_frames)))
        progress(0, len(selected))
        watch, timing = Stopwatch(), _timing(latents, selected)
        decoded = decode_clip(latents, header, loaded, selected, options.strategy, watch, progress)
        with (
            _audio_of(options.audio, latents, selected, suffix_of(output, options.encoder)) as audio,
            video_output(output, header, timing, len(selected), options.encoder, audio, overwrite=overwrite) as writer,
            beside_writing(writer, output) as behind,
        ):
            for frame in decoded.frames:
                behind.write(frame.numpy())
        shape = latents.shape
    total = loaded.load_seconds + time.perf_counter() - start
    return DecodeResult(
        input=display_name(source),
        output=display_name(output),
        model=loaded.facts,
        header=header,
        decoded_with=decoded.execution.strategy,
        num_frames=len(selected),
        latents_shape=shape,
        seconds={"load": loaded.load_seconds, "decode": watch.seconds, "total": total},
        notes=(*notes, *(f"{display_name(output)}: {note}" for note in writer.notes)),
    )


def check_video(output: Path | None, encoder: EncoderOptions, width: int, height: int, *, name: str) -> None:
    """See that a clip of this size can be written so, before it is worked on; `name` is the clip's.

    Raises:
        VideoError: It cannot.
    """
    try:
        check_size(output, encoder, width, height)
    except VideoError as error:
        raise VideoError(f"{name}: {error}") from error


@contextlib.contextmanager
def _audio_of(path: Path | None, latents: LatentsReader, selected: range, suffix: str) -> Iterator[AudioCopy | None]:
    """The audio of the file that was given for it, over the selected frames."""
    if path is None:
        yield None
        return
    if not check_audio(path, suffix):
        raise VideoError(f"{path}: has no audio; leave --audio out")
    header = latents.header
    span = Span.of(_timing(latents, range(header.num_frames)), header.num_frames, selected, header.start_time)
    track = (header.settings or {}).get("stream")
    with AudioCopy(path, span, track=track if isinstance(track, int) else None) as audio:
        yield audio


@dataclass(frozen=True)
class DecodedClip:
    """The frames `[3, H, W]` of a clip on the CPU, as they are asked for, and how they are made.

    They are uint8, or uint16 where the source had more than 8 bits.
    """

    frames: Iterator[Tensor]
    execution: Execution


def decode_clip(
    latents: LatentsSource,
    header: LatentsHeader,
    model: Model,
    selected: range,
    strategy: StrategyOptions,
    watch: Stopwatch,
    progress: Progress = ignore_progress,
) -> DecodedClip:
    """The selected frames of the clip that `header` describes; `watch` counts the time in the model.

    Decoding starts as many latent frames early as the first selected frame can depend on, and ends with the last that
    any can depend on. `progress` is told of the selected frames.

    Raises:
        UsageError: The model has no such strategy.
    """
    config, context = model.config, model.network.decoder_context_latents
    first, stop = 0, num_latent_frames(header.num_frames, config)
    if context is not None:
        first = max(0, latent_frame_of(selected.start, config) - context)
        stop = latent_frame_of(selected.stop - 1, config) + 1
    total, device, deep = len(selected), input_device(model.network), is_deep(header.pix_fmt)
    chunks = (
        _decodable(latents.read(chunk.start, chunk.stop), header).to(device)
        for chunk in plan_chunks(CHUNK_LATENTS, stop, first)
    )
    execution = decode_chunks(
        model.network, watch.outside(chunks), strategy, first, lambda share: progress(round(share * total), total)
    )

    def frames() -> Iterator[Tensor]:
        position = Chunk(first, stop).first_frame(config)
        by_frame = ignore_progress if reads_ahead(strategy, model.network) else progress
        for chunk in watch.over(pixels.cpu() for pixels in execution.chunks):
            for frame in to_frames(chunk, header.height, header.width, deep=deep):
                if position in selected:
                    yield frame
                    by_frame(selected.index(position) + 1, total)
                position += 1
            if position >= selected.stop:
                return

    return DecodedClip(frames(), execution)


def check_fit(latents: LatentsReader, model: Model, *, any_model: bool) -> tuple[str, ...]:
    """See that latents are of the model's latent space and of the size that their header says; return notes.

    Raises:
        LatentsError: They are not.
    """
    header, name = latents.header, latents.name
    if header.latent_space != model.config.latent_space and not any_model:
        raise LatentsError(
            f"{name}: its latent space is {header.latent_space!r} and that of {model.name} is "
            f"{model.config.latent_space!r}; give its own model with -m"
        )
    check_shape(latents, model.config)
    if header.latent_space != model.config.latent_space or header.encoder_sha256 in (model.encoder_sha256, UNKNOWN):
        return ()
    return (f"{name}: was encoded with other weights of the latent space {header.latent_space}",)


def check_shape(latents: LatentsReader, config: VaeConfig) -> None:
    """See that latents have the size that the clip has which is said to be in them.

    Raises:
        LatentsError: They have not.
    """
    said, name = latents.said, latents.name
    channels, *sizes = latents_shape(said.num_frames, said.height, said.width, config)
    expected = (channels * 2 if said.posterior == MOMENTS else channels, *sizes)
    if latents.shape != expected:
        raise LatentsError(
            f"{name}: its tensor {latents.tensor_name!r} has the shape {list(latents.shape)}, and {said.num_frames} "
            f"frames of {said.width}x{said.height} have {list(expected)}; encode the clip again"
        )


def _decodable(stored: Tensor, header: LatentsHeader) -> Tensor:
    """Latents `[1, C, T', h, w]` in fp32 as the decoder takes them, of what a file stores."""
    latents = stored[None].float()
    if header.posterior == MOMENTS:
        latents = Posterior.from_moments(latents).mode()
    return latents / header.scaling_factor if header.scaled else latents


def _timing(latents: LatentsReader, selected: range) -> Timing:
    header, pts = latents.header, latents.pts
    last = header.last_duration if selected.stop == header.num_frames else None
    if pts is None or header.time_base is None:
        return Timing(header.rate, last_duration=last)
    if selected.stop < header.num_frames:
        last = int(pts[selected.stop] - pts[selected.stop - 1]) * header.time_base
    return Timing(header.rate, header.time_base, pts[selected.start : selected.stop], last_duration=last)
