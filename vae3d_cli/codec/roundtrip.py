"""A video through the model and back, and what was lost."""

import contextlib
import time
from collections.abc import Callable, Iterator, Mapping
from itertools import islice
from pathlib import Path
from types import MappingProxyType

import torch

from vae3d_cli.codec.decode import decode_clip
from vae3d_cli.codec.encode import EncodedClip, EncodeOptions, Progress, encode_clip
from vae3d_cli.codec.outputs import binary_output, display_name, video_output
from vae3d_cli.codec.results import RoundtripResult
from vae3d_cli.codec.timer import Stopwatch
from vae3d_cli.files import spool_folder
from vae3d_cli.latents import LatentsSpool
from vae3d_cli.metrics import FidelityMeter
from vae3d_cli.video import VideoReader, VideoWriter
from vae3d_cli.video.pipes import copy_stdin
from vae3d_cli.weights import Model


def roundtrip_video(
    source: Path | None,
    model: Model,
    options: EncodeOptions = EncodeOptions(),  # noqa: B008 - frozen
    *,
    outputs: Mapping[str, Path | None] = MappingProxyType({}),
    progress: Progress = lambda _done, _total: None,
) -> RoundtripResult:
    """Encode and decode the video `source` (`None` for standard input) and compare the pixels, frame by frame.

    `outputs` may hold a path for `recon`, the reconstruction, and for `latents`; `None` is standard output. The video
    is read twice, so memory does not grow with it; `progress` is told of every frame twice.

    Raises:
        VideoError: The video cannot be read.
        OutputError: An output cannot be written.
    """
    start = time.perf_counter()
    with contextlib.ExitStack() as stack:
        open_video = _reopener(source, stack)
        folder = spool_folder(outputs.get("latents"))
        spool = stack.enter_context(LatentsSpool(folder, options.latents_dtype or model.dtype))
        with open_video() as video:
            clip = encode_clip(video, spool, model, options, lambda done, total: progress(done, total and 2 * total))
        meter, watch = FidelityMeter(), Stopwatch()
        with open_video() as video, _recon_writer(outputs, clip) as writer:
            first, num_frames = options.frames.start, clip.header.num_frames
            originals = islice(video, first, first + num_frames)
            decoded = decode_clip(spool, clip.header, model, range(num_frames), options.strategy, watch)
            for done, (original, frame) in enumerate(zip(originals, decoded, strict=True), 1):
                meter.add(torch.from_numpy(original.rgb), frame)
                if writer is not None:
                    writer.write(frame.numpy())
                progress(num_frames + done, 2 * num_frames)
        if "latents" in outputs:
            with binary_output(outputs["latents"]) as out:
                spool.write(out, clip.header, clip.timing.pts)
        shape = spool.shape
    return RoundtripResult(
        input=display_name(source),
        model=model,
        strategy=clip.header.strategy,
        num_frames=clip.header.num_frames,
        width=clip.header.width,
        height=clip.header.height,
        rate=clip.header.rate,
        latents_shape=shape,
        posterior=options.posterior,
        seed=clip.header.seed,
        fidelity=meter.result(),
        outputs={name: display_name(path) for name, path in outputs.items()},
        seconds={
            "load": model.load_seconds,
            "encode": clip.seconds,
            "decode": watch.seconds,
            "total": model.load_seconds + time.perf_counter() - start,
        },
        notes=clip.notes,
    )


def _reopener(source: Path | None, stack: contextlib.ExitStack) -> Callable[[], VideoReader]:
    """A function that opens the source, as often as it is called; standard input is copied to a file for that."""
    if source is not None:
        return lambda: VideoReader(source)
    copy = stack.enter_context(copy_stdin())
    return lambda: VideoReader(copy, is_stdin=True)


@contextlib.contextmanager
def _recon_writer(outputs: Mapping[str, Path | None], clip: EncodedClip) -> Iterator[VideoWriter | None]:
    if "recon" not in outputs:
        yield None
    else:
        with video_output(outputs["recon"], clip.header, clip.timing, clip.header.num_frames) as writer:
            yield writer
