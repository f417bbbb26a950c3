"""HunyuanVideo's strategies at full size, with random weights: `python -m tests.benchmarks.strategies [fp32|bf16]`.

Every row is a process of its own. Memory is what it held beside the weights; the deviation is ||a - b|| / ||b|| from
`whole`.
"""

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch
from torch import Tensor

from vae3d_cli.codec.memory import peak_memory_bytes
from vae3d_cli.config import HunyuanVideoConfig
from vae3d_cli.execution import StrategyOptions, decode_chunks, encode_chunks
from vae3d_cli.model.hunyuanvideo import HunyuanVideoVae
from vae3d_cli.weights import DTYPES

MIB = 1 << 20
RUNS = (
    ("whole", None),
    ("layerwise", None),
    ("layerwise", 512 * MIB),
    ("layerwise", 128 * MIB),
    ("tiled", None),
)
CLIPS = {"fp32": ((9, 128, 128), (17, 256, 256)), "bf16": ((17, 256, 256), (81, 192, 192))}


def random_network(dtype: torch.dtype) -> HunyuanVideoVae:
    """The full-size network with weights of a fixed seed that keep the scale of what goes through."""
    torch.manual_seed(0)
    with torch.device("meta"):
        network = HunyuanVideoVae(HunyuanVideoConfig())
    network.to_empty(device="cpu")
    for name, parameter in network.named_parameters():
        if parameter.ndim > 1:
            torch.nn.init.normal_(parameter, std=parameter[0].numel() ** -0.5)
        else:
            torch.nn.init.constant_(parameter, 1.0 if "norm" in name and name.endswith("weight") else 0.0)
    network.requires_grad_(False).set_compute_dtype(dtype)
    network.to(memory_format=torch.channels_last_3d)  # type: ignore[call-overload]
    return network


def work(dtype: str, name: str, memory: str, size: str, output: str) -> None:
    """One row: encode a clip and decode latents, and say what it took."""
    network = random_network(DTYPES[dtype])
    frames, height, width = map(int, size.split("x"))
    pixels = torch.rand(1, 3, frames, height, width, generator=torch.Generator().manual_seed(1)) * 2 - 1
    latents = torch.randn(1, 16, 1 + frames // 4, height // 8, width // 8, generator=torch.Generator().manual_seed(2))
    options = StrategyOptions(name=name, memory_bytes=int(memory) or None)
    report: dict[str, float] = {}
    results: list[Tensor] = []
    for what, execution in (
        ("encode", encode_chunks(network, torch.split(pixels, [1] + [4] * (frames // 4), dim=2), options)),
        ("decode", decode_chunks(network, torch.split(latents, 1, dim=2), options)),
    ):
        Path("/proc/self/clear_refs").write_text("5")  # the peak counts from here
        before, start = peak_memory_bytes(), time.perf_counter()
        results.append(torch.cat(list(execution.chunks), dim=2))
        report |= {f"{what}_s": time.perf_counter() - start, f"{what}_mib": (peak_memory_bytes() - before) / MIB}
    torch.save(results, output)
    print(json.dumps(report))


def main(dtype: str) -> None:
    """Print a row for each strategy and clip."""
    print(
        f"{dtype:5} {'clip':12} {'strategy':10} {'--memory':>9} | {'encode':>8} {'memory':>9} {'deviation':>9}", end=""
    )
    print(f" | {'decode':>8} {'memory':>9} {'deviation':>9}")
    with tempfile.TemporaryDirectory() as folder:
        for size in CLIPS[dtype]:
            text = "x".join(map(str, size))
            outputs = []
            for index, (name, memory) in enumerate(RUNS):
                output = Path(folder) / f"{index}.pt"
                command = [
                    sys.executable,
                    "-m",
                    __spec__.name,
                    "work",
                    dtype,
                    name,
                    str(memory or 0),
                    text,
                    str(output),
                ]
                row = json.loads(subprocess.run(command, capture_output=True, check=True).stdout)
                outputs.append(torch.load(output, weights_only=True))
                deviations = [float((a - b).norm() / b.norm()) for a, b in zip(outputs[-1], outputs[0], strict=True)]
                budget = f"{memory / MIB:.0f} MiB" if memory else "free"
                print(f"{dtype:5} {text:12} {name:10} {budget:>9}", end="")
                for what, deviation in zip(("encode", "decode"), deviations, strict=True):
                    seconds, mib = row[f"{what}_s"], row[f"{what}_mib"]
                    print(f" | {seconds:6.1f} s {mib:5.0f} MiB {deviation:9.1e}", end="")
                print(flush=True)


if __name__ == "__main__":
    if sys.argv[1:2] == ["work"]:
        work(*sys.argv[2:])
    else:
        main(*(sys.argv[1:] or ["fp32"]))
