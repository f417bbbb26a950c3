"""How fast the embedded model is on 480p, and how near to the machine: `python -m tests.benchmarks.speed`.

The floor is the counted work at the rate of a large fp32 matrix product, measured between the runs. Best of the rounds,
on warm weights; `in all` is a clip through what `vae3d encode` and `decode` do, with video and files.
"""

import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch.utils.flop_counter import FlopCounterMode

from tests.clips import write_clip
from vae3d_cli.codec import decode_video, encode_video
from vae3d_cli.model.cache import TemporalCache
from vae3d_cli.model.tiny import TinyVae
from vae3d_cli.weights import load_model

WIDTH, HEIGHT, NUM_FRAMES = 848, 480, 33
ROUNDS, MATRIX = 5, 2048


def seconds(run: Callable[[], object]) -> float:
    """The time of a run."""
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


@torch.inference_mode()
def main() -> None:
    """Print a row for each direction."""
    model = load_model(device="cpu", dtype="fp32")
    network = model.network
    assert isinstance(network, TinyVae), "what is embedded"
    pixels = torch.rand(1, 3, NUM_FRAMES, HEIGHT, WIDTH) * 2 - 1
    latents = network.encode(pixels, TemporalCache())[:, : model.config.latent_channels]
    runs: dict[str, Callable[[], object]] = {
        "encode": lambda: network.encode(pixels, TemporalCache()),
        "decode": lambda: network.decode(latents, TemporalCache()),
    }
    work = {}
    for name, run in runs.items():
        with FlopCounterMode(display=False) as counter:
            run()
        work[name] = counter.get_total_flops()
    matrix = torch.rand(MATRIX, MATRIX)
    times: dict[str, list[float]] = {"matmul": [], **{name: [] for name in runs}}
    with tempfile.TemporaryDirectory() as folder:
        clip, file, back = (Path(folder) / name for name in ("clip.mp4", "clip.safetensors", "back.mp4"))
        write_clip(clip, NUM_FRAMES, WIDTH, HEIGHT)
        for _ in range(ROUNDS):
            times["matmul"].append(seconds(lambda: matrix @ matrix))
            for name, run in runs.items():
                times[name].append(seconds(run))
        whole = {
            "encode": seconds(lambda: encode_video(clip, file, model)),
            "decode": seconds(lambda: decode_video(file, back, load=lambda _name: model)),
        }
    peak = 2 * MATRIX**3 / min(times["matmul"])
    print(f"{torch.get_num_threads()} threads, matrix product {peak / 1e9:.0f} GFLOP/s; {WIDTH}x{HEIGHT}")
    for name in runs:
        best = min(times[name])
        rate = work[name] / best
        print(f"{name}: {NUM_FRAMES / best:.1f} frames/s, in all {NUM_FRAMES / whole[name]:.1f} frames/s", end="; ")
        print(f"{rate / 1e9:.0f} GFLOP/s, {rate / peak:.0%} of the matrix product", flush=True)


if __name__ == "__main__":
    main()
