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
    with tempfile.TemporaryDirectory() as folder:
        clips = [write_clip(Path(folder) / f"{length}.mp4", length, 320, 240) for length in LENGTHS]
        latents = [clip.with_suffix(".safetensors") for clip in clips]
        rows = {
            "encode": [peak_bytes("encode", clip) for clip in clips],
            "decode": [peak_bytes("decode", path) for path in latents],
            "roundtrip": [peak_bytes("roundtrip", clip) for clip in clips],
        }
    print(f"{'320x240':10}", *(f"{f'{length} frames':>12}" for length in LENGTHS), f"{'ratio':>7}")
    for name, (short, long) in rows.items():
        print(f"{name:10} {short / 2**20:8.0f} MiB {long / 2**20:8.0f} MiB {long / short:7.3f}")


if __name__ == "__main__":
    main()
