"""Peak memory of the commands on clips of 300 and 3,000 frames: `python -m tests.benchmarks.memory`."""

import json
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.clips import write_clip

LENGTHS = (300, 3000)


def peak_bytes(*arguments: object) -> int:
    """The peak resident memory of a command, by its own report."""
    command = [sys.executable, "-m", "vae3d_cli", *map(str, arguments), "--json", "-q"]
    report = json.loads(subprocess.run(command, capture_output=True, check=True).stdout)
    return int(report["peak_memory_bytes"])


def main() -> None:
    """Print a row for each command."""
    print(f"{'320x240':10}", *(f"{f'{length} frames':>12}" for length in LENGTHS), f"{'ratio':>7}")
    with tempfile.TemporaryDirectory() as folder:
        clips = [write_clip(Path(folder) / f"{length}.mp4", length, 320, 240) for length in LENGTHS]
        latents = [clip.with_suffix(".safetensors") for clip in clips]
        for name, inputs in (("encode", clips), ("decode", latents), ("roundtrip", clips)):
            short, long = (peak_bytes(name, path) for path in inputs)
            print(f"{name:10} {short / 2**20:8.0f} MiB {long / 2**20:8.0f} MiB {long / short:7.3f}", flush=True)


if __name__ == "__main__":
    main()
