"""A video through the model and back, and what was lost."""

import contextlib
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import replace
from itertools import islice
from pathlib import Path
from types import MappingProxyType

import torch
from torch import Tensor

from vae3d_cli.codec.comparison import Comparison
from vae3d_cli.codec.decode import check_video, decode_clip
from vae3d_cli.codec.encode import refuse_latents
from vae3d_cli.codec.memory import device_errors
from vae3d_cli.codec.options import EncodeOptions, Progress, ignore_progress
from vae3d_cli.codec.outputs import FrameWriter, binary_output, display_name, latents_spool, video_output
from vae3d_cli.codec.overlap import beside_reading, beside_writing
from vae3d_cli.codec.per_frame import per_frame_csv
from vae3d_cli.codec.pixels import to_8_bit
from vae3d_cli.codec.reading import EncodedClip, Reading
from vae3d_cli.codec.results import RoundtripResult
from vae3d_cli.codec.timer import Stopwatch
from vae3d_cli.errors import VideoError
from vae3d_cli.execution import TILED
from vae3d_cli.files import STDIN_NAME, AnyPath, OutputGroup, as_path, copy_of_pipe, is_read_once
from vae3d_cli.geometry import TileSizes, tile_borders
from vae3d_cli.latents import VAE3D, LatentsHeader, LatentsSpool
from vae3d_cli.metrics import Extras, FidelityMeter
from vae3d_cli.video import PNG, AudioCopy, Clip, EncoderOptions, Frame, Span, check_audio, open_clip, suffix_of
from vae3d_cli.weights import Model

# The videos that can be written, and how many frames they show side by side.
_PANELS = {"recon": 1, "compare": 3}

ShowFrame = Callable[[Tensor, Tensor, float], None]
"""Takes the next frame of the original and what came back, both `[3, H, W]` uint8, and its PSNR in dB."""
Viewer = Callable[[EncodedClip, LatentsSpool], AbstractContextManager[ShowFrame]]
"""Looks on while a clip is compared: told what was encoded, then shown frame by frame until its context ends."""


def roundtrip_video(
    source: AnyPath | None,
    model: Model,
    options: EncodeOptions = EncodeOptions(),  # noqa: B008 - frozen
    *,
    outputs: Mapping[str, AnyPath | None] = MappingProxyType({}),
    encoder: EncoderOptions = EncoderOptions(),  # noqa: B008
    viewer: Viewer | None = None,
    extras: Extras = Extras(),  # noqa: B008
    group: OutputGroup | None = None,
    progress: Progress = ignore_progress,
) -> RoundtripResult:
    """Encode and decode the video `source` (`None` for standard input) and compare the pixels, frame by frame.

    `outputs` may hold a path for `recon`, the reconstruction; for `compare`, that beside the original and their
    difference; for `latents` of our format; and for `csv`, the measures of every frame. `None` is standard output. In
    the end all appear, with those of the `group` that they join, or none; what exists is replaced. `encoder` says how
    the videos are written, with the audio of the source; `extras` which further measures are taken. `viewer` is shown
    every frame. The video is read twice, so memory does not grow with it; `progress` is told of every frame twice.

    Raises:
        VideoError: The video cannot be read.
        OutputError: An output cannot be written.
    """
    start, watch = time.perf_counter(), Stopwatch()
    source, paths = as_path(source), {name: as_path(path) for name, path in outputs.items()}
    with device_errors(display_name(source)), contextlib.ExitStack() as stack:
        group = group or stack.enter_context(OutputGroup())  # ends last, once all that is written in it is closed
        path, copy_of = _rereadable(source, stack)
        spool = stack.enter_context(latents_spool(paths.get("latents"), options.latents_dtype or model.dtype))
        with _reading(path, copy_of, options, paths, encoder) as reading:
            clip = reading.encode(spool, model, lambda done, total: progress(done, total and 2 * total))
        clip = clip.hashed() if viewer or "latents" in paths else clip
        first, num_frames, track = options.frames.start, clip.header.num_frames, options.reading.stream
        if "latents" in paths:
            spool.write(stack.enter_context(binary_output(paths["latents"], group)), clip.header, clip.timing.pts)
        videos = _Videos.of(clip, model.name, paths, encoder, (path, copy_of), group, stack, track)
        show = stack.enter_context(viewer(clip, spool)) if viewer else None
        video = stack.enter_context(open_clip(path, options.reading, copy_of=copy_of))
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
        meter = FidelityMeter(_seams(clip.header, options.strategy.tiles), extras.open(stack, model.device))
        _compare(zip(originals, decoded.frames, strict=True), meter, videos, show)
        shape, fidelity = spool.shape, meter.result()
        if "csv" in paths:
            out = stack.enter_context(binary_output(paths["csv"], group))
            out.write(per_frame_csv(fidelity, clip.timing, num_frames))
    total = model.load_seconds + time.perf_counter() - start
    return RoundtripResult(
        input=display_name(source),
        model=model.facts,
        header=clip.header,
        num_frames=num_frames,
        latents_shape=shape,
        fidelity=fidelity,
        protocol=options.protocol.name if options.protocol else None,
        timing=clip.timing,
        latents_bits=8 * (options.latents_dtype or model.dtype).itemsize,
        outputs={name: display_name(path) for name, path in paths.items()},
        seconds={"load": model.load_seconds, "encode": clip.seconds, "decode": watch.seconds, "total": total},
        notes=(*clip.notes, *videos.notes),
    )


