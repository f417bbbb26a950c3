"""VMAF of a clip, by the ffmpeg of the package `imageio-ffmpeg`: PyAV's has no libvmaf."""

import contextlib
import csv
import math
import re
import subprocess
import tempfile
from array import array
from types import TracebackType

import torch
from torch import Tensor

from vae3d_cli.errors import MeasureError, UsageError

VMAF, VMAF_MODEL = "vmaf", "vmaf_v0.6.1"
# Below it the coarsest scale of libvmaf's ADM has no position to measure, so that even a frame and itself differ; below
# 17 the process crashes.
VMAF_SIDE = 33
_INSTALL = 'pip install "vae3d-cli[vmaf]"'
# Room in the pipe, where the system lets us choose: the model need not wait while a frame is read.
_PIPE_BYTES = 1 << 20
# Who in ffmpeg says it, and where in memory that is.
_ADDRESS = re.compile(r"^\[[^]]* @ 0x[0-9a-f]+\] ")


class VmafMeter:
    """VMAF of each frame, from 0 to 100, by a process that is started with the first one and ends with the context.

    Netflix's VMAF, "Toward a practical perceptual video quality metric", 2016, of luma by BT.709 of limited range, as
    its model was made for. It weighs errors by the motion around a frame, of which the first frame has none: a frame
    that came back exactly has 97.43 there, and in a clip that stands still.

    The process reads both frames through one pipe and writes into files without a name, so that nothing is left of it,
    however this process ends. `advice` is what errors say to do.
    """

    name = VMAF
    facts = {"model": VMAF_MODEL}  # noqa: RUF012 - read by all, changed by none
    reason = f"needs frames of at least {VMAF_SIDE}x{VMAF_SIDE}"

    def __init__(self, advice: str = "leave --vmaf out") -> None:
        self._advice = advice
        self._stack = contextlib.ExitStack()
        self._process: subprocess.Popen[bytes] | None = None
        self._num_frames = 0

    def __enter__(self) -> "VmafMeter":
        """Make room for what the process will say; it starts with the first frame, which tells its size."""
        self._scores, self._log = (self._stack.enter_context(tempfile.TemporaryFile()) for _ in range(2))  # noqa: SIM115
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End the process, whether or not it is done."""
        self._stack.close()

    def add(self, reference: Tensor, other: Tensor) -> None:
        """Compare two frames `[3, H, W]`, uint8, the next of the clip."""
        self._num_frames += 1
        _, height, width = reference.shape
        if min(height, width) < VMAF_SIDE:
            return
        if self._process is None:
            self._process = self._start(height, width)
        assert self._process.stdin is not None
        try:
            for channel in (1, 2, 0):  # gbrp
                for frame in (reference, other):
                    self._process.stdin.write(frame[channel].contiguous().numpy().data)
        except BrokenPipeError as error:
            raise self._failure() from error

    def values(self) -> "array[float]":
        """The values of all frames; none can be added any more. NaN where the frames are too small.

        Raises:
            MeasureError: The process has failed.
        """
        if self._process is None:
            return array("d", [math.nan]) * self._num_frames
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):  # its exit status says more
            self._process.stdin.close()
        if self._process.wait() != 0:
            raise self._failure()
        self._scores.seek(0)
        rows = csv.DictReader(line.decode() for line in self._scores)
        values = array("d", (float(row[VMAF]) for row in rows))
        if len(values) != self._num_frames:
            raise self._error(f"it measured {len(values)} of {self._num_frames} frames")
        return values

    def _start(self, height: int, width: int) -> "subprocess.Popen[bytes]":
        # A frame above its reconstruction: two pipes could wait for each other. In 4:4:4 any size can be cut in two.
        halves = (f"crop={width}:{height}:0:{top}" for top in (0, height))
        graph = (
            "scale=out_color_matrix=bt709:out_range=tv,format=yuv444p,split[a][b];"
            f"[a]{next(halves)}[reference];[b]{next(halves)}[other];"
            # CSV, of which a line can be read at a time.
            f"[other][reference]libvmaf=model=version={VMAF_MODEL}:log_fmt=csv:log_path=/dev/stdout:"
            f"n_threads={torch.get_num_threads()}"
        )
        raw = ("-f", "rawvideo", "-pixel_format", "gbrp", "-video_size", f"{width}x{2 * height}")
        quiet = ("-nostdin", "-hide_banner", "-loglevel", "error")
        command = [_ffmpeg(), *quiet, *raw, "-i", "pipe:0", "-filter_complex", graph, "-f", "null", "-"]
        try:
            process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=self._scores,
                stderr=self._log,
                pipesize=_PIPE_BYTES,
                process_group=0,  # Ctrl-C is for us: we end it
            )
        except OSError as error:
            raise self._error(f"{command[0]}: {error.strerror}") from error
        self._stack.callback(_end, process)
        return process

    def _failure(self) -> MeasureError:
        """What the process said first, where the cause is; what comes behind says less and less."""
        assert self._process is not None
        status = self._process.wait()
        self._log.seek(0)
        said = _ADDRESS.sub("", self._log.readline().decode(errors="replace").strip())
        return self._error(said or (f"it was ended by signal {-status}" if status < 0 else f"it ended with {status}"))

    def _error(self, reason: str) -> MeasureError:
        return MeasureError(f"ffmpeg cannot measure VMAF ({reason}); {self._advice}")


def check_vmaf() -> None:
    """Measure a frame, so that it is known before any work whether that is possible.

    Raises:
        UsageError: It is not.
    """
    frame = torch.zeros(3, VMAF_SIDE, VMAF_SIDE, dtype=torch.uint8)
    try:
        with VmafMeter(f"{_INSTALL} brings one that can, unless IMAGEIO_FFMPEG_EXE names another") as meter:
            meter.add(frame, frame)
            meter.values()
    except MeasureError as error:
        raise UsageError(f"--vmaf: {error}") from error


def _ffmpeg() -> str:
    try:
        import imageio_ffmpeg

        return str(imageio_ffmpeg.get_ffmpeg_exe())
    except (ImportError, RuntimeError) as error:
        raise UsageError(f"--vmaf: needs the package imageio-ffmpeg; {_INSTALL}") from error


def _end(process: "subprocess.Popen[bytes]") -> None:
    process.kill()
    assert process.stdin is not None
    with contextlib.suppress(BrokenPipeError):  # of what it had not yet read
        process.stdin.close()
    process.wait()
