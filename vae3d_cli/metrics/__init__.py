"""Measures of what was lost, on 8-bit RGB, frame by frame, so that a clip of any length can be measured."""

from vae3d_cli.metrics.extras import EXTRAS, ExtraMeter, Extras
from vae3d_cli.metrics.fidelity import ErrorMeter, FrameErrors, psnr_of_mse
from vae3d_cli.metrics.gates import GateResult, check_gates
from vae3d_cli.metrics.lpips import Lpips, LpipsMeter, lpips_of
from vae3d_cli.metrics.similarity import SimilarityMeter
from vae3d_cli.metrics.summary import METRICS, TITLES, Fidelity, FidelityMeter, MetricSummary, digits_of
from vae3d_cli.metrics.vmaf import VmafMeter, check_vmaf

__all__ = [
    "EXTRAS",
    "METRICS",
    "TITLES",
    "ErrorMeter",
    "ExtraMeter",
    "Extras",
    "Fidelity",
    "FidelityMeter",
    "FrameErrors",
    "GateResult",
    "Lpips",
    "LpipsMeter",
    "MetricSummary",
    "SimilarityMeter",
    "VmafMeter",
    "check_gates",
    "check_vmaf",
    "digits_of",
    "lpips_of",
    "psnr_of_mse",
]
