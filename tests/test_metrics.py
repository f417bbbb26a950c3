"""The measures against scikit-image, torchmetrics and numpy."""

import math
from array import array
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from skimage.metrics import peak_signal_noise_ratio, structural_similarity
from torch import Tensor
from torchmetrics.functional.image import multiscale_structural_similarity_index_measure

from vae3d_cli.cli.parse import GATES
from vae3d_cli.metrics import (
    METRICS,
    ErrorMeter,
    Fidelity,
    FidelityMeter,
    MetricSummary,
    SimilarityMeter,
    VmafMeter,
    check_gates,
    psnr_of_mse,
)
from vae3d_cli.video import open_clip

SAMPLE = Path(__file__).parent.parent / "examples" / "cups.mp4"


def real_frames(num_frames: int = 2) -> list[Tensor]:
    """The first frames of the sample clip."""
    with open_clip(SAMPLE) as video:
        return [torch.from_numpy(frame.rgb) for _, frame in zip(range(num_frames), video, strict=False)]


def noisy(frame: Tensor, seed: int = 0) -> Tensor:
    noise = 12 * torch.randn(frame.shape, generator=torch.Generator().manual_seed(seed))
    return (frame.float() + noise).clamp(0, 255).byte()


def flat(level: int, size: int = 16) -> Tensor:
    return torch.full((3, size, size), level, dtype=torch.uint8)


def psnr(reference: Tensor, other: Tensor) -> float:
    return psnr_of_mse(ErrorMeter().errors(reference, other).rgb)


def similarities(reference: Tensor, other: Tensor) -> tuple[float | None, float | None]:
    return SimilarityMeter().similarities(reference, other)


def test_psnr_and_ssim_are_those_of_scikit_image_on_real_frames() -> None:
    a, b = real_frames()
    for other in (b, noisy(b)):
        expected = peak_signal_noise_ratio(a.numpy(), other.numpy(), data_range=255)  # type: ignore[no-untyped-call]
        assert psnr(a, other) == pytest.approx(expected, abs=1e-9)
        expected = structural_similarity(  # type: ignore[no-untyped-call]
            a.numpy(),
            other.numpy(),
            channel_axis=0,
            data_range=255,
            gaussian_weights=True,
            sigma=1.5,
            use_sample_covariance=False,
        )
        assert similarities(a, other)[0] == pytest.approx(expected, abs=1e-5)


def test_ms_ssim_is_that_of_torchmetrics_on_real_frames() -> None:
    a, b = real_frames()
    for other in (b, noisy(b)):
        expected = multiscale_structural_similarity_index_measure(
            a[None].double(), other[None].double(), data_range=255.0
        )
        assert similarities(a, other)[1] == pytest.approx(float(expected), abs=1e-3)


@pytest.mark.parametrize(
    ("height", "width"), [(11, 11), (12, 900), (26, 26), (27, 43), (203, 11), (177, 191), (183, 2100), (331, 377)]
)
def test_similarities_are_those_of_the_plain_formulas_whatever_is_left_at_the_borders(height: int, width: int) -> None:
    generator = torch.Generator().manual_seed(0)
    meter = SimilarityMeter()
    for levels in (256, 40):  # again in the same memory
        frame = torch.randint(0, levels, (3, height, width), dtype=torch.uint8, generator=generator)
        # What is lost differs from place to place, so that each counts.
        scale = torch.linspace(0, 1, height)[:, None] + torch.linspace(0, 1, width)
        other = (frame + 20 * scale * torch.randn(frame.shape, generator=generator)).clamp(0, 255).byte()
        ssim, ms_ssim = meter.similarities(frame, other)
        plain = [ssim_and_structure(*scaled) for scaled in halvings(frame.double(), other.double())]
        assert ssim == pytest.approx(plain[0][0], abs=1e-6)
        if ms_ssim is not None:
            factors = [structure for _, structure in plain[:-1]] + [plain[-1][0]]
            expected = math.prod(f**w for f, w in zip(factors, (0.0448, 0.2856, 0.3001, 0.2363, 0.1333), strict=True))
            assert ms_ssim == pytest.approx(expected, abs=1e-6)


def halvings(x: Tensor, y: Tensor) -> list[tuple[Tensor, Tensor]]:
    """The five scales of two frames, or the first alone."""
    scales = [(x, y)]
    while len(scales) < 5 and min(x.shape[-2:]) >= 176:
        scales.append((F.avg_pool2d(scales[-1][0], 2), F.avg_pool2d(scales[-1][1], 2)))
    return scales


