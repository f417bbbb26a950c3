"""The report of a roundtrip: one page of HTML that holds all it shows."""

from vae3d_cli.report.exhibit import Exhibit
from vae3d_cli.report.page import Measured, write_report

__all__ = ["Exhibit", "Measured", "write_report"]
