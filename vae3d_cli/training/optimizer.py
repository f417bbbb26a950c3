"""The optimiser: Muon for the matrices inside the network, AdamW for everything else.

Muon (K. Jordan et al., 2024, https://kellerjordan.github.io/posts/muon) replaces the momentum of a matrix by the
nearest matrix with orthogonal rows or columns, found by Newton-Schulz iterations. `torch.optim.Muon` takes 2-D
parameters only; here a kernel counts as the matrix of its output channels.
"""

from collections.abc import Iterable

import torch
from torch import Tensor, nn

# The first and the last layers see pixels and latents; they and the linear codec are not for Muon.
OUTER = {"linear", "conv_in", "conv_out", "quant_conv", "post_quant_conv"}
# The linear codec starts where it is best, and only follows.
LINEAR_RATE = 0.1
# Muon's rate for each of AdamW's: its steps have a size of their own.
MUON_RATE = 0.02 / 1.5e-3
# Its steps are as large whatever the weights are: without this, they would grow as long as the run goes on.
MUON_DECAY = 0.1
MOMENTUM = 0.95
BETAS, WEIGHT_DECAY = (0.9, 0.99), 1e-4
_COEFFICIENTS, _ITERATIONS = (3.4445, -4.7750, 2.0315), 5


class Optimizer:
    """Both optimisers of a network, over its parameters that are trained; its state is tensors by name."""

    def __init__(self, network: nn.Module, learning_rate: float) -> None:
        self._learning_rate = learning_rate
        trained = {name: weight for name, weight in network.named_parameters() if weight.requires_grad}
        self._inner = {name: weight for name, weight in trained.items() if _is_inner(name, weight)}
        self._momentum = {name: torch.zeros_like(weight) for name, weight in self._inner.items()}
        self._outer = {name: weight for name, weight in trained.items() if name not in self._inner}
        linear = [weight for name, weight in self._outer.items() if ".linear." in name]
        others = [weight for name, weight in self._outer.items() if ".linear." not in name]
        groups = [{"params": others, "share": 1.0}, {"params": linear, "share": LINEAR_RATE}]
        self._adamw = torch.optim.AdamW(
            [group for group in groups if group["params"]], betas=BETAS, weight_decay=WEIGHT_DECAY, fused=True
        )

    def step(self, factor: float) -> None:
        """Change the parameters by their gradients, at `factor` of the learning rate."""
        for group in self._adamw.param_groups:
            group["lr"] = self._learning_rate * factor * group["share"]
        self._adamw.step()
        with torch.no_grad():
            for name, weight in self._inner.items():
                assert weight.grad is not None, "every trained parameter takes part"
                momentum = self._momentum[name].lerp_(weight.grad, 1 - MOMENTUM)
                direction = orthogonalized(weight.grad.lerp(momentum, MOMENTUM).flatten(1))
                rows, columns = direction.shape
                rate = self._learning_rate * MUON_RATE * factor * max(1.0, rows / columns) ** 0.5
                weight.mul_(1 - rate * MUON_DECAY).add_(direction.view(weight.shape), alpha=-rate)

    def state(self) -> dict[str, Tensor]:
        """What the next step depends on, by name."""
        tensors = {f"momentum.{name}": momentum for name, momentum in self._momentum.items()}
        for name, weight in self._outer.items():
            tensors |= {f"adamw.{key}.{name}": value for key, value in self._adamw.state[weight].items()}
        return tensors

    def load(self, tensors: dict[str, Tensor]) -> None:
        """Go on from a state; a `KeyError` names what it lacks."""
        for name, momentum in self._momentum.items():
            momentum.copy_(tensors[f"momentum.{name}"])
        for name, weight in self._outer.items():
            # In the order in memory of the weight itself, which the fused step takes for granted.
            averages = {key: torch.empty_like(weight, requires_grad=False) for key in ("exp_avg", "exp_avg_sq")}
            for key, average in averages.items():
                average.copy_(tensors[f"adamw.{key}.{name}"])
            step = tensors[f"adamw.step.{name}"].to(weight.device)
            self._adamw.state[weight].update({"step": step, **averages})


def orthogonalized(matrix: Tensor) -> Tensor:
    """Roughly U V^T of the singular value decomposition U S V^T of `matrix`: singular values near 1, in its dtype."""
    a, b, c = _COEFFICIENTS
    is_tall = matrix.shape[0] > matrix.shape[1]
    # bf16 is enough for a direction, but many a CPU multiplies it more slowly than fp32.
    x = (matrix.T if is_tall else matrix).to(torch.float32 if matrix.device.type == "cpu" else torch.bfloat16)
    x = x / (x.norm() + 1e-7)
    for _ in range(_ITERATIONS):
        gram = x @ x.T
        x = a * x + (b * gram + c * gram @ gram) @ x
    direction: Tensor = x.T if is_tall else x
    return direction.to(matrix.dtype)


def clip_gradients(parameters: Iterable[nn.Parameter], max_norm: float) -> float:
    """Scale the gradients so that together they have at most this norm, and return the norm they had."""
    return float(nn.utils.clip_grad_norm_([weight for weight in parameters if weight.requires_grad], max_norm))


def _is_inner(name: str, weight: Tensor) -> bool:
    """Whether this is a matrix, or kernels that mix channels, between the outer layers."""
    return weight.ndim >= 2 and weight.shape[1] > 1 and not OUTER & set(name.split("."))
