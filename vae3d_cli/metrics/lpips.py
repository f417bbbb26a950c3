"""LPIPS of two frames, with a backbone of the user's: AlexNet or VGG16, as torchvision publishes their weights."""

import importlib.util
import itertools
import math
from array import array
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vae3d_cli.errors import UsageError, WeightsError

LPIPS = "lpips"
FEATURES = "features."
"""What the names of the weights that count begin with; those of the classifier do not."""
# Mean and standard deviation of R, G and B of the photos that the backbones have seen, for pixels in [-1, 1].
_SHIFT, _SCALE = (-0.030, -0.088, -0.188), (0.458, 0.448, 0.450)
# Keeps what has no length from being divided by it.
_EPSILON = 1e-10


@dataclass(frozen=True)
class _Backbone:
    """The layers whose outputs are compared, each as its convolutions, and the least side that reaches the last.

    A convolution is (channels, kernel, stride, padding) and has a ReLU; `pool` (kernel, stride) stands between two.
    """

    name: str
    pool: tuple[int, int]
    stages: tuple[tuple[tuple[int, int, int, int], ...], ...]
    pooled: tuple[bool, ...]
    least_side: int


_ALEX = _Backbone(
    name="alex",
    pool=(3, 2),
    stages=(((64, 11, 4, 2),), ((192, 5, 1, 2),), ((384, 3, 1, 1),), ((256, 3, 1, 1),), ((256, 3, 1, 1),)),
    pooled=(False, True, True, False, False),
    least_side=31,
)
_VGG = _Backbone(
    name="vgg",
    pool=(2, 2),
    stages=tuple(
        ((channels, 3, 1, 1),) * count for channels, count in ((64, 2), (128, 2), (256, 3), (512, 3), (512, 3))
    ),
    pooled=(False, True, True, True, True),
    least_side=16,
)


class Lpips(nn.Module):
    """Zhang et al., "The Unreasonable Effectiveness of Deep Features as a Perceptual Metric", 2018, version 0.1.

    `backbone` is `alex` or `vgg`, which differ twofold; frames need sides of `least_side`.
    """

    def __init__(self, backbone: _Backbone) -> None:
        super().__init__()
        self.backbone, self.least_side = backbone.name, backbone.least_side
        self.stages, self.weights = nn.ModuleList(), nn.ParameterList()
        index, in_channels = itertools.count(), 3
        for convolutions, pooled in zip(backbone.stages, backbone.pooled, strict=True):
            stage = nn.Sequential()  # its layers have their numbers in torchvision's network
            if pooled:
                stage.add_module(str(next(index)), nn.MaxPool2d(*backbone.pool))
            for channels, kernel, stride, padding in convolutions:
                stage.add_module(str(next(index)), nn.Conv2d(in_channels, channels, kernel, stride, padding))
                stage.add_module(str(next(index)), nn.ReLU(inplace=True))
                in_channels = channels
            self.stages.append(stage)
            self.weights.append(nn.Parameter(torch.empty(1, in_channels, 1, 1)))

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """The weights of the backbone by the names that torchvision gives them, and their shapes."""
        return {
            f"{FEATURES}{name}": tuple(weight.shape)
            for stage in self.stages
            for name, weight in stage.state_dict().items()
        }

    @torch.inference_mode()
    def forward(self, reference: Tensor, other: Tensor) -> Tensor:
        """How far apart two uint8 frames `[3, H, W]` are; 0 is the same."""
        features = torch.stack((reference, other)).to(self.weights[0].device, torch.float32)
        shift, scale = (features.new_tensor(values)[:, None, None] for values in (_SHIFT, _SCALE))
        features.div_(127.5).sub_(1).sub_(shift).div_(scale)
        distance = features.new_zeros(())
        for stage, weight in zip(self.stages, self.weights, strict=True):
            features = stage(features)
            lengths = torch.linalg.vector_norm(features, dim=1, keepdim=True)
            first, second = features / (lengths + _EPSILON)
            distance += F.conv2d((first - second).square_()[None], weight).mean()
        return distance


class LpipsMeter:
    """LPIPS of each frame, lower is better; on the device of its network, in fp32, a frame at a time."""

    name = LPIPS

    def __init__(self, network: Lpips) -> None:
        self._network = network
        self._values = array("d")
        self.facts = {"backbone": network.backbone}
        self.reason = f"needs frames of at least {network.least_side}x{network.least_side}"

    def add(self, reference: Tensor, other: Tensor) -> None:
        """Compare two frames `[3, H, W]`, uint8, the next of the clip."""
        is_large = min(reference.shape[1:]) >= self._network.least_side
        self._values.append(float(self._network(reference, other)) if is_large else math.nan)

    def values(self) -> "array[float]":
        """The values of all frames so far; NaN where they are too small."""
        return self._values


def lpips_of(weights: Mapping[str, Tensor], source: str) -> Lpips:
    """LPIPS with the backbone that has these weights, by torchvision's names; `source` is what errors name.

    Raises:
        WeightsError: They are no backbone's.
        UsageError: LPIPS's own weights are not installed.
    """
    found = {name: tuple(weight.shape) for name, weight in weights.items() if name.startswith(FEATURES)}
    with torch.device("meta"):
        networks = [Lpips(backbone) for backbone in (_ALEX, _VGG)]
    network = next((network for network in networks if network.shapes == found), None)
    if network is None:
        raise WeightsError(
            f"{source}: not the weights of torchvision's alexnet or vgg16, which LPIPS compares frames by; give one of "
            "these"
        )
    for stage in network.stages:
        names = stage.state_dict()
        stage.load_state_dict({name: weights[FEATURES + name].float() for name in names}, assign=True)
    linear = torch.load(_linear_weights(network.backbone), map_location="cpu", weights_only=True)
    for index in range(len(network.weights)):
        network.weights[index] = nn.Parameter(linear[f"lin{index}.model.1.weight"])
    return network.requires_grad_(False)


def _linear_weights(backbone: str) -> Path:
    """LPIPS's own weights in the package torchmetrics, which is not imported: that takes long and prints warnings."""
    spec = importlib.util.find_spec("torchmetrics")
    folders = [] if spec is None else spec.submodule_search_locations or []
    paths = [Path(folder, "functional", "image", "lpips_models", f"{backbone}.pth") for folder in folders]
    path = next((path for path in paths if path.exists()), None)
    if path is None:
        raise UsageError('--lpips: needs the weights in the package torchmetrics; pip install "vae3d-cli[lpips]"')
    return path
