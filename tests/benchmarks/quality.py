"""What models keep of the clips held out from training: `python -m tests.benchmarks.quality --help`.

The protocol: of each clip the first 17 frames, the short side resized to 256 px (bicubic, antialiased), the centre
256x256, 8 bits. They are encoded (the posterior's mode) and decoded in fp32, rounded to 8 bits, and compared frame by
frame: dB, and flicker in codes of 255. Position 1 of a group are frames 1, 5, 9 and 13. The yardstick, `linear`, is the
embedded model's linear codec by itself, fitted on the other scenes.
"""

import argparse
import json
import tempfile
from collections.abc import Callable
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from statistics import fmean

import torch
import torch.nn.functional as F
from PIL import Image, ImageDraw
from torch import Tensor

from vae3d_cli.codec.pixels import to_8_bit, to_frames, to_pixels
from vae3d_cli.config import TinyConfig
from vae3d_cli.errors import UsageError, VideoError
from vae3d_cli.execution import StrategyOptions, decode_chunks, encode_chunks, input_device
from vae3d_cli.metrics import ErrorMeter, FidelityMeter, psnr_of_mse
from vae3d_cli.model.posterior import Posterior
from vae3d_cli.model.tiny import TinyVae
from vae3d_cli.training.data import CLIP_SUFFIXES, PHOTO_SUFFIXES, FrameCache, find_files, hold_out, scene_of
from vae3d_cli.training.fit import fit
from vae3d_cli.video import open_clip
from vae3d_cli.weights import EMBEDDED, Model, load_model

HELD_OUT = (
    *("bear-vp9", "bikes", "hdr10-video-with-sdr-container", "ocean", "roadtrip-vp92-10bit", "shot_change"),
    *("test_video", "tree"),
)
NUM_FRAMES, SIDE_PX, GROUP = 17, 256, 4
ORIGINAL, LINEAR = "original", "linear"
PICTURED, PICTURED_FRAME = ("bikes_2", "test_video_0", "roadtrip-vp92-10bit_0"), 11  # a passer-by, a drive, letters
DETAIL_PX, ZOOM, LABEL_PX, GAP_PX = 128, 2, 16, 8
Codec = Callable[[Tensor], Tensor]  # frames [T, 3, H, W] in 8 bits to what comes back of them


@dataclass(frozen=True)
class ClipScore:
    """One clip through one model: dB and SSIM of each frame, dB of the frame differences, flicker in codes."""

    psnr: list[float]
    ssim: list[float]
    difference_psnr: float
    flicker: float


