"""One page of HTML that needs nothing beside itself: its data as JSON, a style and a script that draws them."""

import base64
import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from importlib.resources import files
from pathlib import Path

import torch

from vae3d_cli import __version__
from vae3d_cli.codec import RoundtripResult
from vae3d_cli.codec.comparison import GAIN
from vae3d_cli.codec.outputs import binary_output
from vae3d_cli.files import OutputGroup
from vae3d_cli.latents import LatentsHeader
from vae3d_cli.metrics import TITLES, GateResult
from vae3d_cli.report.exhibit import PICTURE_SIDE_PX, Exhibit

# Of every frame's figures: more would say nothing.
_DIGITS = 5
# The longest side of a small clip's pictures is at least so long: what is lost shows, and labels have room.
_LEAST_SIDE_PX = 320


@dataclass(frozen=True)
class Measured:
    """A roundtrip that was made, the model as its user named it, what was kept, and the gates that it was to pass."""

    model: str
    result: RoundtripResult
    exhibit: Exhibit
    gates: Sequence[GateResult] = ()


def write_report(output: Path | None, measured: Sequence[Measured], group: OutputGroup | None = None) -> None:
    """Write the page of some roundtrips to a file, or to standard output if there is none.

    The file appears with the others of the `group`.

    Raises:
        OutputError: It cannot be written.
    """
    with binary_output(output, group) as out:
        out.write(report_page(measured))


def report_page(measured: Sequence[Measured]) -> bytes:
    """The page, as UTF-8, of some roundtrips; those of one input are compared frame by frame."""
    clips: dict[str, list[Measured]] = {}
    for run in measured:
        clips.setdefault(run.result.input, []).append(run)
    data = {
        "software": f"vae3d {__version__}",
        "gain": GAIN,
        "metrics": [{"name": name, "title": _title(name, measured)} for name in TITLES],
        "clips": [_clip(name, runs) for name, runs in clips.items()],
    }
    # As it stands inside an element, no text of it may look like the end of that.
    text = json.dumps(data, separators=(",", ":"), allow_nan=False).replace("<", "\\u003c")
    parts = {"style": _part("page.css"), "script": _part("page.js"), "data": text}
    page = _part("page.html")
    for name, part in parts.items():
        page = page.replace(f"{{{{ {name} }}}}", part)
    return page.encode()


def _title(name: str, measured: Sequence[Measured]) -> str:
    """What a measure is called, and what it depends on."""
    summaries = (run.result.fidelity.metrics.get(name) for run in measured)
    facts = {fact for summary in summaries if summary for fact in summary.facts.values()}
    return " ".join((TITLES[name], *(f"({fact})" for fact in sorted(facts))))


def _part(name: str) -> str:
    return files("vae3d_cli.report").joinpath(name).read_text("utf-8")


def _clip(name: str, runs: list[Measured]) -> dict[str, object]:
    """What the page shows of one input."""
    result = runs[0].result
    time_base, stamps = result.timing.stamps(result.num_frames)
    return {
        "input": name,
        "shown": _shown_size(result.header),
        "seconds": [round(float(int(stamp) * time_base), 6) for stamp in stamps],
        "frames": [{"number": number, "label": label} for number, label in _labels(runs).items()],
        "originals": {
            number: _uri("image/webp", pictures.original)
            for run in runs
            for number, pictures in run.exhibit.pictures.items()
        },
        "runs": [_run(run) for run in runs],
    }


def _shown_size(header: LatentsHeader) -> dict[str, object]:
    """Width and height of the pictures in CSS pixels: with the shape of the clip's pixels, small clips `enlarged`."""
    aspect = float(header.sample_aspect_ratio)
    width, height = header.width * max(1, aspect), header.height / min(1, aspect)
    longest = max(width, height)
    scale = min(PICTURE_SIDE_PX / longest, max(1, math.ceil(_LEAST_SIDE_PX / longest)))
    sides = {"width": width, "height": height}
    return {**{name: max(1, round(side * scale)) for name, side in sides.items()}, "enlarged": scale > 1}


def _labels(runs: list[Measured]) -> dict[int, str]:
    """What is notable of the frames that are shown, in the order in which they are offered."""
    labels: dict[int, list[str]] = {}
    for run in runs:
        of_model = f" of {run.model}" if len(runs) > 1 else ""
        for label, number in run.exhibit.labels.items():
            labels.setdefault(number, []).append(label + of_model)
    return {number: ", ".join(parts) for number, parts in labels.items()}


def _run(run: Measured) -> dict[str, object]:
    """What the page shows of one input through one model."""
    result, exhibit = run.result, run.exhibit
    return {
        "model": run.model,
        "values": {name: _rounded(summary.per_frame) for name, summary in result.fidelity.metrics.items()},
        "worst": {name: summary.worst_frame for name, summary in result.fidelity.metrics.items()},
        "figures": dict(zip(figures := result.fidelity.by_name(), _rounded(figures.values()), strict=True)),
        "absent": result.fidelity.absent,
        "gates": [{"text": str(gate), "passed": gate.passed} for gate in run.gates],
        "framesPerSecond": result.frames_per_second,
        "bitsPerPixel": result.bits_per_pixel,
        "facts": _facts(run),
        "histograms": [asdict(histogram) for histogram in exhibit.histograms],
        "video": _uri("video/mp4", exhibit.video),
        "pictures": {
            number: {
                "other": _uri("image/webp", pictures.other),
                "difference": _uri("image/webp", pictures.difference),
            }
            for number, pictures in exhibit.pictures.items()
        },
    }


def _facts(run: Measured) -> list[tuple[str, str]]:
    """The settings and the hashes."""
    result = run.result
    header = result.header
    facts = {
        "input sha256": header.source_sha256,
        "frames": f"{result.num_frames}, {header.width}x{header.height}, {header.rate} per second",
        "protocol": result.protocol,
        "model": result.model.name,
        "encoder sha256": result.model.encoder_sha256,
        "latent space": header.latent_space,
        "latents": f"{'x'.join(map(str, result.latents_shape))}, {result.bits_per_pixel:.3f} bits per pixel",
        "posterior": header.posterior if header.seed is None else f"{header.posterior}, seed {header.seed}",
        "scaling factor": f"{header.scaling_factor}, {'' if header.scaled else 'not '}multiplied in",
        "strategy": json.dumps(header.strategy),
        "run on": f"{result.model.device}, {result.model.dtype_name}, {torch.get_num_threads()} threads, "
        f"torch {torch.__version__}",
        "seconds": ", ".join(f"{name} {seconds:.2f}" for name, seconds in result.seconds.items()),
        "memory": f"{result.peak_memory_bytes / 2**20:.0f} MiB",
    }
    return [(name, value) for name, value in facts.items() if value is not None]


def _rounded(values: Iterable[float]) -> list[float | None]:
    """Figures for JSON, which has no NaN."""
    return [None if math.isnan(value) else round(value, _DIGITS) for value in values]


def _uri(kind: str, data: bytes) -> str:
    return f"data:{kind};base64,{base64.b64encode(data).decode()}"
