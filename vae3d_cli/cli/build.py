"""From the options of a command to what the codec takes."""

from pathlib import Path
from typing import TYPE_CHECKING

from vae3d_cli.cli import options, present
from vae3d_cli.cli.jobs import Job
from vae3d_cli.cli.parse import parse_frames, parse_memory, parse_protocol, parse_rate, parse_size
from vae3d_cli.cli.runner import Settings
from vae3d_cli.console import show_log
from vae3d_cli.errors import UsageError, VideoError
from vae3d_cli.geometry import TileSizes

if TYPE_CHECKING:
    from vae3d_cli.codec import EncodeOptions, Extras, Told
    from vae3d_cli.execution import StrategyOptions
    from vae3d_cli.video import EncoderOptions, ReadOptions
    from vae3d_cli.weights import Model


def encode_options(
    posterior: options.PosteriorChoice,
    seed: int | None,
    frames: str | None,
    latents_dtype: options.DtypeChoice | None,
    strategy: "StrategyOptions",
    reading: "ReadOptions",
    device: str,
    *,
    scaled: bool,
    format_: options.FormatChoice = options.FormatChoice.vae3d,
) -> "EncodeOptions":
    """How to encode, once it is known to be possible."""
    if seed is not None and posterior is not options.PosteriorChoice.sample:
        raise UsageError("--seed: only --posterior sample draws anything")
    if scaled and posterior is options.PosteriorChoice.moments:
        raise UsageError("--scaled: moments are kept as the model gives them; scale what is drawn from them")
    frame_range = parse_frames(frames)
    from vae3d_cli.codec import EncodeOptions
    from vae3d_cli.weights import DTYPES, check_device

    check_device(device)
    return EncodeOptions(
        posterior=posterior.value,
        seed=seed,
        frames=frame_range,
        latents_dtype=None if latents_dtype is None else DTYPES[latents_dtype.value],
        strategy=strategy,
        scaled=scaled,
        reading=reading,
        format=format_.value,
    )


def by_protocol(options: "EncodeOptions", name: str | None, frames: str | None) -> "EncodeOptions":
    """The options, with what the protocol of this name fixes, once it is known that nothing else fixes it."""
    protocol = parse_protocol(name)
    if protocol is None:
        return options
    others = {"--frames": frames, "--size": options.reading.size, "--fps": options.reading.rate}
    given = [option for option, value in others.items() if value is not None]
    if given:
        raise UsageError(f"--protocol {name}: fixes the frames and their size; leave {' and '.join(given)} out")
    return options.by(protocol)


def read_options(
    fps: str | None, size: str | None, stream: int | None, *, deinterlace: bool, allow_damaged: bool
) -> "ReadOptions":
    """How to read videos."""
    rate, size_px = parse_rate(fps), parse_size(size)
    from vae3d_cli.video import ReadOptions

    return ReadOptions(rate=rate, size=size_px, stream=stream, deinterlace=deinterlace, allow_damaged=allow_damaged)


def told(fps: str | None, scaled: bool | None) -> "Told":
    """What is said of latents files that do not say it themselves."""
    rate = parse_rate(fps)
    from vae3d_cli.codec import Told

    return Told(rate=rate, scaled=scaled)


def strategy_options(
    name: str,
    memory: str | None,
    tile_px: int | None,
    tile_overlap_px: int | None,
    chunk_frames: int | None,
    chunk_overlap_frames: int | None,
) -> "StrategyOptions":
    """How to run a clip, once it is known to be possible with some model."""
    sizes = {
        "tile_px": tile_px,
        "tile_overlap_px": tile_overlap_px,
        "chunk_frames": chunk_frames,
        "chunk_overlap_frames": chunk_overlap_frames,
    }
    given = {field: size for field, size in sizes.items() if size is not None}
    if given and name != "tiled":
        flags = ", ".join(f"--{field.replace('_', '-')}" for field in given)
        raise UsageError(f"{flags}: only --strategy tiled has tiles")
    memory_bytes = parse_memory(memory)
    from vae3d_cli.execution import StrategyOptions, check_strategy

    strategy = StrategyOptions(name=name, tiles=TileSizes(**given), memory_bytes=memory_bytes)
    check_strategy(strategy)
    return strategy


def encoder_options(
    jobs: list[Job],
    outputs: tuple[str, ...],
    codec: str | None,
    crf: float | None,
    preset: str | None,
    pix_fmt: str | None,
    container: str | None,
    *,
    lossless: bool,
) -> "EncoderOptions":
    """How videos are written, once it is known to be possible for every job's outputs of these names."""
    from vae3d_cli.video import EncoderOptions, check_output_video

    encoder = EncoderOptions(
        codec=codec, crf=crf, preset=preset, pix_fmt=pix_fmt, lossless=lossless, container=container
    )
    paths = [job.outputs[name] for job in jobs for name in outputs if name in job.outputs]
    if not paths and encoder != EncoderOptions():
        raise UsageError("options of the video encoder: there is no video to write; give -o")
    for kind in {None if path is None else path.suffix: path for path in paths}.values():
        check_output_video(kind, encoder)
    return encoder


def audio_source(given: str | None, jobs: list[Job], output: str, encoder: "EncoderOptions") -> "Path | None":
    """The file whose audio is copied, once it is known that the output can hold it."""
    if given is None:
        return None
    if len(jobs) > 1:
        raise UsageError("--audio: belongs to one clip; decode the others by themselves")
    path, target = Path(given), jobs[0].outputs[output]
    from vae3d_cli.files import check_input, is_read_once
    from vae3d_cli.video import PNG, check_audio, suffix_of

    suffix = suffix_of(target, encoder)
    if suffix == PNG:
        raise UsageError("--audio: an image has no sound; name a video with -o")
    check_input(path)
    if is_read_once(path):
        raise UsageError(f"--audio {path}: is a pipe and is read more than once; give a file")
    if not check_audio(path, suffix):
        raise VideoError(f"{path}: has no audio; leave --audio out")
    return path


def extra_measures(*, vmaf: bool, lpips: str | None) -> "Extras":
    """The measures that are taken only where they are asked for, once it is known to be possible."""
    from vae3d_cli.codec import find_extras

    return find_extras(vmaf=vmaf, lpips=None if lpips is None else Path(lpips))


def prepare(name: str, settings: Settings) -> None:
    """Have what the package logs shown, and how much of a model was fetched."""
    from vae3d_cli.weights import hub

    show_log(quiet=settings.quiet, verbose=settings.verbose)
    if hub.is_hub_name(name):
        hub.show_progress(settings.shows_progress)


def load(name: str, device: str, dtype: options.ComputeDtypeChoice, threads: int | None, settings: Settings) -> "Model":
    """Load a model, and say which."""
    import torch

    from vae3d_cli.weights import load_model

    prepare(name, settings)
    if threads is not None:
        torch.set_num_threads(threads)
    loaded = load_model(name, device=device, dtype=dtype.value)
    present.present_model(loaded, settings)
    return loaded
