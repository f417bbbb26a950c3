"""A video through the model and back, and what was lost."""

import contextlib
import time
from collections.abc import Mapping
from itertools import islice
from pathlib import Path
from types import MappingProxyType

import torch

from vae3d_cli.codec.decode import check_video, decode_clip
from vae3d_cli.codec.encode import EncodedClip, EncodeOptions, Progress, encode_clip, ignore_progress, refuse_latents
from vae3d_cli.codec.memory import device_errors
from vae3d_cli.codec.outputs import FrameWriter, binary_output, display_name, latents_spool, video_output
from vae3d_cli.codec.overlap import beside_reading, beside_writing
from vae3d_cli.codec.pixels import to_8_bit
from vae3d_cli.codec.results import RoundtripResult
from vae3d_cli.codec.timer import Stopwatch
from vae3d_cli.errors import VideoError
from vae3d_cli.files import STDIN_NAME, copy_of_pipe, is_read_once
from vae3d_cli.metrics import FidelityMeter
from vae3d_cli.video import PNG, AudioCopy, EncoderOptions, Span, VideoReader, check_audio, suffix_of
from vae3d_cli.weights import Model


def roundtrip_video(
    source: Path | None,
    model: Model,
    options: EncodeOptions = EncodeOptions(),  # noqa: B008 - frozen
    *,
    outputs: Mapping[str, Path | None] = MappingProxyType({}),
    encoder: EncoderOptions = EncoderOptions(),  # noqa: B008
    progress: Progress = ignore_progress,
) -> RoundtripResult:
    """Encode and decode the video `source` (`None` for standard input) and compare the pixels, frame by frame.

    `outputs` may hold a path for `recon`, the reconstruction, and for `latents`; `None` is standard output. `encoder`
    says how the reconstruction is written; the audio of the source is copied into it. The video is read twice, so
    memory does not grow with it; `progress` is told of every frame twice.

    Raises:
        VideoError: The video cannot be read.
        OutputError: An output cannot be written.
    """
    start = time.perf_counter()
    meter, watch = FidelityMeter(), Stopwatch()
    with contextlib.ExitStack() as stack:
        stack.enter_context(device_errors(display_name(source)))
        path, copy_of = _rereadable(source, stack)
        spool = stack.enter_context(latents_spool(outputs.get("latents"), options.latents_dtype or model.dtype))
        refuse_latents(path)
        with VideoReader(path, options.reading, copy_of=copy_of) as video:
            if "recon" in outputs:
                check_video(outputs["recon"], encoder, video.info.width, video.info.height, name=video.name)
            clip = encode_clip(video, spool, model, options, lambda done, total: progress(done, total and 2 * total))
        first, num_frames = options.frames.start, clip.header.num_frames
        # All outputs appear when the stack closes, or none.
        if "latents" in outputs:
            out = stack.enter_context(binary_output(outputs["latents"]))
            spool.write(out, clip.header, clip.timing.pts)
        writer, notes = None, list(clip.notes)
        if "recon" in outputs:
            recon, recon_notes = _open_recon(outputs["recon"], clip, encoder, path, copy_of, stack)
            notes += recon_notes
            writer = stack.enter_context(beside_writing(recon, outputs["recon"]))
        video = stack.enter_context(VideoReader(path, options.reading, copy_of=copy_of))
        originals = stack.enter_context(beside_reading(islice(video, first, first + num_frames), path))
        decoded = decode_clip(
            spool,
            clip.header,
            model,
            range(num_frames),
            options.strategy,
            watch,
            lambda done, _total: progress(num_frames + done, 2 * num_frames),
        )
        for original, frame in zip(originals, decoded.frames, strict=True):
            meter.add(to_8_bit(torch.from_numpy(original.rgb)), to_8_bit(frame))
            if writer is not None:
                writer.write(frame.numpy())
        shape = spool.shape
    total = model.load_seconds + time.perf_counter() - start
    return RoundtripResult(
        input=display_name(source),
        model=model,
        header=clip.header,
        num_frames=num_frames,
        latents_shape=shape,
        fidelity=meter.result(),
        outputs={name: display_name(path) for name, path in outputs.items()},
        seconds={"load": model.load_seconds, "encode": clip.seconds, "decode": watch.seconds, "total": total},
        notes=tuple(notes),
    )


def _rereadable(source: Path | None, stack: contextlib.ExitStack) -> tuple[Path, str | None]:
    """A file that can be opened as often as one likes, and the name of what it copies: what can be read only once."""
    if source is not None and not is_read_once(source):
        return source, None
    return stack.enter_context(copy_of_pipe(source)), STDIN_NAME if source is None else str(source)


def _open_recon(
    path: Path | None,
    clip: EncodedClip,
    encoder: EncoderOptions,
    source: Path,
    copy_of: str | None,
    stack: contextlib.ExitStack,
) -> tuple[FrameWriter, list[str]]:
    """A writer for the reconstruction, with the audio of the source where that is possible, and notes."""
    suffix, num_frames, notes, audio = suffix_of(path, encoder), clip.header.num_frames, [], None
    try:
        if suffix != PNG and check_audio(source, suffix, copy_of=copy_of):
            span = Span.of(clip.timing, num_frames, range(num_frames), clip.timing.start_time)
            audio = stack.enter_context(AudioCopy(source, span, copy_of=copy_of))
    except VideoError as error:
        notes.append(f"{error}")
    writer = stack.enter_context(video_output(path, clip.header, clip.timing, num_frames, encoder, audio))
    return writer, [*notes, *(f"{display_name(path)}: {note}" for note in writer.notes)]