def cropped(frames: Tensor) -> Tensor:
    """The centre `[T, 3, 256, 256]` of 8-bit frames `[T, 3, H, W]` whose short side is resized to that."""
    size = [round(side * SIDE_PX / min(frames.shape[-2:])) for side in frames.shape[-2:]]
    resized = F.interpolate(frames.float(), size, mode="bicubic", antialias=True).round().clamp(0, 255).byte()
    top, left = ((side - SIDE_PX) // 2 for side in size)
    return resized[:, :, top : top + SIDE_PX, left : left + SIDE_PX].contiguous()


def read_frames(path: Path) -> Tensor:
    """The frames of a clip that are compared: uint8 `[17, 3, 256, 256]`.

    Raises:
        VideoError: The clip is shorter, or cannot be read.
    """
    with open_clip(path) as video:
        frames = [to_8_bit(torch.from_numpy(frame.rgb)) for frame in islice(video, NUM_FRAMES)]
    if len(frames) < NUM_FRAMES:
        raise VideoError(f"{path}: has {len(frames)} frames, and the protocol takes {NUM_FRAMES}; take it away")
    return cropped(torch.stack(frames))


def codec_of(model: Model) -> Codec:
    """A model as the tool runs it, by the posterior's mode."""

    @torch.inference_mode()
    def code(frames: Tensor) -> Tensor:
        pixels = to_pixels(list(frames.numpy()), model.config, input_device(model.network))
        moments = torch.cat(list(encode_chunks(model.network, [pixels], StrategyOptions()).chunks), dim=2)
        latents = Posterior.from_moments(moments).mode().float()
        decoded = torch.cat(list(decode_chunks(model.network, [latents], StrategyOptions()).chunks), dim=2)
        return to_frames(decoded.float(), *frames.shape[-2:])

    return code


def linear_codec_of(network: TinyVae) -> Codec:
    """The linear part of the embedded model by itself."""

    @torch.inference_mode()
    def code(frames: Tensor) -> Tensor:
        pixels = to_pixels(list(frames.numpy()), network.config, input_device(network))
        decoded = []
        for group in torch.split(pixels, [1] + [GROUP] * ((len(frames) - 1) // GROUP), dim=2):
            latents = Posterior.from_moments(network.encoder.linear(group.flatten(1, 2))).mode()
            linear = network.decoder.linear(latents, is_first=group.shape[2] == 1)
            decoded.append(torch.unflatten(linear, 1, (3, -1)))
        return to_frames(torch.cat(decoded, dim=2), *frames.shape[-2:])

    return code


def yardstick(checkpoint: str | None, clips: Path, photos: Path | None) -> Codec:
    """The linear codec of a checkpoint that was fitted and not trained; without one, fitted on what is not held out.

    Raises:
        UsageError: The networks of the checkpoint add something: its linear part was trained along with them.
    """
    if checkpoint is None:
        found = find_files([clips], CLIP_SUFFIXES)
        training, _ = hold_out(found, {*HELD_OUT} & {scene_of(path) for path in found})
        images = find_files([photos], PHOTO_SUFFIXES) if photos else []
        with tempfile.TemporaryDirectory() as folder:
            return linear_codec_of(fit(training, images, FrameCache(Path(folder)), TinyConfig(), seed=0))
    network = load_model(checkpoint, dtype="fp32").network
    added = [*network.encoder.conv_out.parameters(), *network.decoder.conv_out.parameters()]
    if not isinstance(network, TinyVae) or any(bool(weight.any()) for weight in added):
        raise UsageError(f"--linear {checkpoint}: is more than linear; take what vae3d train --steps 0 writes")
    return linear_codec_of(network)


def score(code: Codec, frames: Tensor, decoded: Tensor) -> ClipScore:
    """Compare a clip with what came back, and see how its first frame flickers when nothing moves."""
    meter = FidelityMeter()
    for pair in zip(frames, decoded, strict=True):
        meter.add(*pair)
    metrics = meter.result().metrics
    # From frame 4 on: what follows are whole groups.
    still = code(frames[:1].expand(NUM_FRAMES, -1, -1, -1))[GROUP:].float()
    return ClipScore(
        psnr=list(metrics["psnr"].per_frame),
        ssim=list(metrics["ssim"].per_frame),
        difference_psnr=metrics["psnr_temporal"].mean,
        flicker=float(still.diff(dim=0).abs().mean()),
    )


def at_position(values: list[float], position: int) -> list[float]:
    """The values of the frames at a position of their group, 1 to 4: at 1 they are frames 1, 5, 9, 13."""
    return values[position::GROUP]


def summarise(scores: list[ClipScore], linear: list[ClipScore]) -> dict[str, float]:
    """The figures of a model, by name: means over clips, and the gain in a clip's PSNR over the yardstick's."""
    positions = [fmean(fmean(at_position(clip.psnr, number)) for clip in scores) for number in range(1, GROUP + 1)]
    gains = [fmean(clip.psnr) - fmean(base.psnr) for clip, base in zip(scores, linear, strict=True)]
    return {
        "psnr": fmean(fmean(clip.psnr) for clip in scores),
        "ssim": fmean(fmean(clip.ssim) for clip in scores),
        "first_frame_psnr": fmean(clip.psnr[0] for clip in scores),
        **{f"position_{number}_psnr": psnr for number, psnr in enumerate(positions, start=1)},
        "position_spread": max(positions) - min(positions),
        "frame_difference_psnr": fmean(clip.difference_psnr for clip in scores),
        "still_clip_flicker": fmean(clip.flicker for clip in scores),
        "least_gain_over_linear": min(gains),
        "mean_gain_over_linear": fmean(gains),
    }


def row(name: str, *cells: str) -> None:
    """Print a line of the table."""
    print(f"{name:32}", *(f"{cell:>24}" for cell in cells), flush=True)


def detail_corner(original: Tensor, linear: Tensor) -> tuple[int, int]:
    """Left and top of the detail of a frame: where the yardstick loses most."""
    errors = (original.float() - linear.float()).square().mean(0, keepdim=True)[None]
    losses = F.avg_pool2d(errors, DETAIL_PX, stride=GAP_PX)
    top, left = divmod(int(losses.argmax()), losses.shape[-1])
    return left * GAP_PX, top * GAP_PX


def picture(shown: dict[str, dict[str, Tensor]]) -> Image.Image:
    """A row for each clip: its frame as the original, by the yardstick and by a model, and details of them below."""
    pitch_px = SIDE_PX + GAP_PX
    height_px = LABEL_PX + SIDE_PX + GAP_PX + DETAIL_PX * ZOOM + GAP_PX
    canvas = Image.new("RGB", (3 * pitch_px + GAP_PX, len(shown) * height_px), "white")
    draw = ImageDraw.Draw(canvas)
    for index, (clip, frames) in enumerate(shown.items()):
        original = frames[ORIGINAL]
        left, top = detail_corner(original, frames[LINEAR])
        box = (left, top, left + DETAIL_PX, top + DETAIL_PX)
        for column, (name, frame) in enumerate(frames.items()):
            x, y = GAP_PX + column * pitch_px, index * height_px + LABEL_PX
            loss = (
                f"{psnr_of_mse(ErrorMeter().errors(original, frame).rgb):.2f} dB"
                if column
                else f"{clip}, {PICTURED_FRAME}"
            )
            draw.text((x, y - LABEL_PX + 2), f"{name}: {loss}", fill="black")
            image = Image.fromarray(frame.permute(1, 2, 0).numpy())
            detail = image.crop(box).resize((DETAIL_PX * ZOOM,) * 2, Image.Resampling.NEAREST)
            canvas.paste(detail, (x, y + SIDE_PX + GAP_PX))
            canvas.paste(image, (x, y))
            draw.rectangle((x + box[0], y + box[1], x + box[2] - 1, y + box[3] - 1), outline="white")
    return canvas


def named_codecs(options: argparse.Namespace) -> dict[str, Codec]:
    """The yardstick, then the models, by what they are called in the outputs."""
    codecs = {LINEAR: yardstick(options.linear, options.clips, options.photos)}
    for name in options.models or [EMBEDDED]:
        model = load_model(name, dtype="fp32")
        codecs[f"{model.name} ({len(codecs)})" if model.name in {ORIGINAL, *codecs} else model.name] = codec_of(model)
    return codecs


def main(options: argparse.Namespace) -> None:
    """Print a line for each clip as it is done, then the figures, and write what was asked for."""
    paths = [path for path in find_files([options.clips], CLIP_SUFFIXES) if scene_of(path) in HELD_OUT]
    if not paths:
        raise UsageError(f"{options.clips}: has no clip of a held-out scene; take the folder that has them")
    pictured = set(PICTURED) & {path.stem for path in paths} or {paths[0].stem}
    codecs = named_codecs(options)
    scores: dict[str, dict[str, ClipScore]] = {name: {} for name in codecs}
    shown: dict[str, dict[str, Tensor]] = {}
    row(f"{len(paths)} clips: PSNR and SSIM", *codecs)
    for path in paths:
        frames = read_frames(path)
        decoded = {name: code(frames) for name, code in codecs.items()}
        for name, code in codecs.items():
            scores[name][path.stem] = score(code, frames, decoded[name])
        clip = [of_model[path.stem] for of_model in scores.values()]
        row(path.stem, *(f"{fmean(one.psnr):.2f} dB  {fmean(one.ssim):.4f}" for one in clip))
        if path.stem in pictured:
            columns = {ORIGINAL: frames, LINEAR: decoded[LINEAR], **dict(list(decoded.items())[-1:])}
            shown[path.stem] = {name: column[PICTURED_FRAME] for name, column in columns.items()}
    linear = list(scores[LINEAR].values())
    figures = {name: summarise(list(of_model.values()), linear) for name, of_model in scores.items()}
    for figure in figures[LINEAR]:
        row(figure.replace("_", " "), *(f"{of_model[figure]:.4f}" for of_model in figures.values()))
    if options.json:
        clips = {name: {stem: asdict(one) for stem, one in of_model.items()} for name, of_model in scores.items()}
        options.json.write_text(json.dumps({"figures": figures, "clips": clips}, indent=1) + "\n")
    if options.picture:
        picture(shown).save(options.picture, "PNG")


def parse() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.quality", description=__doc__)
    parser.add_argument("clips", type=Path, help="folder of short clips, the held-out ones among them")
    parser.add_argument("-m", dest="models", nargs="+", action="extend", metavar="MODEL", help="by default tiny")
    parser.add_argument("--linear", metavar="CHECKPOINT", help="the yardstick: what vae3d train --steps 0 wrote")
    parser.add_argument("--photos", type=Path, help="folder of photos that the yardstick is fitted on, too")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every figure of every clip")
    parser.add_argument("--picture", type=Path, metavar="FILE", help="write a PNG of three clips, by the last model")
    return parser.parse_args()


if __name__ == "__main__":
    main(parse())
