"""What reading, writing and the metrics cost in a roundtrip, beside the model: `python -m tests.benchmarks.io`."""

import tempfile
import time
from pathlib import Path

from torch import Tensor

import vae3d_cli.codec.roundtrip as roundtrip
from tests.clips import write_clip
from vae3d_cli.codec import roundtrip_video
from vae3d_cli.metrics import FidelityMeter
from vae3d_cli.weights import load_model

NUM_FRAMES = 33
SIZES = ((848, 480), (1280, 720))


class TimedMeter(FidelityMeter):
    """Counts the seconds that the metrics take."""

    seconds = 0.0

    def add(self, reference: Tensor, other: Tensor) -> float:
        """Measure one frame."""
        start = time.perf_counter()
        psnr = super().add(reference, other)
        TimedMeter.seconds += time.perf_counter() - start
        return psnr


def main() -> None:
    """Print two rows for each size, without and with a video written."""
    roundtrip.FidelityMeter = TimedMeter  # type: ignore[attr-defined]
    model = load_model()
    print(f"{'':21} {'total':>8} {'model':>8} {'metrics':>8} {'rest':>8} {'metrics':>9} {'rest':>7}")
    for width, height in SIZES:
        with tempfile.TemporaryDirectory() as folder:
            clip = write_clip(Path(folder) / "clip.mp4", NUM_FRAMES, width, height)
            roundtrip_video(clip, model)  # warm
            for name, outputs in (("roundtrip", {}), ("roundtrip -o", {"recon": Path(folder) / "out.mp4"})):
                TimedMeter.seconds = 0.0
                seconds = roundtrip_video(clip, model, outputs=outputs).seconds
                total, network = seconds["total"] - seconds["load"], seconds["encode"] + seconds["decode"]
                metrics, rest = TimedMeter.seconds, total - network - TimedMeter.seconds
                print(
                    f"{width:4}x{height} {name:12} {total:6.1f} s {network:6.1f} s {metrics:6.1f} s {rest:6.1f} s",
                    end="",
                )
                print(f" {100 * metrics / total:7.1f} % {100 * rest / total:5.1f} %", flush=True)


if __name__ == "__main__":
    main()
