"""Every frame's measures as a table."""

import csv
import io
import math

from vae3d_cli.metrics import Fidelity
from vae3d_cli.video import Timing


def per_frame_csv(fidelity: Fidelity, timing: Timing, num_frames: int) -> bytes:
    """A row for each frame: its number, its seconds from the first, and a column for each measure.

    What could not be measured is empty.
    """
    text = io.StringIO()
    rows = csv.writer(text, lineterminator="\n")
    rows.writerow(("frame", "seconds", *fidelity.names))
    time_base, stamps = timing.stamps(num_frames)
    for frame, stamp in enumerate(stamps):
        summaries = (fidelity.metrics.get(name) for name in fidelity.names)
        values = (math.nan if summary is None else summary.per_frame[frame] for summary in summaries)
        cells = ("" if math.isnan(value) else f"{value:.6f}" for value in values)
        rows.writerow((frame, f"{float(int(stamp) * time_base):.6f}", *cells))
    return text.getvalue().encode()
