"""Why 1 + 4k frames become 1 + k latent frames, and what that costs: the design of HunyuanVideo's VAE, in numbers.

    python examples/one_plus_4k.py [MODEL]

MODEL is what `vae3d -m` takes: a checkpoint, or `hunyuanvideo`. Without one a toy network with random weights shows the
same things.
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


def without_statistics(network: HunyuanVideoVae) -> HunyuanVideoVae:
    """The same network with every `GroupNorm` taken out: what is left looks back only."""
    for module in network.modules():
        for name, child in module.named_children():
            if isinstance(child, nn.GroupNorm):
                setattr(module, name, nn.Identity())
    return network


def relative(a: Tensor, b: Tensor) -> str:
    """How far apart, in percent of `b`."""
    return f"{100 * float((a - b).norm() / b.norm()):9.4f} %"


def show_causality(encode_full: nn.Module, encode_convs: nn.Module) -> None:
    """Change the last four frames, and see which latent frames notice."""
    clip, changed = moving_gradient(NUM_FRAMES), moving_gradient(NUM_FRAMES)
    changed[:, :, -4:] = -changed[:, :, -4:]
    print(f"1. The last 4 of {NUM_FRAMES} frames are changed. How much does each latent frame move?")
    print("   latent frame   convolutions and attention   with GroupNorm, as it is")
    pairs = [(network.encode(clip), network.encode(changed)) for network in (encode_convs, encode_full)]
    for index in range(pairs[0][0].shape[2]):
        columns = [relative(after[:, :, index], before[:, :, index]) for before, after in pairs]
        print(f"   {index:12}   {columns[0]:>26}   {columns[1]:>24}")
    print("   Nothing looks ahead, but the statistics of GroupNorm run over all frames: the past notices the future.\n")


def show_first_frame(encode_full: nn.Module, encode_convs: nn.Module) -> None:
    """The first frame alone against the first frame of a clip."""
    clip = moving_gradient(NUM_FRAMES)
    print("2. The first frame stands alone. Is its latent the same when it is encoded alone?")
    for name, network in (("convolutions and attention", encode_convs), ("with GroupNorm, as it is", encode_full)):
        alone, first = network.encode(clip[:, :, :1]), network.encode(clip)[:, :, :1]
        print(f"   {name:27} differs by {relative(alone, first)}")
    print("   So an image is a clip with k = 0, but the first latent of a clip is not the latent of its first frame.\n")


def show_cost(network: HunyuanVideoVae) -> None:
    """Values and work for clips of some lengths."""
    print("3. What 1 + 4k costs and gives, at 64x64 pixels:")
    print("   frames   run as   latent frames   fewer values   encode, MFLOP/pixel   decode, MFLOP/pixel")
    for num_frames in (1, 2, 5, 16, 17, 33, 129):
        padded, latent = (of(num_frames, network.config) for of in (padded_num_frames, num_latent_frames))
        pixels = num_frames * HEIGHT * WIDTH
        values = latent * network.config.latent_channels * HEIGHT * WIDTH / 64
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
            f"   {num_frames:6}   {padded:6}   {latent:13}   {3 * pixels / values:12.1f}   {costs[0]:19.3f}"
            f"   {costs[1]:19.3f}"
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
    full, convs = networks[0], without_statistics(networks[1])
    show_causality(full, convs)
    show_first_frame(full, convs)
    show_cost(full)


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else None)
