"""Every frame's measures as a table."""

import csv
import io
import math

from vae3d_cli.metrics import METRICS, Fidelity
from vae3d_cli.video import Timing


def per_frame_csv(fidelity: Fidelity, timing: Timing, num_frames: int) -> bytes:
    """A row for each frame: its number, its seconds from the first, and a column for each of `METRICS`.

    What could not be measured is empty.
    """
    text = io.StringIO()
    rows = csv.writer(text, lineterminator="\n")
    rows.writerow(("frame", "seconds", *METRICS))
    time_base, stamps = timing.stamps(num_frames)
    for frame, stamp in enumerate(stamps):
        values = (fidelity.metrics[name].per_frame[frame] if name in fidelity.metrics else math.nan for name in METRICS)
        cells = ("" if math.isnan(value) else f"{value:.6f}" for value in values)
        rows.writerow((frame, f"{float(int(stamp) * time_base):.6f}", *cells))
    return text.getvalue().encode()
