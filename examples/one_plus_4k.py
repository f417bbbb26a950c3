"""Why 1 + 4k frames become 1 + k latent frames, and what that costs: the design of HunyuanVideo's VAE, in numbers.

    python examples/one_plus_4k.py [MODEL]

MODEL is what `vae3d -m` takes: a checkpoint, or `hunyuanvideo`. Without one, a toy network of random weights shows the
same things; the cost is that of the released network.
"""

import sys

import torch
from torch import Tensor, nn

from vae3d_cli.config import HunyuanVideoConfig
from vae3d_cli.execution.layers import decoder_layers, encoder_layers
from vae3d_cli.geometry import num_latent_frames, padded_num_frames
from vae3d_cli.model.hunyuanvideo import HunyuanVideoVae
from vae3d_cli.weights import load_model

NUM_FRAMES, HEIGHT, WIDTH = 13, 64, 64
TOY = HunyuanVideoConfig(block_out_channels=(16, 16, 32, 32), norm_num_groups=8)


def moving_gradient(num_frames: int) -> Tensor:
    """Pixels `[1, 3, T, H, W]` of soft stripes that drift."""
    t, y, x = torch.meshgrid(torch.arange(num_frames), torch.arange(HEIGHT), torch.arange(WIDTH), indexing="ij")
    return torch.stack([torch.sin((x + 2 * t) / 9), torch.cos((y - t) / 7), torch.sin((x + y + 3 * t) / 11)])[None]


class FrameNorm(nn.Module):
    """A `GroupNorm` that takes the statistics of each frame by itself."""

    def __init__(self, norm: nn.GroupNorm) -> None:
        super().__init__()
        self.norm = norm

    def forward(self, x: Tensor) -> Tensor:
        """`[B, C, T, H, W]` in and out."""
        return torch.stack([self.norm(frame) for frame in x.unbind(dim=2)], dim=2)


def by_frame(network: HunyuanVideoVae) -> HunyuanVideoVae:
    """The same network with statistics of each frame by itself: what is left looks back only."""
    for module in list(network.modules()):
        for name, child in module.named_children():
            if isinstance(child, nn.GroupNorm):
                setattr(module, name, FrameNorm(child))
    return network


def relative(a: Tensor, b: Tensor) -> str:
    """How far apart, in percent of `b`."""
    return f"{100 * float((a - b).norm() / b.norm()):9.4f} %"


def show_causality(full: HunyuanVideoVae, causal: HunyuanVideoVae) -> None:
    """Change the last four frames, and see which latent frames notice."""
    clip, changed = moving_gradient(NUM_FRAMES), moving_gradient(NUM_FRAMES)
    changed[:, :, -4:] = -changed[:, :, -4:]
    print(f"1. The last 4 of {NUM_FRAMES} frames are changed. How much does each latent frame move?")
    print("   latent frame   statistics by frame   as it is: over the clip")
    pairs = [(network.encode(clip), network.encode(changed)) for network in (causal, full)]
    for index in range(pairs[0][0].shape[2]):
        columns = [relative(after[:, :, index], before[:, :, index]) for before, after in pairs]
        print(f"   {index:12}   {columns[0]:>19}   {columns[1]:>23}")
    print("   No convolution looks ahead, nor does the attention. But GroupNorm's statistics run over the whole clip,")
    print("   and through them the past notices the future.\n")


def show_first_frame(full: HunyuanVideoVae, causal: HunyuanVideoVae) -> None:
    """The first frame alone against the first frame of a clip."""
    clip = moving_gradient(NUM_FRAMES)
    print("2. The first frame stands alone. Is its latent the same when it is encoded alone?")
    for name, network in (("statistics by frame", causal), ("as it is: over the clip", full)):
        alone, first = network.encode(clip[:, :, :1]), network.encode(clip)[:, :, :1]
        print(f"   {name:24} differs by {relative(alone, first)}")
    print("   So an image is a clip with k = 0, but the first latent of a clip is not the latent of its first frame.\n")


def show_cost(config: HunyuanVideoConfig) -> None:
    """Values and work for clips of some lengths."""
    with torch.device("meta"):  # layers are counted, not run
        network = HunyuanVideoVae(config)
    print(f"3. What 1 + 4k costs and gives, at {WIDTH}x{HEIGHT} pixels and widths of {config.block_out_channels}:")
    print("   frames   run as   latent frames   fewer values   encode, MFLOP/pixel   decode, MFLOP/pixel")
    for num_frames in (1, 2, 5, 16, 17, 33, 129):
        padded, latent = (of(num_frames, config) for of in (padded_num_frames, num_latent_frames))
        pixels = num_frames * HEIGHT * WIDTH
        values = latent * config.latent_channels * HEIGHT * WIDTH / 64
        costs = []
        for layers, size in (
            (encoder_layers(network), (padded, HEIGHT, WIDTH)),
            (decoder_layers(network), (latent, HEIGHT // 8, WIDTH // 8)),
        ):
            work = 0
            for layer in layers:
                work += 2 * layer.work(size)
                size = layer.out_size(size)
            costs.append(work / pixels / 1e6)
        print(
            f"   {num_frames:6}   {padded:6}   {latent:13}   {3 * pixels / values:12.1f}   {costs[0]:19.1f}"
            f"   {costs[1]:19.1f}"
        )
    print(
        "   The frame that stands alone is dear: a latent frame for one frame instead of four. 16 frames are run as 17."
    )


def main(model: str | None) -> None:
    """Print the three tables."""
    torch.manual_seed(0)
    torch.set_grad_enabled(False)
    networks = []
    for _ in range(2):
        if model is None:
            torch.manual_seed(0)
            networks.append(HunyuanVideoVae(TOY))
        else:
            network = load_model(model, device="cpu", dtype="fp32").network
            if not isinstance(network, HunyuanVideoVae):
                sys.exit(f"{model}: is no HunyuanVideo VAE; its latents do not depend on later frames at all")
            networks.append(network)
    full, causal = networks[0], by_frame(networks[1])
    show_causality(full, causal)
    show_first_frame(full, causal)
    show_cost(HunyuanVideoConfig() if model is None else full.config)


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else None)
