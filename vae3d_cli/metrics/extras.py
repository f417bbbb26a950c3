"""Measures that are taken only where they are asked for."""

import contextlib
from array import array
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from vae3d_cli.metrics.lpips import LPIPS, Lpips, LpipsMeter
from vae3d_cli.metrics.vmaf import VMAF, VMAF_MODEL, VmafMeter

EXTRAS = (VMAF, LPIPS)
"""The names of the measures that are to be asked for."""
LOWER_IS_BETTER = (LPIPS,)
"""The measures of which the lowest value is the best; of all others it is the highest."""


class ExtraMeter(Protocol):
    """A measure of its own beside those that are always taken.

    `facts` are what it depends on, and `reason` is why it is absent where no frame has a value.
    """

    @property
    def name(self) -> str: ...  # noqa: D102 - said above

    @property
    def facts(self) -> Mapping[str, str]: ...  # noqa: D102

    @property
    def reason(self) -> str: ...  # noqa: D102

    def add(self, reference: Tensor, other: Tensor) -> None:
        """Compare two frames `[3, H, W]`, uint8, the next of the clip."""

    def values(self) -> "array[float]":
        """A value for each frame, NaN where it has none, once the last one was added."""


@dataclass(frozen=True)
class Extras:
    """Which of these measures are taken: VMAF, and LPIPS by its network."""

    vmaf: bool = False
    lpips: Lpips | None = None

    @property
    def labels(self) -> dict[str, str]:
        """Those that are taken by name, and what each depends on."""
        labels = {VMAF: VMAF_MODEL} if self.vmaf else {}
        return labels if self.lpips is None else {**labels, LPIPS: self.lpips.backbone}

    def open(self, stack: contextlib.ExitStack, device: torch.device) -> list[ExtraMeter]:
        """Their meters for one clip, which end with the stack; networks run on the device."""
        meters: list[ExtraMeter] = [stack.enter_context(VmafMeter())] if self.vmaf else []
        return meters if self.lpips is None else [*meters, LpipsMeter(self.lpips.to(device))]
