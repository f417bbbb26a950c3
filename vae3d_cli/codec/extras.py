"""The measures that are taken only where they are asked for."""

from pathlib import Path

import torch

from vae3d_cli.metrics import Extras, check_vmaf, lpips_of
from vae3d_cli.weights import read_tensors


def find_extras(*, vmaf: bool = False, lpips: Path | None = None) -> Extras:
    """What it takes to measure those that are asked for; `lpips` are the weights of its backbone.

    Raises:
        UsageError: A package is not installed.
        WeightsError: The weights cannot be read, or are no backbone's.
    """
    if vmaf:
        check_vmaf()
    if lpips is None:
        return Extras(vmaf=vmaf)
    torch.backends.cudnn.allow_tf32 = False  # ten bits of mantissa, and on by default
    return Extras(vmaf=vmaf, lpips=lpips_of(read_tensors(lpips), str(lpips)))
