"""PSNR and SSIM against scikit-image."""

from pathlib import Path

import numpy as np
import pytest
import torch
from skimage.metrics import peak_signal_noise_ratio, structural_similarity
from torch import Tensor

from vae3d_cli.metrics import FidelityMeter, psnr_of_mse, squared_error, ssim
from vae3d_cli.video import VideoReader

SAMPLE = Path(__file__).parent.parent / "examples" / "cups.mp4"


def real_frames() -> tuple[Tensor, Tensor]:
    """Two neighbouring frames of the sample clip."""
    with VideoReader(SAMPLE) as video:
        frames = iter(video)
        a, b = torch.from_numpy(next(frames).rgb), torch.from_numpy(next(frames).rgb)
    return a, b


def test_psnr_and_ssim_are_those_of_scikit_image_on_real_frames() -> None:
    a, b = real_frames()
    noisy = (b.float() + 12 * torch.randn(b.shape, generator=torch.Generator().manual_seed(0))).clamp(0, 255).byte()
    for other in (b, noisy):
        expected = peak_signal_noise_ratio(a.numpy(), other.numpy(), data_range=255)  # type: ignore[no-untyped-call]
        assert psnr_of_mse(squared_error(a, other)) == pytest.approx(expected, abs=1e-9)
        expected = structural_similarity(  # type: ignore[no-untyped-call]
            a.numpy(),
            other.numpy(),
            channel_axis=0,
            data_range=255,
            gaussian_weights=True,
            sigma=1.5,
            use_sample_covariance=False,
        )
        assert ssim(a, other) == pytest.approx(expected, abs=1e-5)


def test_a_difference_of_200_levels_does_not_wrap() -> None:
    dark, bright = torch.full((3, 16, 16), 20, dtype=torch.uint8), torch.full((3, 16, 16), 220, dtype=torch.uint8)
    assert squared_error(dark, bright) == squared_error(bright, dark) == 200**2
    assert psnr_of_mse(200**2) == pytest.approx(2.110203)


def test_an_exact_frame_counts_as_100_db_and_ssim_1() -> None:
    frame = torch.randint(0, 256, (3, 24, 24), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    assert psnr_of_mse(squared_error(frame, frame)) == 100
    assert ssim(frame, frame) == pytest.approx(1, abs=1e-6)


def test_ssim_needs_11_by_11_pixels() -> None:
    assert ssim(torch.zeros(3, 10, 11, dtype=torch.uint8), torch.zeros(3, 10, 11, dtype=torch.uint8)) is None
    assert ssim(torch.zeros(3, 11, 11, dtype=torch.uint8), torch.zeros(3, 11, 11, dtype=torch.uint8)) == 1


def test_a_clip_is_summed_up_by_its_mean_its_worst_frame_and_its_pooled_error() -> None:
    meter = FidelityMeter()
    reference = torch.full((3, 16, 16), 100, dtype=torch.uint8)
    for level in (110, 130, 100):
        meter.add(reference, torch.full_like(reference, level))
    result = meter.result()
    each = [10 * np.log10(255**2 / 10**2), 10 * np.log10(255**2 / 30**2), 100]
    assert list(result.psnr.per_frame) == pytest.approx(each)
    assert result.psnr.mean == pytest.approx(np.mean(each))
    assert result.psnr.min == pytest.approx(each[1])
    assert result.psnr.worst_frame == 1
    assert result.psnr_pooled == pytest.approx(10 * np.log10(255**2 / (1000 / 3)))
    assert result.ssim is not None
    assert result.ssim.worst_frame == 1
