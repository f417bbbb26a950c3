"""Training the embedded model, and fine-tuning any."""

from vae3d_cli.training.options import TrainOptions
from vae3d_cli.training.run import MODEL_FILE, Progress, Run, train
from vae3d_cli.training.start import Origin, resume_run, start_run

__all__ = [
    "MODEL_FILE",
    "Origin",
    "Progress",
    "Run",
    "TrainOptions",
    "resume_run",
    "start_run",
    "train",
]
