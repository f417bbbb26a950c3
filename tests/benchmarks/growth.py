"""How time and memory grow with a clip: `python -m tests.benchmarks.growth [--picture]`.

Encode and decode together, fp32 on the CPU, by `tiny` (`stream`) and by HunyuanVideo's VAE at full size, with random
weights. Small frames are measured, each clip in a process of its own; for larger ones the work is counted, layer by
layer, at the rates that were measured: that of the longest clip and that of attention. `layerwise` has a budget of
256 MiB; its activations, whose sum is counted, wait in files where they do not fit. `--picture` draws
`examples/growth.png`.
"""

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from pathlib import Path

import torch

from tests.benchmarks.kernels import measured
from tests.benchmarks.strategies import MIB, random_network
from vae3d_cli.config import HunyuanVideoConfig
from vae3d_cli.execution import StrategyOptions, decode_chunks, encode_chunks
from vae3d_cli.execution.layers import AttentionLayer, ConvLayer, Layer, decoder_layers, encoder_layers
from vae3d_cli.geometry import TileAxis, TileSizes
from vae3d_cli.model.attention import attend
from vae3d_cli.model.hunyuanvideo import HunyuanVideoVae, Size
from vae3d_cli.weights import load_model

FRAMES = (17, 65, 257, 1025)
STREAM, LAYERWISE, TILED = STRATEGIES = ("stream", "layerwise", "tiled")
AREAS = ((256, 456), (480, 848), (720, 1280), (1080, 1920))
MEASURED = {STREAM: AREAS[0], LAYERWISE: (64, 64), TILED: (64, 64)}
BUDGET_BYTES = 256 * MIB


@dataclass(frozen=True)
class Work:
    """Multiplications of a plain network."""

    convolutions: int = 0
    attention: int = 0

    def __add__(self, other: "Work") -> "Work":
        return Work(self.convolutions + other.convolutions, self.attention + other.attention)


def work_of(layers: list[Layer], size: Size) -> Work:
    """Of all layers, for a clip of `size`."""
    total = Work()
    for layer in layers:
        is_attention = isinstance(layer, AttentionLayer)
        total += Work(attention=layer.work(size)) if is_attention else Work(layer.work(size))
        size = layer.out_size(size)
    return total


def resting_bytes(layers: list[Layer], size: Size) -> int:
    """The most that the activations of `layerwise` take in fp32: input, output and what a residual keeps."""
    most = kept = 0
    assert isinstance(layers[0], ConvLayer)
    channels = layers[0].in_channels
    for layer in layers:
        out_size = layer.out_size(size)
        before, after = (4 * width * count(area) for width, area in ((channels, size), (layer.out_channels, out_size)))
        if isinstance(layer, AttentionLayer):
            most = max(most, 3 * before)  # keys and values
        elif layer.closes:
            # The output takes the place of what is kept, if it is as narrow.
            most = max(most, before + kept + (after if after > kept else 0))
            kept = 0
        else:
            most = max(most, before + after)
            kept = before if layer.opens else 0
        channels, size = layer.out_channels, out_size
    return most


def count(size: Size) -> int:
    """Positions."""
    return size[0] * size[1] * size[2]


def tiles_of(size: Size, space: TileAxis, time_axis: TileAxis) -> Iterator[Size]:
    """The windows and tiles of `run_tiled`."""
    frames, height, width = size
    if frames <= time_axis.tile:
        lengths = [frames]
    else:
        lengths = [min(time_axis.tile + 1, frames - start) for start in range(0, frames, time_axis.stride)]
    if max(height, width) <= space.tile:
        areas = [(height, width)]
    else:
        rows, columns = (
            [min(space.tile, extent - start) for start in range(0, extent, space.stride)] for extent in (height, width)
        )
        areas = list(product(rows, columns))
    for length, (tall, wide) in product(lengths, areas):
        yield length, tall, wide


