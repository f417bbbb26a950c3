"""Measures of what was lost, on 8-bit RGB, frame by frame, so that a clip of any length can be measured."""

from vae3d_cli.metrics.fidelity import ErrorMeter, FrameErrors, psnr_of_mse
from vae3d_cli.metrics.similarity import similarities
from vae3d_cli.metrics.summary import METRICS, TITLES, Fidelity, FidelityMeter, MetricSummary

__all__ = [
    "METRICS",
    "TITLES",
    "ErrorMeter",
    "Fidelity",
    "FidelityMeter",
    "FrameErrors",
    "MetricSummary",
    "psnr_of_mse",
    "similarities",
]
