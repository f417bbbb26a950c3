"""Results as rows of text."""

import json
import math
from collections.abc import Iterable, Sequence
from statistics import fmean
from typing import TYPE_CHECKING

from vae3d_cli.cli.jobs import PIPE, Job
from vae3d_cli.cli.runner import Settings
from vae3d_cli.console import print_detail, print_error, print_json, print_path, print_rows, print_table, sparkline

if TYPE_CHECKING:
    from vae3d_cli.codec import (
        DecodeResult,
        EncodeResult,
        Extras,
        LatentsDescription,
        RoundtripResult,
        Run,
        VideoDescription,
    )
    from vae3d_cli.metrics import GateResult
    from vae3d_cli.weights import ModelFacts

Rows = list[tuple[str, str]]
SPEED = "speed"
# What a comparison shows, and the measures that were asked for.
_COLUMNS = {
    "psnr": "PSNR",
    "psnr.min": "worst",
    "psnr.first": "first",
    "ssim": "SSIM",
    "ms_ssim": "MS-SSIM",
    "psnr_temporal": "changes",
    "psnr_static": "still",
}
HUNYUANVIDEO = "hunyuanvideo"
PSNR, LPIPS = "psnr", "lpips"


def present_model(model: "ModelFacts", settings: Settings) -> None:
    """Say what is used."""
    if settings.verbose:
        print_detail(f"model {model.name}, latent space {model.config.latent_space}, encoder {model.encoder_sha256}")
        print_detail(f"device {model.device}, {model.dtype_name}, loaded in {model.load_seconds:.2f} s")


def present_result(result: "EncodeResult | DecodeResult", settings: Settings) -> None:
    """The result of `encode` or `decode`: the path that was written, or JSON."""
    stdout_taken = result.output == PIPE
    present_run(result, settings)
    if settings.json:
        print_json(json.dumps(result.to_json()), to_stderr=stdout_taken)
    elif not stdout_taken:
        print_path(result.output)


def present_roundtrip(
    result: "RoundtripResult", gates: "Sequence[GateResult]", settings: Settings, *, per_frame: bool
) -> None:
    """The table of `roundtrip`, or JSON."""
    stdout_taken = PIPE in result.outputs.values()
    present_run(result, settings)
    if settings.json:
        missed = [gate.metric for gate in gates if not gate.passed]
        report = result.to_json(per_frame=per_frame)
        report |= {"gate": {"passed": not missed, "missed": missed}, "gates": [gate.to_json() for gate in gates]}
        print_json(json.dumps(report), to_stderr=stdout_taken)
    else:
        title = f"{result.input} through {result.model.name}{_by(result.protocol)}"
        print_rows(title, _roundtrip_rows(result), to_stderr=stdout_taken)


def present_missed(job: Job, gates: "Sequence[GateResult]") -> bool:
    """An error for every gate that was missed; whether any was."""
    missed = [gate for gate in gates if not gate.passed]
    for gate in missed:
        print_error(f"gate missed: {gate} ({job.model}, {job.name})")
    return bool(missed)


def _by(protocol: str | None) -> str:
    return f", by {protocol}" if protocol else ""


def present_comparison(
    measured: list[tuple[Job, dict[str, float]]], extras: "Extras", protocol: str | None, *, to_stderr: bool
) -> None:
    """A table with a row for each clip and model and, where a model has several clips, one of their means.

    The figures are those of the gates, and `SPEED`.
    """
    from vae3d_cli.metrics import TITLES

    # LPIPS by one backbone is not that by another; VMAF has one model.
    further = {
        name: f"{TITLES[name]} {label}" if name == LPIPS else TITLES[name] for name, label in extras.labels.items()
    }
    columns = _COLUMNS | further | {SPEED: "frames/s"}
    rows = [(job.name, job.model, *_cells([figures], columns)) for job, figures in measured]
    for model in dict.fromkeys(job.model for job, _ in measured):
        group = [figures for job, figures in measured if job.model == model]
        if len(group) > 1:
            rows.append((f"mean of {len(group)} clips{_by(protocol)}", model, *_cells(group, columns)))
    print_table((f"clip{_by(protocol)}", "model", *columns.values()), rows, to_stderr=to_stderr)


