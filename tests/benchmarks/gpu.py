"""HunyuanVideo's VAE beside diffusers' on a GPU, in bf16: `python -m tests.benchmarks.gpu`.

Both have the same random weights at full size and take turns in one process, after a turn that does not count:
diffusers with its tiling, and without where that fits; vae3d's `layerwise`, with the memory that there is and within
16 GiB. The best time, the most memory beside the weights, the rate of the work of a plain network, counted, and its
share of that of a large matrix product; the deviation ||a - b|| / ||b|| is from `layerwise` in fp32 on the same device.
"""

import time
from collections.abc import Callable
from functools import partial

import torch
from diffusers import AutoencoderKLHunyuanVideo
from torch import Tensor

from tests.benchmarks.kernels import joined, work_of
from tests.benchmarks.strategies import MIB, random_network
from tests.hunyuanvideo import deviation, moments_of, pixels_of, whole_clips
from vae3d_cli.execution import StrategyOptions, decode_chunks, encode_chunks
from vae3d_cli.execution.layers import decoder_layers, encoder_layers
from vae3d_cli.model.hunyuanvideo import HunyuanVideoVae, Size

CLIPS: tuple[Size, ...] = ((65, 480, 848), (129, 720, 1280))
DEVICE = torch.device("cuda")
DTYPE = torch.bfloat16
WARMING, TURNS = 1, 2
MATRIX = 8192
SMALL_BYTES = 16 << 30


def measured(run: Callable[[], Tensor]) -> tuple[float, float, Tensor]:
    """Seconds, MiB at the peak beside what was there, and the result on the host."""
    torch.cuda.synchronize(DEVICE)
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats(DEVICE)
    before, start = torch.cuda.memory_allocated(DEVICE), time.perf_counter()
    result = run().cpu()
    seconds = time.perf_counter() - start
    return seconds, (torch.cuda.max_memory_allocated(DEVICE) - before) / MIB, result


def theirs(network: HunyuanVideoVae, *, tiled: bool) -> AutoencoderKLHunyuanVideo:
    """A network of diffusers with the same weights."""
    vae = AutoencoderKLHunyuanVideo().eval()
    vae.load_state_dict(network.state_dict())
    vae.to(DEVICE, DTYPE)
    if tiled:
        vae.enable_tiling()
    else:
        whole_clips(vae)
    return vae


def runs_of(network: HunyuanVideoVae, direction: str, clip: Tensor) -> dict[str, Callable[[], Tensor]]:
    """What is compared."""
    code = encode_chunks if direction == "encode" else decode_chunks
    their_code = moments_of if direction == "encode" else pixels_of

    def diffusers(*, tiled: bool) -> Tensor:
        return their_code(networks[tiled], clip.to(DEVICE, DTYPE)).float()

    def layerwise(memory_bytes: int | None) -> Tensor:
        return joined(code(network, [clip], StrategyOptions(name="layerwise", memory_bytes=memory_bytes)))

    networks = [theirs(network, tiled=False), theirs(network, tiled=True)]
    return {
        "diffusers tiled": partial(diffusers, tiled=True),
        "diffusers whole": partial(diffusers, tiled=False),
        "vae3d": partial(layerwise, None),
        "vae3d in 16 GiB": partial(layerwise, SMALL_BYTES),
    }


def matrix_rate() -> float:
    """Floating-point operations a second of a large matrix product."""
    matrix = torch.rand(MATRIX, MATRIX, device=DEVICE, dtype=DTYPE)
    return 2 * MATRIX**3 / min(measured(lambda: (matrix @ matrix)[:1])[0] for _ in range(5))


@torch.inference_mode()
def main() -> None:
    """Print a row for each clip, direction and implementation."""
    torch.backends.cudnn.allow_tf32 = False  # for the run in fp32 that all are compared with
    networks = {dtype: random_network(dtype).to(DEVICE) for dtype in (torch.float32, DTYPE)}
    print(f"{'clip':12} {'':6} {'':15} {'time':>9} {'memory':>10} {'deviation':>9} {'rate':>12} {'of peak':>7}")
    for frames, height, width in CLIPS:
        generator = torch.Generator().manual_seed(1)
        pixels = torch.rand(1, 3, frames, height, width, generator=generator) * 2 - 1
        latents = torch.randn(1, 16, 1 + frames // 4, height // 8, width // 8, generator=generator)
        for direction, clip, layers in (
            ("encode", pixels, encoder_layers(networks[DTYPE])),
            ("decode", latents, decoder_layers(networks[DTYPE])),
        ):
            work = work_of(layers, (clip.shape[2], clip.shape[3], clip.shape[4]))
            code = encode_chunks if direction == "encode" else decode_chunks
            exact = joined(code(networks[torch.float32], [clip], StrategyOptions(name="layerwise"))).cpu()
            rate = matrix_rate()
            runs = runs_of(networks[DTYPE], direction, clip)
            rows: dict[str, list[tuple[float, float, float]]] = {name: [] for name in runs}
            for _ in range(WARMING + TURNS):
                for name, run in runs.items():
                    try:
                        seconds, mib, result = measured(run)
                    except torch.cuda.OutOfMemoryError:
                        continue
                    rows[name].append((seconds, mib, deviation(result.float(), exact)))
            for name, turns in rows.items():
                text = f"{frames}x{height}x{width}"
                if not turns[WARMING:]:
                    print(f"{text:12} {direction:6} {name:15} does not fit", flush=True)
                    continue
                best, mib = min(turn[0] for turn in turns[WARMING:]), max(turn[1] for turn in turns)
                print(
                    f"{text:12} {direction:6} {name:15} {best:7.2f} s {mib:6.0f} MiB {turns[-1][2]:9.1e} "
                    f"{work / best / 1e12:5.0f} TFLOP/s {work / best / rate:7.0%}",
                    flush=True,
                )


if __name__ == "__main__":
    main()
