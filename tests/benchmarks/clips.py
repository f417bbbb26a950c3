"""Many clips: one after the other, overlapped, by two workers: `python -m tests.benchmarks.clips`."""

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from tests.clips import write_clip
from vae3d_cli.batch import Found, InProcess, Policy, encode_clips, find_clips, open_manifests, plan_clips
from vae3d_cli.batch.planning import Clip
from vae3d_cli.codec import EncodeOptions, Progress
from vae3d_cli.weights import Model, load_model

REPEATS = 3
SETS = ((200, 17, 64, 64), (120, 17, 128, 128), (48, 33, 256, 256), (6, 33, 848, 480))


@contextmanager
def _unwatched(_clip: Clip) -> Iterator[Progress]:
    yield lambda _done, _total: None


def encode(clips: Path, model: Model, out: Path, *, overlaps: bool) -> None:
    """As `vae3d encode` does it, with a manifest; or each clip a run of its own."""
    found = find_clips([Found(clips, Path())], recursive=True, output=out).clips
    planned = plan_clips(found, out, lambda _: EncodeOptions())
    with open_manifests(planned) as manifests:
        for run in [planned] if overlaps else [[clip] for clip in planned]:
            encode_clips(run, InProcess(model), Policy(), manifests, _unwatched, lambda _outcome: None)


def command(clips: Path, options: tuple[str, ...], out: Path) -> None:
    """The command itself, with the start of its processes; two workers have a thread each."""
    arguments = ["encode", str(clips), "-r", "-q", "-o", str(out), *options]
    environment = {name: value for name, value in os.environ.items() if name != "RAY_ADDRESS"}
    subprocess.run(
        [sys.executable, "-m", "vae3d_cli", *arguments], check=True, stdout=subprocess.DEVNULL, env=environment
    )


def main() -> None:
    """Print the seconds of each way, which take turns."""
    model = load_model("tiny", device="cpu")
    for number, frames, width, height in SETS:
        with tempfile.TemporaryDirectory() as text:
            folder = Path(text)
            (folder / "clips").mkdir()
            for index in range(number):
                write_clip(folder / "clips" / f"{index:03d}.mp4", frames, width, height)
            clips = folder / "clips"
            ways: dict[str, Callable[[Path], None]] = {
                "one by one": partial(encode, clips, model, overlaps=False),
                "overlapped": partial(encode, clips, model, overlaps=True),
                "--threads 1": partial(command, clips, ("--threads", "1")),
                "--workers 1": partial(command, clips, ()),
                "--workers 2": partial(command, clips, ("--workers", "2")),
                "ray, 1 worker": partial(command, clips, ("--engine", "ray", "--workers", "1")),
                "ray, 2 workers": partial(command, clips, ("--engine", "ray", "--workers", "2")),
            }
            seconds: dict[str, list[float]] = {name: [] for name in ways}
            for repeat in range(REPEATS):
                for name, way in ways.items():
                    start = time.perf_counter()
                    way(folder / f"{name} {repeat}")
                    seconds[name].append(time.perf_counter() - start)
            print(f"{number} clips of {frames} frames of {width}x{height}: median of {REPEATS}, seconds")
            for name, values in seconds.items():
                print(f"  {name:15} {sorted(values)[REPEATS // 2]:6.2f}   {' '.join(f'{v:.2f}' for v in values)}")
            sys.stdout.flush()


if __name__ == "__main__":
    main()
