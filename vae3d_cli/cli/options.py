"""The options that commands share, each written once."""

from enum import StrEnum
from typing import Annotated

import typer

from vae3d_cli.geometry import PROTOCOLS


class PosteriorChoice(StrEnum):
    """What of the posterior is kept."""

    mode = "mode"
    sample = "sample"
    moments = "moments"


class DtypeChoice(StrEnum):
    """A floating-point type."""

    fp32 = "fp32"
    bf16 = "bf16"
    fp16 = "fp16"


class ComputeDtypeChoice(StrEnum):
    """A floating-point type, or the device's default."""

    auto = "auto"
    fp32 = "fp32"
    bf16 = "bf16"
    fp16 = "fp16"


class EngineChoice(StrEnum):
    """Where clips are encoded."""

    local = "local"
    ray = "ray"


class FormatChoice(StrEnum):
    """Whose files of latents."""

    vae3d = "vae3d"
    musubi = "musubi"
    comfyui = "comfyui"


_FORMATS = "That of vae3d, of musubi-tuner's caches, or of ComfyUI's .latent"
Format = Annotated[FormatChoice, typer.Option("--format", help=f"{_FORMATS}.")]
EncodedFormat = Annotated[
    FormatChoice, typer.Option("--format", help=f"{_FORMATS}; the last two for HunyuanVideo's latents.")
]
Inputs = Annotated[list[str], typer.Argument(metavar="INPUT", help="Videos or images; - is standard input.")]
ClipInputs = Annotated[
    list[str] | None,
    typer.Argument(metavar="INPUT", help="Videos or images, or folders of them (-r); - is standard input."),
]
ListedInputs = Annotated[
    str | None,
    typer.Option(
        "--list",
        metavar="FILE",
        help="Encode what a file lists, too: a path a line, or a JSON object with a path and options of its own; - is "
        "standard input.",
    ),
]
Recursive = Annotated[
    bool, typer.Option("-r", "--recursive", help="Encode the videos and images in folders, and in folders below.")
]
LatentsOutput = Annotated[
    str | None,
    typer.Option(
        "-o",
        "--output",
        metavar="OUTPUT",
        help="Latents file, or a folder: NAME/, or one that exists. Always a folder for several inputs, a folder, a "
        "list, and for musubi, whose files have names of their own. - is standard output. Default: clip.safetensors "
        "(.latent for comfyui) beside clip.mp4.",
    ),
]
LatentsInputs = Annotated[list[str], typer.Argument(metavar="LATENTS", help="Latents files; - is standard input.")]
VideoOutput = Annotated[
    str | None,
    typer.Option(
        "-o",
        "--output",
        metavar="OUTPUT",
        help="Video (mp4, m4v, mov, mkv, webm, nut, avi, y4m), png for a single frame, or a folder: NAME/, or one that "
        "exists; always a folder for several inputs. - is standard output, in Matroska. Default: clip.decoded.mp4, or "
        ".png for a still image, beside clip.safetensors.",
    ),
]
ReconOutput = Annotated[
    str | None,
    typer.Option(
        "-o",
        "--output",
        metavar="RECON",
        help="Keep the reconstruction as a video, or in a folder (NAME/); - is Matroska on standard output.",
    ),
]
Compare = Annotated[
    str | None,
    typer.Option(
        "--compare",
        metavar="SIDE_BY_SIDE",
        help="Write the original, the reconstruction and their difference, amplified, as one video; a folder for "
        "several inputs.",
    ),
]
KeptLatents = Annotated[
    str | None,
    typer.Option("--latents", metavar="FILE", help="Keep the latents; a folder for several inputs."),
]
FailUnder = Annotated[
    list[str] | None,
    typer.Option(
        "--fail-under",
        metavar="NAME=VALUE",
        help="End with status 3 where a figure is lower or absent: psnr, psnr_luma, ssim, ms_ssim, psnr_temporal, "
        "psnr_static or vmaf, each as a mean or, with .min, in its worst frame; psnr.pooled, psnr.first, "
        "psnr.position_1 to 4, psnr.seams, psnr.elsewhere. May be repeated.",
    ),
]
Csv = Annotated[
    str | None,
    typer.Option("--csv", metavar="FILE", help="Write every frame's figures as a table; a folder for several inputs."),
]
Report = Annotated[
    str | None,
    typer.Option(
        "--report",
        metavar="REPORT.html",
        help="Write a page to look at: a plot of every frame's figures, frames to compare, a small video, histograms; "
        "one for all inputs and models.",
    ),
]
Vmaf = Annotated[bool, typer.Option("--vmaf", help="Measure VMAF, too; needs the extra vae3d-cli[vmaf].")]
LpipsWeights = Annotated[
    str | None,
    typer.Option(
        "--lpips",
        metavar="WEIGHTS",
        help="Measure LPIPS, too, with these weights of torchvision's alexnet or vgg16; needs the extra "
        "vae3d-cli[lpips].",
    ),
]
FailOver = Annotated[
    list[str] | None,
    typer.Option(
        "--fail-over",
        metavar="NAME=VALUE",
        help="The same where a figure is higher: lpips as a mean, or lpips.max in its worst frame. May be repeated.",
    ),
]
PerFrame = Annotated[bool, typer.Option("--per-frame", help="Add every frame's figures to the JSON.")]
Codec = Annotated[
    str | None,
    typer.Option(
        metavar="NAME",
        help="Video encoder, such as libx265, libsvtav1 or ffv1.  [default: libx264; libvpx-vp9 in webm]",
    ),
]
Crf = Annotated[
    float | None,
    typer.Option(
        metavar="N",
        # As `_DEFAULTS` in video/encoding.py has it; a test compares them.
        help="Quality of the encoder, lower is better.  [default: 16 for libx264, 18 for libx265, 20 for libvpx-vp9, "
        "20 for libsvtav1, else the encoder's own]",
    ),
]
Preset = Annotated[str | None, typer.Option(metavar="NAME", help="Speed of the encoder, such as veryfast.")]
PixFmt = Annotated[
    str | None, typer.Option(metavar="NAME", help="Pixel format.  [default: yuv420p; yuv444p for odd sizes]")
]
Lossless = Annotated[
    bool, typer.Option("--lossless", help="Write the RGB of the model bit for bit (libx264rgb in mp4, ffv1 in mkv).")
]
ContainerName = Annotated[
    str | None,
    typer.Option("--container", metavar="NAME", help="For standard output: matroska (the default), nut, mp4 or y4m."),
]
# More threads than this end libraries below torch by SIGSEGV; no machine has so many CPUs or GPUs.
MOST_AT_ONCE = 1024
MODEL_VARIABLE = "VAE3D_MODEL"
_MODELS = "tiny (embedded), hunyuanvideo (fetched once), a checkpoint file or folder, or a hub id org/name."
ModelName = Annotated[str, typer.Option("-m", "--model", metavar="MODEL", envvar=MODEL_VARIABLE, help=_MODELS)]
# Typer would take the words of the environment variable for several models.
ModelNames = Annotated[
    list[str] | None,
    typer.Option(
        "-m",
        "--model",
        metavar="MODEL",
        help=f"{_MODELS} May be repeated, to compare.  [env var: {MODEL_VARIABLE}; default: tiny]",
    ),
]
Device = Annotated[
    str,
    typer.Option(
        metavar="DEVICE", envvar="VAE3D_DEVICE", help="auto (cuda, then mps, then cpu), cpu, cuda, cuda:N, or mps."
    ),
]
Dtype = Annotated[ComputeDtypeChoice, typer.Option(help="Precision of the networks; auto is bf16 on cuda, else fp32.")]
StrategyName = Annotated[
    str,
    typer.Option(
        "--strategy",
        metavar="NAME",
        help="How a clip is run: auto; stream or whole (tiny); whole, layerwise or tiled (HunyuanVideo). All are exact "
        "but tiled.",
    ),
]
Memory = Annotated[
    str | None,
    typer.Option(
        metavar="SIZE",
        help="Budget for the working set on the device, such as 6GiB; default: most of what is free. For HunyuanVideo; "
        "whole does not keep to it.",
    ),
]
TilePx = Annotated[int | None, typer.Option(metavar="N", min=8, help="Side of a tile of tiled.  [default: 256]")]
TileOverlapPx = Annotated[int | None, typer.Option(metavar="N", min=0, help="Overlap of tiles.  [default: 64]")]
ChunkFrames = Annotated[
    int | None, typer.Option(metavar="N", min=4, help="Frames of a window of tiled, and one more.  [default: 64]")
]
ChunkOverlapFrames = Annotated[int | None, typer.Option(metavar="N", min=0, help="Overlap of windows.  [default: 16]")]
Scaled = Annotated[
    bool,
    typer.Option("--scaled/--unscaled", help="Multiply latents by the model's scaling factor, as trainers want them."),
]
Threads = Annotated[int | None, typer.Option(metavar="N", min=1, max=MOST_AT_ONCE, help="CPU threads.")]
Engine = Annotated[
    EngineChoice,
    typer.Option(help="Where clips are encoded: here, or as tasks of a Ray cluster (needs the extra vae3d-cli[ray])."),
]
WorkerCpus = Annotated[
    float | None,
    typer.Option(metavar="N", min=0, max=MOST_AT_ONCE, help="CPUs of a Ray worker, and its threads.  [default: 1]"),
]
WorkerGpus = Annotated[
    float | None,
    typer.Option(
        metavar="N",
        min=0,
        max=MOST_AT_ONCE,
        help="GPUs of a Ray worker; a part of one is shared.  [default: 1 if the cluster has any]",
    ),
]
Workers = Annotated[
    int | None,
    typer.Option(
        metavar="N",
        min=1,
        max=MOST_AT_ONCE,
        help="Encode several clips at a time, each in a process with a model of its own. "
        "Default: one for each GPU, or one.",
    ),
]
Posterior = Annotated[PosteriorChoice, typer.Option(help="The mean, a random draw, or mean and logvar.")]
Seed = Annotated[
    int | None, typer.Option(metavar="N", min=0, max=2**63 - 1, help="Seed of --posterior sample; default: drawn.")
]
LatentsDtype = Annotated[
    DtypeChoice | None, typer.Option(help="Type that latents are stored in; default: that of --dtype.")
]
Frames = Annotated[str | None, typer.Option(metavar="A:B|N", help="Only frames A to B-1, counted from 0; N is 0:N.")]
Fps = Annotated[
    str | None,
    typer.Option("--fps", metavar="RATE", help="Resample to this many frames per second, such as 24 or 30000/1001."),
]
Size = Annotated[str | None, typer.Option("--size", metavar="WxH", help="Resize, by FFmpeg's Lanczos filter.")]
RateOfLatents = Annotated[
    str | None,
    typer.Option("--fps", metavar="RATE", help="Frames per second of latents of another tool, which hold no rate."),
]
ScaleOfLatents = Annotated[
    bool | None,
    typer.Option(
        "--scaled/--unscaled",
        help="Whether the scaling factor is in latents of another tool, where the file does not say.",
    ),
]
ProtocolName = Annotated[
    str | None,
    typer.Option(
        "--protocol",
        metavar="NAME",
        help=f"Measure as papers do: {', '.join(PROTOCOLS)} (frames x height x width). The first frames, resized to "
        "cover that size, and of them the centre.",
    ),
]
VideoTrack = Annotated[
    int | None,
    typer.Option(
        "--stream",
        metavar="N",
        min=0,
        help="Read the video track N, counted from 0 without cover art.  [default: the default track, else the best]",
    ),
]
Deinterlace = Annotated[bool, typer.Option("--deinterlace", help="Make whole frames of interlaced ones.")]
AllowDamaged = Annotated[bool, typer.Option("--allow-damaged", help="Keep what decodes of a damaged video.")]
Force = Annotated[bool, typer.Option("-f", "--force", help="Overwrite outputs.")]
SkipExisting = Annotated[bool, typer.Option("--skip-existing", help="Skip inputs whose outputs exist.")]
SkipWhole = Annotated[
    bool,
    typer.Option(
        "--skip-existing",
        help="Skip inputs whose outputs exist. Only corrupt files that vae3d wrote are made again.",
    ),
]
Update = Annotated[
    bool,
    typer.Option(
        "--update",
        help="Skip inputs whose outputs are up to date. Stale and corrupt files are made again, if vae3d wrote them.",
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object per input.")]
Quiet = Annotated[bool, typer.Option("-q", "--quiet", help="Print errors only, and results.")]
Verbose = Annotated[bool, typer.Option("-v", "--verbose", help="Print every decision taken.")]
ShowProgress = Annotated[bool, typer.Option("--progress/--no-progress", help="Progress bar, on a terminal.")]
