"""What reading, measuring and writing cost beside the model, in a 720p roundtrip: `python -m tests.benchmarks.io`."""

import json
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.clips import write_clip

NUM_FRAMES = 33


def main() -> None:
    """Print a row without and with a video written."""
    print(f"{'1280x720':22} {'total':>8} {'model':>8} {'rest':>8} {'share':>7}")
    with tempfile.TemporaryDirectory() as folder:
        clip = write_clip(Path(folder) / "clip.mp4", NUM_FRAMES, 1280, 720)
        for name, options in (("roundtrip", []), ("roundtrip -o", ["-o", str(Path(folder) / "out.mp4")])):
            command = [sys.executable, "-m", "vae3d_cli", "roundtrip", str(clip), "--json", "-q", *options]
            seconds = json.loads(subprocess.run(command, capture_output=True, check=True).stdout)["seconds"]
            total, model = seconds["total"] - seconds["load"], seconds["encode"] + seconds["decode"]
            rest = total - model
            print(f"{name:22} {total:6.1f} s {model:6.1f} s {rest:6.1f} s {100 * rest / total:5.1f} %", flush=True)


if __name__ == "__main__":
    main()