def ssim_and_structure(x: Tensor, y: Tensor) -> tuple[float, float]:
    """Means of SSIM and of contrast and structure by the formulas of the paper, window by window."""
    window = torch.exp(-((torch.arange(11).double() - 5) ** 2) / (2 * 1.5**2))
    kernel = torch.outer(window, window) / window.sum() ** 2

    def blurred(map_: Tensor) -> Tensor:
        return F.conv2d(map_[:, None], kernel[None, None])[:, 0]

    mean_x, mean_y, c1, c2 = blurred(x), blurred(y), (0.01 * 255) ** 2, (0.03 * 255) ** 2
    variances = blurred(x * x) - mean_x**2 + blurred(y * y) - mean_y**2
    structure = (2 * (blurred(x * y) - mean_x * mean_y) + c2) / (variances + c2)
    luminance = (2 * mean_x * mean_y + c1) / (mean_x**2 + mean_y**2 + c1)
    return float((luminance * structure).mean()), float(structure.mean())


def test_luma_is_that_of_scikit_image_and_changes_are_those_of_numpy() -> None:
    from skimage.color import rgb2gray

    clip = real_frames(3)
    meter = FidelityMeter()
    others = [noisy(frame, seed) for seed, frame in enumerate(clip)]
    for pair in zip(clip, others, strict=True):
        meter.add(*pair)
    metrics = meter.result().metrics
    luma = [
        peak_signal_noise_ratio(  # type: ignore[no-untyped-call]
            *(255 * rgb2gray(each.numpy() / 255.0, channel_axis=0) for each in pair), data_range=255
        )
        for pair in zip(clip, others, strict=True)
    ]
    assert list(metrics["psnr_luma"].per_frame) == pytest.approx(luma, rel=1e-3)
    originals, decoded = (np.stack([frame.numpy() for frame in frames]).astype(float) for frames in (clip, others))
    changes, decoded_changes = np.diff(originals, axis=0), np.diff(decoded, axis=0)
    squares = (changes - decoded_changes) ** 2
    expected = [peak_signal_noise_ratio(*each, data_range=255) for each in zip(changes, decoded_changes, strict=True)]  # type: ignore[no-untyped-call]
    assert math.isnan(metrics["psnr_temporal"].per_frame[0])
    assert list(metrics["psnr_temporal"].per_frame)[1:] == pytest.approx(expected)
    still = np.all(np.abs(changes) <= 2, axis=1)
    expected = [10 * np.log10(255**2 / each[:, mask].mean()) for each, mask in zip(squares, still, strict=True)]
    assert list(metrics["psnr_static"].per_frame)[1:] == pytest.approx(expected)


def test_a_difference_of_200_levels_does_not_wrap() -> None:
    for pair in ((flat(20), flat(220)), (flat(220), flat(20))):
        errors = ErrorMeter().errors(*pair)
        assert errors.rgb == 200**2
        assert errors.luma == pytest.approx(200**2)
    assert psnr_of_mse(200**2) == pytest.approx(2.110203)
    meter = ErrorMeter()
    meter.errors(flat(20), flat(220))
    assert meter.errors(flat(220), flat(20)).temporal == 400**2


