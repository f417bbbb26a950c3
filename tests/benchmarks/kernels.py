"""HunyuanVideo's VAE beside diffusers', fp32 on the CPU: `python -m tests.benchmarks.kernels [threads]`.

Both have the same random weights at full size and take turns in one process, after a turn that does not count: the best
time, the least memory beside the weights, and the deviation ||a - b|| / ||b|| of moments and of pixels. `of peak` is
the work of a plain network, counted, in that time, against the rate of a large matrix product measured between the
turns: above 100% where a kernel has less to do. The largest clip has one turn, once all is warm.
"""

import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch
from diffusers import AutoencoderKLHunyuanVideo
from torch import Tensor

from tests.benchmarks.strategies import MIB, random_network
from tests.hunyuanvideo import deviation, moments_of, pixels_of, whole_clips
from vae3d_cli.codec.memory import peak_memory_bytes
from vae3d_cli.execution import StrategyOptions, decode_chunks, encode_chunks
from vae3d_cli.execution.layers import Layer, decoder_layers, encoder_layers
from vae3d_cli.execution.strategy import Execution
from vae3d_cli.model.hunyuanvideo import HunyuanVideoVae, Size

# Size, turns that do not count, turns.
CLIPS = (((1, 256, 256), 1, 2), ((9, 128, 128), 1, 2), ((17, 256, 256), 0, 1))
MATRIX = 2048
DIFFUSERS, NO_KERNELS, OURS = "diffusers", "no kernels", "vae3d"


def measured(run: Callable[[], Tensor]) -> tuple[float, float, Tensor]:
    """Seconds, MiB at the peak beside what was there, and the result."""
    Path("/proc/self/clear_refs").write_text("5")  # the peak counts from here
    before, start = peak_memory_bytes(), time.perf_counter()
    result = run()
    return time.perf_counter() - start, (peak_memory_bytes() - before) / MIB, result


def work_of(layers: list[Layer], size: Size) -> int:
    """Floating-point operations of a plain network."""
    total = 0
    for layer in layers:
        total += 2 * layer.work(size)
        size = layer.out_size(size)
    return total


def joined(execution: Execution) -> Tensor:
    """All of its chunks."""
    return torch.cat(list(execution.chunks), dim=2)


def runs_of(
    network: HunyuanVideoVae, theirs: AutoencoderKLHunyuanVideo, size: Size
) -> dict[str, tuple[int, dict[str, Callable[[], Tensor]]]]:
    """The counted work of each direction, and the runs that are compared."""
    frames, height, width = size
    generator = torch.Generator().manual_seed(1)
    pixels = torch.rand(1, 3, *size, generator=generator) * 2 - 1
    latents = torch.randn(1, 16, 1 + frames // 4, height // 8, width // 8, generator=generator)
    plain, fast = StrategyOptions(kernels=frozenset()), StrategyOptions()
    encode: dict[str, Callable[[], Tensor]] = {
        DIFFUSERS: lambda: moments_of(theirs, pixels),
        NO_KERNELS: lambda: joined(encode_chunks(network, [pixels], plain)),
        OURS: lambda: joined(encode_chunks(network, [pixels], fast)),
    }
    decode: dict[str, Callable[[], Tensor]] = {
        DIFFUSERS: lambda: pixels_of(theirs, latents),
        NO_KERNELS: lambda: joined(decode_chunks(network, [latents], plain)),
        OURS: lambda: joined(decode_chunks(network, [latents], fast)),
    }
    small = (latents.shape[2], latents.shape[3], latents.shape[4])
    return {
        "encode": (work_of(encoder_layers(network), size), encode),
        "decode": (work_of(decoder_layers(network), small), decode),
    }


@torch.inference_mode()
def main(threads: int) -> None:
    """Print a row for each clip, direction and implementation."""
    torch.set_num_threads(threads)
    network = random_network(torch.float32)
    theirs = AutoencoderKLHunyuanVideo().eval()
    theirs.load_state_dict(network.state_dict())
    whole_clips(theirs)
    matrix = torch.rand(MATRIX, MATRIX)
    print(f"{'clip':11} {'':6} {'':10} {'time':>8} {'faster':>6} {'memory':>9} {'deviation':>9} {'of peak':>7}")
    for size, warming, turns in CLIPS:
        for direction, (work, runs) in runs_of(network, theirs, size).items():
            rows: dict[str, list[tuple[float, float, Tensor]]] = {name: [] for name in runs}
            matmul = float("inf")
            for _ in range(warming + turns):
                matmul = min(matmul, *(measured(lambda: matrix @ matrix)[0] for _ in range(3)))
                for name, run in runs.items():
                    rows[name].append(measured(run))
            peak = 2 * MATRIX**3 / matmul
            best = {name: min(row[0] for row in measurements[warming:]) for name, measurements in rows.items()}
            for name, measurements in rows.items():
                mib = min(row[1] for row in measurements[warming:])
                difference = deviation(measurements[-1][2], rows[DIFFUSERS][-1][2])
                print(
                    f"{'x'.join(map(str, size)):11} {direction:6} {name:10} {best[name]:6.2f} s "
                    f"{best[DIFFUSERS] / best[name]:5.2f}x {mib:5.0f} MiB {difference:9.1e} "
                    f"{work / best[name] / peak:7.0%}",
                    flush=True,
                )


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else torch.get_num_threads())
