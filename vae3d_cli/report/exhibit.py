"""What of a clip and its reconstruction is worth looking at, chosen while the frames go by."""

import contextlib
import io
from bisect import insort
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import chain
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from vae3d_cli.codec import EncodedClip, ShowFrame
from vae3d_cli.codec.comparison import amplified_difference
from vae3d_cli.codec.outputs import video_output
from vae3d_cli.codec.overlap import beside_writing
from vae3d_cli.latents import LatentsSpool
from vae3d_cli.report.histogram import ChannelHistogram, channel_histograms
from vae3d_cli.temporary import TemporaryFolder
from vae3d_cli.video import EncoderOptions

# Frames near the median so far that are kept, since it moves; and evenly over the clip, since it may move far.
_NEAR_MEDIAN, _EVENLY = 2, 8
# What keeps a page small: the longest side of a picture; height and seconds of the video.
PICTURE_SIDE_PX, _PICTURE_QUALITY = 1280, 88
_VIDEO_HEIGHT_PX, _VIDEO_SECONDS = 240, 30
_VIDEO_ENCODER = EncoderOptions(crf=26, preset="veryfast")

Frame = NDArray[np.uint8]


@dataclass(frozen=True)
class Pictures:
    """A frame as WebP: the original, what came back, and their amplified difference."""

    original: bytes
    other: bytes
    difference: bytes


class Exhibit:
    """Looks on at one roundtrip and keeps a few frames, a small video side by side, and histograms of the latents.

    Of the frames it keeps those that are `wanted` and its `worst`; where none are wanted, also the `best` and one near
    the `median`. After the roundtrip `labels` has the numbers of these, `pictures` all by their number, `video` is an
    mp4 of the first half minute, and `histograms` has one for each channel.
    """

    def __init__(self, wanted: frozenset[int] = frozenset()) -> None:
        self.labels: dict[str, int] = {}
        self.pictures: dict[int, Pictures] = {}
        self.video = b""
        self.histograms: list[ChannelHistogram] = []
        self._wanted = wanted

    @contextlib.contextmanager
    def watch(self, clip: EncodedClip, latents: LatentsSpool) -> Iterator[ShowFrame]:
        """The viewer that `roundtrip_video` takes."""
        self.histograms = channel_histograms(latents, clip.header.posterior)
        chosen = _Chosen(self._wanted)
        with TemporaryFolder() as folder:
            path = folder / "side-by-side.mp4"
            with _small_video(path, clip) as write:

                def show(reference: Tensor, other: Tensor, psnr: float) -> None:
                    chosen.add(reference, other, psnr)
                    write(reference, other)

                yield show
            self.video = path.read_bytes()
        self.labels = chosen.labels()
        self.pictures = {number: _pictures(*pair) for number, pair in chosen.frames().items()}


class _Chosen:
    """The frames that are kept so far, by their number."""

    def __init__(self, wanted: frozenset[int]) -> None:
        self._wanted = wanted
        self._frames: dict[int, tuple[Frame, Frame]] = {}
        self._psnr: list[float] = []
        self._sorted: list[float] = []
        self._stride = 1

    def add(self, reference: Tensor, other: Tensor, psnr: float) -> None:
        """Take the next frame, and let go of what is no longer worth keeping."""
        number = len(self._psnr)
        self._psnr.append(psnr)
        insort(self._sorted, psnr)
        if number >= _EVENLY * self._stride:
            self._stride *= 2
        numbers = {*self._frames, number}
        evenly = () if self._wanted else range(0, number + 1, self._stride)
        kept = numbers & {*evenly, *self._wanted, *chain(*self._notable(numbers, _NEAR_MEDIAN).values())}
        if number in kept:  # copied, for frames are parts of larger arrays
            self._frames[number] = reference.numpy().copy(), other.numpy().copy()
        self._frames = {number: self._frames[number] for number in kept}

    def labels(self) -> dict[str, int]:
        """The frames that are notable in themselves, by what they are."""
        return {label: numbers[0] for label, numbers in self._notable({*self._frames}, 1).items()}

    def frames(self) -> dict[int, tuple[Frame, Frame]]:
        """The original and what came back, of the frames that are shown."""
        return {number: self._frames[number] for number in sorted(self._wanted.union(self.labels().values()))}

    def _notable(self, numbers: set[int], num_near_median: int) -> dict[str, list[int]]:
        by_psnr = sorted(numbers, key=lambda number: (self._psnr[number], number))
        worst = {"worst": by_psnr[:1]}
        if self._wanted:
            return worst
        median = self._sorted[len(self._sorted) // 2]
        near = sorted(by_psnr, key=lambda number: abs(self._psnr[number] - median))[:num_near_median]
        return worst | {"median": near, "best": by_psnr[-1:]}


@contextlib.contextmanager
def _small_video(path: Path, clip: EncodedClip) -> Iterator[Callable[[Tensor, Tensor], None]]:
    """Takes frames, and writes those of the first `_VIDEO_SECONDS` side by side."""
    header, timing = clip.header, clip.timing
    scale = min(1.0, _VIDEO_HEIGHT_PX / header.height)
    height, width = (2 * max(1, round(side * scale / 2)) for side in (header.height, header.width))  # 4:2:0 is even
    num_frames = min(header.num_frames, max(1, int(_VIDEO_SECONDS * header.rate)))
    pts = None if timing.pts is None else timing.pts[:num_frames]
    timing = replace(timing, pts=pts, start_time=Fraction(0), last_duration=None)
    small = replace(header, height=height, width=2 * width, pix_fmt=None)
    num_written = 0
    with (
        video_output(path, small, timing, num_frames, _VIDEO_ENCODER) as output,
        beside_writing(output, path) as writer,
    ):

        def write(reference: Tensor, other: Tensor) -> None:
            nonlocal num_written
            num_written += 1
            if num_written <= num_frames:
                both = torch.stack((reference, other)).float()
                shrunk = F.interpolate(both, (height, width), mode="area").round().to(torch.uint8)
                writer.write(torch.cat((shrunk[0], shrunk[1]), dim=-1).numpy())

        yield write


def _pictures(original: Frame, other: Frame) -> Pictures:
    return Pictures(_webp(original), _webp(other), _webp(amplified_difference(original, other)))


def _webp(frame: Frame) -> bytes:
    """A frame `[3, H, W]` as a picture that a page can show."""
    from PIL import Image

    image = Image.fromarray(np.ascontiguousarray(frame.transpose(1, 2, 0)))
    image.thumbnail((PICTURE_SIDE_PX, PICTURE_SIDE_PX))
    data = io.BytesIO()
    image.save(data, "WEBP", quality=_PICTURE_QUALITY)
    return data.getvalue()
