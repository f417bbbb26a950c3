"""Pictures and animations of pictures, which Pillow decodes."""

import contextlib
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from vae3d_cli.errors import VideoError
from vae3d_cli.video.clip import Clip, VideoInfo
from vae3d_cli.video.color import SRGB, ColorTags
from vae3d_cli.video.conversion import notes_of_hdr
from vae3d_cli.video.filters import Frame, ReadOptions
from vae3d_cli.video.framing import Framing
from vae3d_cli.video.opening import READ_ERRORS, reason
from vae3d_cli.video.picture_colors import PictureColors
from vae3d_cli.video.picture_crop import crop_of_avif
from vae3d_cli.video.picture_depth import deep_picture, stored_bits
from vae3d_cli.video.picture_files import is_animation, open_picture, orientation_of, pillow
from vae3d_cli.video.picture_times import PictureTimes

_PIX_FMTS = {"1": "monow", "L": "gray", "LA": "ya8", "P": "pal8", "PA": "pal8", "RGBA": "rgba"}
_REPLACE = "replace it, or keep what decodes with --allow-damaged"


class _DamagedError(VideoError):
    """A picture does not decode, or not to its end."""


class PictureReader(Clip):
    """Reads a picture, or the pictures of an animation at their times; of any other file of several the main one.

    Colours are those of sRGB, in 8 bits; pictures of more bits keep them where some reader gives them.

    Raises:
        VideoError: Pillow cannot read it, it is too large, or it is damaged and `options` do not allow that.
    """

    def __init__(
        self, path: Path | None, source: Path, options: ReadOptions, format_name: str, *, copy_of: str | None = None
    ) -> None:
        super().__init__(path, options, copy_of=copy_of)
        self._file = source
        self._format = format_name
        self._colors = PictureColors()
        self._notes: list[str] = []
        self._keeps_damaged = False

    def __enter__(self) -> Self:
        """Open the picture, and decode it or the first one of an animation."""
        with contextlib.ExitStack() as stack, self._errors():
            if self._options.stream not in (None, 0):
                raise VideoError(f"a picture has no video track {self._options.stream}; leave --stream out")
            self._image = self._opened(stack)
            self._times, self._start = PictureTimes.still(), self._image.tell()  # the main one
            self._is_moving = is_animation(self._image)
            if self._is_moving:
                self._start = int("default_image" in self._image.info)  # of an APNG, for those who read no others
                self._times = self._survey()
            elif (count := self._count(self._image)) > 1:
                self._notes.append(f"it holds {count} pictures; only the main one was read")
            self._rate, self._time_base = self._times.rate, self._times.time_base
            self._first: NDArray[Any] | None = self._decoded_first(stack)
            self._stack = stack.pop_all()
        return self

    def count_frames(self) -> int:
        """How many frames there are."""
        return len(self._times.stamps)

    @property
    def notes(self) -> tuple[str, ...]:
        """What a user should know of this picture, each with its name."""
        return tuple(f"{self.name}: {note}" for note in (*self._notes, *self._colors.notes, *self._framing.notes))

    def _frames(self) -> Iterator[Frame]:
        times = self._times
        for number, (stamp, duration) in enumerate(zip(times.stamps, times.durations, strict=True)):
            rgb = self._decoded(self._start + number) if self._first is None else self._first
            self._first = None
            if rgb.shape != self._shape and not (self._options.size or self._options.cover):
                size, before = (f"{width}x{height}" for _, height, width in (rgb.shape, self._shape))
                raise VideoError(f"frame {number} is {size} and the ones before are {before}; give a --size for all")
            yield Frame(self._framing.fit(rgb), stamp, duration)

    def _opened(self, stack: contextlib.ExitStack) -> Image.Image:
        with self._pillow(VideoError(f"not a readable {self._format} picture: damaged or cut short; replace it")):
            return stack.enter_context(open_picture(self._file, self._format))

    def _count(self, image: Image.Image) -> int:
        with self._pillow():
            return getattr(image, "n_frames", 1)

    def _survey(self) -> PictureTimes:
        """Go through an animation for its times, and see whether all of it decodes."""
        durations: list[float] = []
        with contextlib.ExitStack() as stack:
            image = self._opened(stack)
            try:
                for number in range(self._start, self._count(image)):
                    with self._pillow():
                        image.seek(number)
                        image.load()
                        durations.append(image.info.get("duration", 0))
            except _DamagedError as error:
                if not self._options.allow_damaged:
                    raise VideoError(f"the animation is damaged after {len(durations)} frames; {_REPLACE}") from error
                if durations:
                    self._notes.append(f"the animation is damaged; {len(durations)} frames came")
        return PictureTimes.of(durations or [0], self._format)

    def _decoded_first(self, stack: contextlib.ExitStack) -> NDArray[Any]:
        """The first frame as it is stored; with it comes what is known of all frames."""
        stored = None
        if self._format == "TIFF":  # which is decoded upright
            with self._pillow():
                stored = orientation_of(self._image)
        try:
            rgb = self._decoded(self._start)
        except _DamagedError:
            if not self._options.allow_damaged:
                raise
            self._keeps_damaged = True
            self._image = self._opened(stack)
            rgb = self._decoded(self._start)
            self._notes.append("the picture is damaged; what decodes of it was kept")
        with self._pillow():
            orientation, bits = orientation_of(self._image), stored_bits(self._image, self._file)
        pix_fmt, color = _PIX_FMTS.get(self._image.mode, "rgb24"), SRGB
        if rgb.dtype == np.uint16:
            pix_fmt = "gray16le"
        elif bits > 8:
            plain = self._is_moving or self._colors.has_profile(self._image)
            deep = None if plain else deep_picture(self._image, self._file, rgb)
            if deep is None:
                self._notes.append(f"its {bits}-bit values were read as 8 bits")
            else:
                rgb, pix_fmt, color, orientation = deep.rgb, deep.pix_fmt, deep.color, stored or orientation
                self._notes += notes_of_hdr(color)
        if self._format == "AVIF" and not self._is_moving:
            rgb = crop_of_avif(self._file, rgb.shape[2], rgb.shape[1]).cut(rgb)
        if not self._is_moving:
            self._image.close()  # its pixels are as many bytes again
        self._shape = rgb.shape
        self._framing = Framing((rgb.shape[2], rgb.shape[1]), orientation, self._options.size, self._options.cover)
        self.info = self._describe(pix_fmt, color, 16 if rgb.dtype == np.uint16 else 8)
        return rgb

    def _decoded(self, number: int) -> NDArray[Any]:
        """A frame as it is stored."""
        with self._pillow():
            self._image.seek(number)
            self._image.load()
            return self._colors.rgb(self._image)

    def _describe(self, pix_fmt: str, color: ColorTags, bit_depth: int) -> VideoInfo:
        rate, times, kind = self._options.rate, self._times, str(self._image.format).lower()
        end = times.stamps[-1] + times.durations[-1]
        return VideoInfo(
            width=self._framing.width,
            height=self._framing.height,
            rate=rate or times.rate,
            time_base=1 / rate if rate else times.time_base,
            sample_aspect_ratio=self._framing.sample_aspect_ratio(Fraction(1)),
            pix_fmt=pix_fmt,
            bit_depth=bit_depth,
            color=color,
            container=kind,
            codec=kind,
            estimated_num_frames=max(1, round(end * times.time_base * rate)) if rate else len(times.stamps),
        )

    @contextlib.contextmanager
    def _pillow(self, damaged: VideoError | None = None) -> Iterator[None]:
        """Work with Pillow, which raises almost anything for a damaged picture."""
        with pillow(keep_damaged=self._keeps_damaged):
            try:
                yield
            except VideoError:
                raise
            except Image.DecompressionBombError as error:
                raise VideoError("the picture is too large; make it smaller") from error
            except MemoryError as error:
                raise VideoError("the picture does not fit into memory; make it smaller") from error
            except Exception as error:
                if isinstance(error, OSError) and error.errno:
                    raise VideoError(f"{error.strerror}; the picture cannot be read") from error
                raise damaged or _DamagedError(f"the picture is damaged or cut short; {_REPLACE}") from error

    @contextlib.contextmanager
    def _errors(self) -> Iterator[None]:
        """Name the picture in errors, and say what those of FFmpeg's scaler mean."""
        try:
            yield
        except VideoError as error:
            raise VideoError(f"{self.name}: {error}") from error
        except READ_ERRORS as error:
            raise VideoError(f"{self.name}: {reason(error)}") from error