class Counts:
    """The counted cost of HunyuanVideo's network in both directions."""

    def __init__(self) -> None:
        with torch.device("meta"):
            network = HunyuanVideoVae(HunyuanVideoConfig())
        tiles = TileSizes()
        self._directions = (
            (encoder_layers(network), 1, tiles.encoder_axes(network.config)),
            (decoder_layers(network), 8, tiles.decoder_axes(network.config)),
        )

    def work(self, strategy: str, size: Size) -> Work:
        """Of `layerwise` or `tiled`."""
        total = Work()
        for layers, ratio, axes in self._directions:
            clip = _at_rest(size, ratio)
            for tile in [clip] if strategy == LAYERWISE else tiles_of(clip, *axes):
                total += work_of(layers, tile)
        return total

    def resting(self, strategy: str, size: Size) -> int:
        """Bytes of the activations of the clip by `layerwise`; of a tile, and two windows of pixels, by `tiled`."""
        window = 4 * 3 * min(size[0], TileSizes().chunk_frames + 1) * size[1] * size[2]
        most = 0
        for layers, ratio, axes in self._directions:
            clip = _at_rest(size, ratio)
            largest = clip if strategy == LAYERWISE else next(tiles_of(clip, *axes))
            most = max(most, resting_bytes(layers, largest) + (0 if strategy == LAYERWISE else 2 * window))
        return most