def _compare(
    pairs: Iterable[tuple[Frame, Tensor]], meter: FidelityMeter, videos: "_Videos", show: ShowFrame | None
) -> None:
    """Measure, write and show every frame and what came back of it."""
    for original, frame in pairs:
        reference, other = to_8_bit(torch.from_numpy(original.rgb)), to_8_bit(frame)
        psnr = meter.add(reference, other)
        videos.write(frame, reference, other)
        if show:
            show(reference, other, psnr)


def _rereadable(source: Path | None, stack: contextlib.ExitStack) -> tuple[Path, str | None]:
    """A file that can be opened as often as one likes, and the name of what it copies: what can be read only once."""
    if source is not None and not is_read_once(source):
        return source, None
    return stack.enter_context(copy_of_pipe(source)), STDIN_NAME if source is None else str(source)


@contextlib.contextmanager
def _reading(
    path: Path, copy_of: str | None, options: EncodeOptions, outputs: Mapping[str, Path | None], encoder: EncoderOptions
) -> Iterator[Reading]:
    """The frames of a file, once it is known that the videos can be written of it."""
    refuse_latents(path)
    with open_clip(path, options.reading, copy_of=copy_of) as video:
        _check_videos(outputs, encoder, video)
        with Reading(video, replace(options, format=VAE3D)) as reading:
            yield reading


def _check_videos(outputs: Mapping[str, Path | None], encoder: EncoderOptions, video: Clip) -> None:
    """See that the videos can be written of a clip of this size, before it is worked on."""
    for name in _videos_of(outputs):
        check_video(outputs[name], encoder, _PANELS[name] * video.info.width, video.info.height, name=video.name)


def _videos_of(outputs: Mapping[str, Path | None]) -> list[str]:
    return [name for name in _PANELS if name in outputs]


def _seams(header: LatentsHeader, tiles: TileSizes) -> Tensor | None:
    """Where tiles meet in the frames `[H, W]`, if they do: the pixels on both sides of each border."""
    if header.strategy["name"] != TILED or max(header.height, header.width) <= tiles.tile_px:
        return None
    seams = torch.zeros(header.height, header.width, dtype=torch.bool)
    for axis, length in enumerate(seams.shape):
        for border in tile_borders(length, tiles):
            seams.narrow(axis, border - 1, 2).fill_(True)
    return seams


class _Videos:
    """The videos that are written of a clip, with the audio of its source where that is possible, and notes."""

    def __init__(self, clip: EncodedClip, model_name: str, track: int | None) -> None:
        self.notes: list[str] = []
        self._clip, self._track = clip, track
        self._comparison = Comparison(clip.header.height, clip.header.width, model_name)
        self._writers: dict[str, FrameWriter] = {}

    @classmethod
    def of(
        cls,
        clip: EncodedClip,
        model_name: str,
        outputs: Mapping[str, Path | None],
        encoder: EncoderOptions,
        source: tuple[Path, str | None],
        group: OutputGroup,
        stack: contextlib.ExitStack,
        track: int | None,
    ) -> "_Videos":
        """Those that were asked for, open; `source` is the file that is read, and what it is a copy of."""
        videos = cls(clip, model_name, track)
        for name in _videos_of(outputs):
            videos._open(name, outputs[name], encoder, source, group, stack)
        return videos

    def _open(
        self,
        name: str,
        path: Path | None,
        encoder: EncoderOptions,
        source: tuple[Path, str | None],
        group: OutputGroup,
        stack: contextlib.ExitStack,
    ) -> None:
        clip, suffix, audio = self._clip, suffix_of(path, encoder), None
        num_frames = clip.header.num_frames
        try:
            if suffix != PNG and check_audio(source[0], suffix, copy_of=source[1]):
                span = Span.of(clip.timing, num_frames, range(num_frames), clip.timing.start_time)
                audio = stack.enter_context(AudioCopy(source[0], span, copy_of=source[1], track=self._track))
        except VideoError as error:
            self.notes.append(f"{error}")
        header = clip.header
        if _PANELS[name] > 1:  # of 8 bits
            header = replace(header, width=_PANELS[name] * header.width, pix_fmt=None)
        writer = stack.enter_context(video_output(path, header, clip.timing, num_frames, encoder, audio, group))
        self.notes += [f"{display_name(path)}: {note}" for note in writer.notes]
        self._writers[name] = stack.enter_context(beside_writing(writer, path))

    def write(self, frame: Tensor, reference: Tensor, other: Tensor) -> None:
        """The next frame as it came back; it and the original in 8 bits."""
        if "recon" in self._writers:
            self._writers["recon"].write(frame.numpy())
        if "compare" in self._writers:
            self._writers["compare"].write(self._comparison.frame(reference.numpy(), other.numpy()))
