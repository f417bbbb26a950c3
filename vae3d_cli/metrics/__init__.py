"""Measures of what was lost, on 8-bit RGB, frame by frame, so that a clip of any length can be measured."""

from vae3d_cli.metrics.fidelity import psnr_of_mse, squared_error, ssim
from vae3d_cli.metrics.summary import Fidelity, FidelityMeter, MetricSummary

__all__ = ["Fidelity", "FidelityMeter", "MetricSummary", "psnr_of_mse", "squared_error", "ssim"]