def _at_rest(size: Size, ratio: int) -> Size:
    """The size of what goes in: pixels, or latents."""
    return size if ratio == 1 else (1 + size[0] // 4, size[1] // ratio, size[2] // ratio)


@torch.inference_mode()
def run_clip(strategy: str, frames: int, height: int, width: int) -> None:
    """Print seconds and MiB of encode and decode, chunk by chunk, whose results are thrown away."""
    options = StrategyOptions(memory_bytes=BUDGET_BYTES if strategy == LAYERWISE else None, name=strategy)
    network = load_model(device="cpu", dtype="fp32").network if strategy == STREAM else random_network(torch.float32)
    generator = torch.Generator().manual_seed(1)
    warm = torch.rand(1, 3, 5, height, width)

    def pixels() -> Iterator[torch.Tensor]:
        for length in [1] + [4] * (frames // 4):
            yield torch.rand(1, 3, length, height, width, generator=generator) * 2 - 1

    def latents() -> Iterator[torch.Tensor]:
        for _ in range(1 + frames // 4):
            yield torch.randn(1, 16, 1, height // 8, width // 8, generator=generator)

    def spend(chunks: Iterator[torch.Tensor]) -> torch.Tensor:
        for chunk in chunks:
            del chunk
        return torch.empty(0)

    spend(encode_chunks(network, [warm[:, :, :1], warm[:, :, 1:]], options).chunks)
    rows = [
        measured(lambda: spend(encode_chunks(network, pixels(), options).chunks))[:2],
        measured(lambda: spend(decode_chunks(network, latents(), options).chunks))[:2],
    ]
    print(json.dumps({"seconds": sum(row[0] for row in rows), "mib": max(row[1] for row in rows)}))


def attention_rate() -> float:
    """Multiplications a second, of 1,024 queries over 16,384 keys of the mid block's width."""
    queries, keys, values = (torch.randn(1, length, 512) for length in (1024, 16384, 16384))
    best = float("inf")
    for _ in range(3):
        start = time.perf_counter()
        attend(queries, keys, values)
        best = min(best, time.perf_counter() - start)
    return 2 * 1024 * 16384 * 512 / best


@dataclass(frozen=True)
class Row:
    """One clip by one strategy: `activations_mib` are those of `layerwise`, `attention` its share of the time."""

    strategy: str
    size: Size
    seconds: float
    mib: float
    activations_mib: float
    attention: float
    is_measured: bool


class Growth:
    """The rows of the table."""

    def __init__(self) -> None:
        self._counts = Counts()
        self._attention_rate = attention_rate()

    def measured(self, strategy: str, frames: int) -> Row:
        """A clip that is run."""
        size = (frames, *MEASURED[strategy])
        command = [sys.executable, "-m", __spec__.name, "clip", strategy, *map(str, size)]
        report = json.loads(subprocess.run(command, capture_output=True, check=True).stdout)
        share = self._attention_seconds(strategy, size) / report["seconds"]
        return Row(strategy, size, report["seconds"], report["mib"], self._activations_mib(strategy, size), share, True)

    def counted(self, longest: Row, size: Size) -> Row:
        """A clip at the pace of the longest that was measured."""
        strategy = longest.strategy
        attention = self._attention_seconds(strategy, size)
        scale, mib = count(size) / count(longest.size), float(BUDGET_BYTES / MIB)
        if strategy == STREAM:  # its work and its memory are those of a pixel
            mib = longest.mib * count((1, *size[1:])) / count((1, *longest.size[1:]))
        else:
            works = (self._counts.work(strategy, each).convolutions for each in (size, longest.size))
            scale = next(works) / next(works)
        if strategy == TILED:
            mib = self._counts.resting(strategy, size) / MIB
        seconds = longest.seconds * (1 - longest.attention) * scale + attention
        activations = self._activations_mib(strategy, size)
        return Row(strategy, size, seconds, mib, activations, attention / seconds, False)

    def _attention_seconds(self, strategy: str, size: Size) -> float:
        return 0.0 if strategy == STREAM else self._counts.work(strategy, size).attention / self._attention_rate

    def _activations_mib(self, strategy: str, size: Size) -> float:
        return self._counts.resting(strategy, size) / MIB if strategy == LAYERWISE else 0.0


def rows() -> Iterator[Row]:
    """All of them, strategy by strategy, the measured first."""
    growth = Growth()
    for strategy in STRATEGIES:
        longest = None
        for frames in FRAMES:
            longest = growth.measured(strategy, frames)
            yield longest
        assert longest is not None
        for area, frames in product(AREAS, FRAMES):
            if area != MEASURED[strategy]:
                yield growth.counted(longest, (frames, *area))


def draw(table: list[Row], path: Path) -> None:
    """Time, memory and the share of attention against the number of frames: dots are measured, lines are counted."""
    import matplotlib.pyplot as plt

    colors = {STREAM: "tab:green", LAYERWISE: "tab:blue", TILED: "tab:orange"}
    figure, panels = plt.subplots(1, 3, figsize=(15, 6), layout="constrained")
    for strategy in STRATEGIES:
        for area, style in {MEASURED[strategy]: "-", AREAS[0]: "--", AREAS[-1]: ":"}.items():
            line = [row for row in table if row.strategy == strategy and row.size[1:] == area]
            options = {"color": colors[strategy], "linestyle": style, "marker": "o" if line[0].is_measured else ""}
            size = f"{area[1]}x{area[0]}"
            panels[0].plot(FRAMES, [row.seconds for row in line], label=f"{strategy}, {size}", **options)
            panels[1].plot(FRAMES, [row.mib for row in line], label=f"{strategy}, {size}", **options)
            if strategy == LAYERWISE:
                activations = [row.activations_mib for row in line]
                panels[1].plot(FRAMES, activations, color="tab:gray", linestyle=style, label=f"activations, {size}")
    for area in (MEASURED[LAYERWISE], *AREAS):
        line = [row for row in table if row.strategy == LAYERWISE and row.size[1:] == area]
        panels[2].plot(FRAMES, [100 * row.attention for row in line], label=f"{area[1]}x{area[0]}", marker=".")
    for panel, title in zip(panels, ("seconds", "memory, MiB", "attention in layerwise, % of the time"), strict=True):
        panel.set(xscale="log", xlabel="frames", title=title)
        panel.set_xticks(FRAMES, [str(frames) for frames in FRAMES])
        panel.minorticks_off()
        panel.grid(alpha=0.3)
        panel.legend(fontsize="small", loc="upper center", bbox_to_anchor=(0.5, -0.12), ncols=2)
    for panel in panels[:2]:
        panel.set_yscale("log")
    figure.savefig(path, dpi=80)


def main(*, picture: bool) -> None:
    """Print a row for each clip and strategy."""
    print(f"{'strategy':10} {'clip':>14} {'seconds':>9} {'MiB':>8} {'activations':>11} {'attention':>9}")
    table = []
    for row in rows():
        table.append(row)
        size, how = "x".join(map(str, row.size)), "measured" if row.is_measured else "counted"
        print(f"{row.strategy:10} {size:>14} {row.seconds:9.1f} {row.mib:8.0f}", end="")
        print(f" {row.activations_mib:11.0f} {row.attention:9.1%} {how}", flush=True)
    if picture:
        draw(table, Path("examples/growth.png"))


if __name__ == "__main__":
    if sys.argv[1:2] == ["clip"]:
        run_clip(sys.argv[2], *map(int, sys.argv[3:]))
    else:
        main(picture="--picture" in sys.argv)
