"""Results as rows of text."""

import json
import math
from typing import TYPE_CHECKING

from vae3d_cli.cli.jobs import PIPE
from vae3d_cli.cli.runner import Settings
from vae3d_cli.console import print_detail, print_json, print_path, print_rows

if TYPE_CHECKING:
    from vae3d_cli.codec import DecodeResult, EncodeResult, LatentsDescription, RoundtripResult, Run, VideoDescription
    from vae3d_cli.weights import Model

Rows = list[tuple[str, str]]
HUNYUANVIDEO = "hunyuanvideo"


def present_model(model: "Model", settings: Settings) -> None:
    """Say what is used."""
    if settings.verbose:
        print_detail(f"model {model.name}, latent space {model.config.latent_space}, encoder {model.encoder_sha256}")
        print_detail(f"device {model.device}, {model.dtype_name}, loaded in {model.load_seconds:.2f} s")


def present_result(result: "EncodeResult | DecodeResult", settings: Settings) -> None:
    """The result of `encode` or `decode`: the path that was written, or JSON."""
    stdout_taken = result.output == PIPE
    _present_run(result, settings)
    if settings.json:
        print_json(json.dumps(result.to_json()), to_stderr=stdout_taken)
    elif not stdout_taken:
        print_path(result.output)


def present_roundtrip(result: "RoundtripResult", missed: list[str], settings: Settings, *, per_frame: bool) -> None:
    """The table of `roundtrip`, or JSON."""
    stdout_taken = PIPE in result.outputs.values()
    _present_run(result, settings)
    if settings.json:
        report = result.to_json(per_frame=per_frame) | {"gate": {"passed": not missed, "missed": missed}}
        print_json(json.dumps(report), to_stderr=stdout_taken)
    else:
        print_rows(f"{result.input} through {result.model.name}", _roundtrip_rows(result), to_stderr=stdout_taken)


def present_info(description: "LatentsDescription | VideoDescription", settings: Settings) -> None:
    """The table of `info`, or JSON."""
    facts = description.to_json()
    if settings.json:
        print_json(json.dumps(facts), to_stderr=False)
    else:
        rows = [(name.replace("_", " "), _text(value)) for name, value in facts.items() if value is not None]
        print_rows(description.name, rows[1:])


def _present_run(result: "Run", settings: Settings) -> None:
    """What is worth saying of a run, beside its result."""
    space = result.model.config.latent_space
    if space != HUNYUANVIDEO:
        settings.note(f"the latents are of {result.model.name}'s own latent space ({space}), not HunyuanVideo's")
    for note in result.notes:
        settings.note(note)
    if settings.verbose:
        print_detail(f"{result.input}: strategy {json.dumps(result.strategy)}, latents {list(result.latents_shape)}")


def _roundtrip_rows(result: "RoundtripResult") -> Rows:
    psnr, ssim, seconds = result.fidelity.psnr, result.fidelity.ssim, result.seconds
    header = result.header
    values = 3 * result.num_frames * header.height * header.width
    latents = math.prod(result.latents_shape)
    return [
        ("PSNR", f"{psnr.mean:.2f} dB, worst {psnr.min:.2f} at frame {psnr.worst_frame}"),
        ("SSIM", f"{ssim.mean:.4f}, worst {ssim.min:.4f} at frame {ssim.worst_frame}" if ssim else "too small"),
        ("clip", f"{result.num_frames} frames, {header.width}x{header.height}, {float(header.rate):.3f} per second"),
        ("latents", f"{'x'.join(map(str, result.latents_shape))}, {values / latents:.1f} times fewer values"),
        (
            "time",
            f"{seconds['encode']:.2f} s encode, {seconds['decode']:.2f} s decode, {seconds['total']:.2f} s in all",
        ),
        ("speed", f"{result.frames_per_second:.1f} frames/s on {result.model.device}, {result.model.dtype_name}"),
        ("memory", f"{result.peak_memory_bytes / 2**20:.0f} MiB"),
        *((f"{name} file", path) for name, path in result.outputs.items()),
    ]


def _text(value: object) -> str:
    """A fact of a file for people."""
    if isinstance(value, list):
        return "x".join(map(str, value))
    if isinstance(value, dict):
        return ", ".join(f"{name} {part}" for name, part in value.items())
    if isinstance(value, bool):
        return "yes" if value else "no"
    return str(value)