def _cells(clips: list[dict[str, float]], columns: Iterable[str]) -> list[str]:
    """The means of some clips' figures; one that not all have is left out."""
    from vae3d_cli.metrics import digits_of

    cells = []
    for name in columns:
        values = [figures[name] for figures in clips if name in figures]
        digits = 1 if name == SPEED else digits_of(name)
        cells.append(f"{fmean(values):.{digits}f}" if len(values) == len(clips) else "")
    return cells


def present_info(description: "LatentsDescription | VideoDescription", settings: Settings) -> None:
    """The table of `info`, or JSON."""
    facts = description.to_json()
    if settings.json:
        print_json(json.dumps(facts), to_stderr=False)
    else:
        if not facts.pop("num_frames_exact", True):
            facts["num_frames"] = f"about {facts['num_frames']}"
        rows = [(name.replace("_", " "), _text(value)) for name, value in facts.items() if value is not None]
        print_rows(description.name, rows[1:])
    for note in description.notes:
        settings.note(note)


def present_run(result: "Run", settings: Settings) -> None:
    """What is worth saying of a run, beside its result."""
    space = result.model.config.latent_space
    if space != HUNYUANVIDEO:
        settings.note(f"the latents are of {result.model.name}'s own latent space ({space}), not HunyuanVideo's")
    for note in result.notes:
        settings.note(note)
    if settings.verbose:
        print_detail(f"{result.input}: strategy {json.dumps(result.strategy)}, latents {list(result.latents_shape)}")


def _roundtrip_rows(result: "RoundtripResult") -> Rows:
    header, seconds = result.header, result.seconds
    values = 3 * result.num_frames * header.height * header.width
    latents = math.prod(result.latents_shape)
    return [
        *_metric_rows(result),
        ("clip", f"{result.num_frames} frames, {header.width}x{header.height}, {float(header.rate):.3f} per second"),
        (
            "latents",
            f"{'x'.join(map(str, result.latents_shape))}, {values / latents:.1f} times fewer values, "
            f"{result.bits_per_pixel:.2f} bits per pixel",
        ),
        (
            "time",
            f"{seconds['encode']:.2f} s encode, {seconds['decode']:.2f} s decode, {seconds['total']:.2f} s in all",
        ),
        ("speed", f"{result.frames_per_second:.1f} frames/s on {result.model.device}, {result.model.dtype_name}"),
        ("memory", f"{result.peak_memory_bytes / 2**20:.0f} MiB"),
        *((f"{name} file", path) for name, path in result.outputs.items()),
    ]


def _metric_rows(result: "RoundtripResult") -> Rows:
    """The measures, with the worst frame and its time, and PSNR over time."""
    from vae3d_cli.metrics import TITLES, digits_of

    metrics = result.fidelity.metrics
    time_base, stamps = result.timing.stamps(result.num_frames)
    rows = []
    for name, summary in metrics.items():
        unit, digits = " dB" if name.startswith(PSNR) else "", digits_of(name)
        time = float(int(stamps[summary.worst_frame]) * time_base)
        worst = f"worst {summary.worst:.{digits}f} at frame {summary.worst_frame} ({time:.2f} s)"
        title = " ".join((TITLES[name], *(f"({fact})" for fact in summary.facts.values())))
        rows.append((title, f"{summary.mean:.{digits}f}{unit}, {worst}"))
        if name == PSNR:
            figures = summary.figures
            positions = [f"{figures[figure]:.2f}" for figure in figures if figure.startswith("position")]
            if positions:
                text = f"first frame {figures['first']:.2f} dB, then by its place in the group {' '.join(positions)}"
                rows.append(("", text))
            if "seams" in figures:
                rows.append(
                    ("", f"on the borders of tiles {figures['seams']:.2f} dB, elsewhere {figures['elsewhere']:.2f}")
                )
            rows.append(("", sparkline(summary.per_frame)))
    rows += [(TITLES[name], f"absent: {reason}") for name, reason in result.fidelity.absent.items()]
    return [row for row in rows if row[1]]


def _text(value: object) -> str:
    """A fact of a file for people."""
    if isinstance(value, list):
        return "x".join(map(str, value))
    if isinstance(value, dict):
        return ", ".join(f"{name} {part}" for name, part in value.items())
    if isinstance(value, bool):
        return "yes" if value else "no"
    return str(value)