def test_an_exact_frame_counts_as_100_db_and_ssim_1() -> None:
    frame = torch.randint(0, 256, (3, 176, 176), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    assert psnr(frame, frame) == 100
    assert similarities(frame, frame) == pytest.approx((1, 1), abs=1e-6)


@pytest.mark.parametrize(
    ("size", "has"), [(10, (False, False)), (11, (True, False)), (175, (True, False)), (176, (True, True))]
)
def test_similarities_need_their_windows(size: int, has: tuple[bool, bool]) -> None:
    values = similarities(torch.zeros(3, size, 200, dtype=torch.uint8), torch.zeros(3, size, 200, dtype=torch.uint8))
    assert tuple(value is not None for value in values) == has
    assert all(value in (None, 1) for value in values)


def test_frames_that_have_nothing_in_common_have_no_structure() -> None:
    frame = torch.randint(0, 256, (3, 176, 176), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    ssim, ms_ssim = similarities(frame, 255 - frame)
    assert ssim is not None
    assert ssim < 0
    assert ms_ssim == 0


def test_a_clip_is_summed_up_by_its_mean_its_worst_frame_and_its_pooled_error() -> None:
    meter = FidelityMeter()
    for level in (110, 130, 100):
        meter.add(flat(100), flat(level))
    result = meter.result()
    each = [10 * np.log10(255**2 / 10**2), 10 * np.log10(255**2 / 30**2), 100]
    summary = result.metrics["psnr"]
    assert list(summary.per_frame) == pytest.approx(each)
    assert summary.mean == pytest.approx(np.mean(each))
    assert summary.worst == pytest.approx(each[1])
    assert summary.worst_frame == 1
    assert summary.figures["pooled"] == pytest.approx(10 * np.log10(255**2 / (1000 / 3)))
    assert result.metrics["ssim"].worst_frame == 1
    assert result.metrics["psnr_static"].worst_frame == 2  # by 30 levels, against 20 before


def test_the_first_frame_and_each_place_in_the_group_have_a_mean() -> None:
    meter = FidelityMeter()
    for level in (110, 101, 102, 103, 104, 101, 102, 103):
        meter.add(flat(100), flat(level))
    summary = meter.result().metrics["psnr"]
    decibels = {level: 10 * np.log10(255**2 / level**2) for level in (1, 2, 3, 4, 10)}
    assert summary.figures["first"] == pytest.approx(decibels[10])
    for position in range(1, 5):
        assert summary.figures[f"position_{position}"] == pytest.approx(decibels[position])


def test_errors_on_the_borders_of_tiles_are_told_from_the_others() -> None:
    seams = torch.zeros(16, 16, dtype=torch.bool)
    seams[7:9] = True
    other = flat(100)
    other[:, seams] = 110
    other[:, 0, 0] = 105
    meter = FidelityMeter(seams)
    meter.add(flat(100), other)
    figures = meter.result().metrics["psnr"].figures
    assert figures["seams"] == pytest.approx(10 * np.log10(255**2 / 10**2))
    assert figures["elsewhere"] == pytest.approx(10 * np.log10(255**2 / (25 / 224)))


def test_what_cannot_be_measured_is_absent_with_a_reason() -> None:
    meter = FidelityMeter()
    meter.add(flat(0, 8), flat(0, 8))
    assert set(meter.result().metrics) == {"psnr", "psnr_luma"}
    assert set(meter.result().absent) == set(METRICS) - {"psnr", "psnr_luma"}
    meter.add(flat(99, 8), flat(99, 8))
    assert meter.result().absent["psnr_static"] == "nothing stands still in this clip"
    assert set(meter.result().metrics) == {"psnr", "psnr_luma", "psnr_temporal"}


def fidelity_of(values: list[float]) -> Fidelity:
    summary = MetricSummary.of(array("d", values))
    assert summary is not None
    return Fidelity({"psnr": summary}, {"ssim": "needs frames of at least 11x11"})


def test_a_gate_is_missed_below_its_threshold_and_passed_at_it() -> None:
    fidelity = fidelity_of([29.0, 31.0])
    results = check_gates(fidelity, {"psnr": 30.0, "psnr.min": 29.5})
    assert [(result.metric, result.value, result.passed) for result in results] == [
        ("psnr", 30.0, True),
        ("psnr.min", 29.0, False),
    ]
    assert [str(result) for result in results] == ["psnr 30.00 >= 30", "psnr.min 29.00 < 29.5"]


@pytest.mark.parametrize(
    ("value", "threshold", "text"),
    [
        (29.9951, 30.0, "psnr 29.995 < 30"),
        (29.99999, 30.0, "psnr 29.99999 < 30"),
        (30.004, 30.004, "psnr 30.004 >= 30.004"),
    ],
)
def test_a_gate_shows_enough_digits_to_tell_its_side(value: float, threshold: float, text: str) -> None:
    assert str(check_gates(fidelity_of([value]), {"psnr": threshold})[0]) == text


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("ssim", "needs frames of at least 11x11"),
        ("ssim.min", "needs frames of at least 11x11"),
        ("psnr.position_3", "needs a clip of 4 frames"),
        ("psnr.seams", "only a clip that is cut into tiles has it (--strategy tiled)"),
    ],
)
def test_an_absent_figure_misses_its_gate_with_a_reason(name: str, reason: str) -> None:
    (result,) = check_gates(fidelity_of([30.0]), {name: 0.0})
    assert (result.value, result.passed, result.absent) == (None, False, reason)
    assert str(result) == f"{name} is absent: {reason}"


def test_every_figure_can_be_a_gate() -> None:
    with VmafMeter() as vmaf:
        meter = FidelityMeter(torch.eye(176, dtype=torch.bool), [vmaf])
        for _ in range(5):
            meter.add(flat(0, 176), flat(1, 176))
        assert set(meter.result().by_name()) == set(GATES)
