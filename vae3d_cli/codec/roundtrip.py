"""A video through the model and back, and what was lost."""

import contextlib
import time
from collections.abc import Callable, Mapping
from itertools import islice
from pathlib import Path
from types import MappingProxyType

import torch

from vae3d_cli.codec.decode import decode_clip
from vae3d_cli.codec.encode import EncodedClip, EncodeOptions, Progress, encode_clip, ignore_progress
from vae3d_cli.codec.memory import device_errors
from vae3d_cli.codec.outputs import FrameWriter, binary_output, display_name, latents_spool, video_output
from vae3d_cli.codec.pixels import to_8_bit
from vae3d_cli.codec.results import RoundtripResult
from vae3d_cli.codec.timer import Stopwatch
from vae3d_cli.files import STDIN_NAME, copy_of_pipe, is_read_once
from vae3d_cli.latents import LatentsSpool
from vae3d_cli.metrics import FidelityMeter
from vae3d_cli.video import ReadOptions, VideoReader
from vae3d_cli.weights import Model


def roundtrip_video(
    source: Path | None,
    model: Model,
    options: EncodeOptions = EncodeOptions(),  # noqa: B008 - frozen
    *,
    outputs: Mapping[str, Path | None] = MappingProxyType({}),
    progress: Progress = ignore_progress,
) -> RoundtripResult:
    """Encode and decode the video `source` (`None` for standard input) and compare the pixels, frame by frame.

    `outputs` may hold a path for `recon`, the reconstruction, and for `latents`; `None` is standard output. The video
    is read twice, so memory does not grow with it; `progress` is told of every frame twice.

    Raises:
        VideoError: The video cannot be read.
        OutputError: An output cannot be written.
    """
    start = time.perf_counter()
    meter, watch = FidelityMeter(), Stopwatch()
    with contextlib.ExitStack() as stack:
        stack.enter_context(device_errors(display_name(source)))
        open_video = _reopener(source, options.reading, stack)
        spool = stack.enter_context(latents_spool(outputs.get("latents"), options.latents_dtype or model.dtype))
        with open_video() as video:
            clip = encode_clip(video, spool, model, options, lambda done, total: progress(done, total and 2 * total))
        first, num_frames = options.frames.start, clip.header.num_frames
        # All outputs appear when the stack closes, or none.
        writers = _open_outputs(outputs, clip, spool, stack)
        video = stack.enter_context(open_video())
        originals = islice(video, first, first + num_frames)
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
            for writer in writers:
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
        notes=clip.notes,
    )


def _reopener(source: Path | None, options: ReadOptions, stack: contextlib.ExitStack) -> Callable[[], VideoReader]:
    """A function that opens the source as often as it is called; what can be read only once is copied to a file."""
    if not is_read_once(source):
        return lambda: VideoReader(source, options)
    copy = stack.enter_context(copy_of_pipe(source))
    return lambda: VideoReader(copy, options, copy_of=STDIN_NAME if source is None else str(source))


def _open_outputs(
    outputs: Mapping[str, Path | None], clip: EncodedClip, spool: LatentsSpool, stack: contextlib.ExitStack
) -> list[FrameWriter]:
    """Write the latents, which are known, and return the writers that take the reconstruction."""
    if "latents" in outputs:
        out = stack.enter_context(binary_output(outputs["latents"]))
        spool.write(out, clip.header, clip.timing.pts)
    if "recon" not in outputs:
        return []
    return [stack.enter_context(video_output(outputs["recon"], clip.header, clip.timing, clip.header.num_frames))]
