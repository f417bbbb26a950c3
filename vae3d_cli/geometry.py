"""Sizes of clips and latents: integers only, each with its unit, and nothing that needs torch."""

from collections.abc import Iterator
from dataclasses import dataclass

from vae3d_cli.config import VaeConfig

# A clip with a longer side is a damaged or hostile file, not a video: the limit comes before any allocation.
MAX_SIDE_PX = 1 << 16


def num_latent_frames(num_frames: int, config: VaeConfig) -> int:
    """Latent frames of a clip: 1 + 4k frames become 1 + k, for the first frame has a latent frame of its own.

    A clip of any other length counts as padded to the next 1 + 4k.

    Raises:
        ValueError: The clip has no frame.
    """
    if num_frames < 1:
        raise ValueError(f"a clip has at least one frame, not {num_frames}")
    ratio = config.temporal_compression_ratio
    return 1 + (num_frames - 1 + ratio - 1) // ratio


def num_decoded_frames(num_latent_frames: int, config: VaeConfig) -> int:
    """Frames that so many latent frames decode to: 1 + k become 1 + 4k."""
    return 1 + (num_latent_frames - 1) * config.temporal_compression_ratio


def padded_num_frames(num_frames: int, config: VaeConfig) -> int:
    """The next 1 + 4k frames: what a clip is padded to by repeating its last frame."""
    return num_decoded_frames(num_latent_frames(num_frames, config), config)


def latent_size(size_px: int, config: VaeConfig) -> int:
    """Height or width in latents of a height or width in pixels, padded up to a whole latent."""
    return -(-size_px // config.spatial_compression_ratio)


def padded_size_px(size_px: int, config: VaeConfig) -> int:
    """The next multiple of 8 pixels: what a frame is padded to by repeating its right and bottom edges."""
    return latent_size(size_px, config) * config.spatial_compression_ratio


def latents_shape(num_frames: int, height: int, width: int, config: VaeConfig) -> tuple[int, int, int, int]:
    """Shape `(C, T', H/8, W/8)` of the latents of a clip of so many frames and pixels."""
    return (
        config.latent_channels,
        num_latent_frames(num_frames, config),
        latent_size(height, config),
        latent_size(width, config),
    )


def latent_frame_of(frame: int, config: VaeConfig) -> int:
    """The latent frame that a frame of the clip is decoded from."""
    ratio = config.temporal_compression_ratio
    return (frame + ratio - 1) // ratio


@dataclass(frozen=True)
class Chunk:
    """A run of latent frames, `start` to `stop - 1`, and with it a run of frames."""

    start: int
    stop: int

    def first_frame(self, config: VaeConfig) -> int:
        """The first frame that the chunk covers."""
        return 0 if self.start == 0 else num_decoded_frames(self.start, config)

    def num_frames(self, config: VaeConfig) -> int:
        """How many frames the chunk covers: 1 + 4k at the start of a clip, 4k later."""
        return num_decoded_frames(self.stop, config) - self.first_frame(config)


def plan_chunks(chunk_latents: int, stop: int | None = None, start: int = 0) -> Iterator[Chunk]:
    """Chunks of `chunk_latents` latent frames from `start` on, without end where `stop` is not known.

    Raises:
        ValueError: A chunk would hold no latent frame.
    """
    if chunk_latents < 1:
        raise ValueError(f"a chunk holds at least one latent frame, not {chunk_latents}")
    while stop is None or start < stop:
        end = start + chunk_latents if stop is None else min(start + chunk_latents, stop)
        yield Chunk(start, end)
        start = end


@dataclass(frozen=True)
class FrameRange:
    """Frames `start` to `stop - 1` of a clip, counted from 0; to its end where `stop` is not given."""

    start: int = 0
    stop: int | None = None

    def within(self, num_frames: int) -> range:
        """The frames of the range that a clip of so many frames has."""
        return range(self.start, num_frames if self.stop is None else min(self.stop, num_frames))

    def missing_note(self, num_frames: int) -> list[str]:
        """A note where a clip of so many frames has not all frames of the range."""
        if self.stop is None or num_frames >= self.stop:
            return []
        given = len(self.within(num_frames))
        return [f"has only {num_frames} frames; --frames {self.start}:{self.stop} gives {given} of them"]


@dataclass(frozen=True)
class Protocol:
    """What papers measure of a clip: its first frames, resized to cover this size, and of them the centre."""

    num_frames: int
    width: int
    height: int

    @property
    def name(self) -> str:
        """Frames, height and width, as the papers write it."""
        return f"{self.num_frames}x{self.height}x{self.width}"


PROTOCOLS = {
    protocol.name: protocol
    for protocol in (
        Protocol(17, 256, 256),
        Protocol(33, 256, 256),
        Protocol(33, 640, 360),
    )
}


@dataclass(frozen=True)
class Reach:
    """What a run of outputs of a convolution reads along one axis.

    Positions `start` to `stop - 1` of its input, with so many copies of the edge `before` and `after` them.
    """

    start: int
    stop: int
    before: int
    after: int


def conv_reach(start: int, stop: int, size: int, *, kernel: int, stride: int, padding: int) -> Reach:
    """What the outputs `start` to `stop - 1` read of an input of `size` positions, with `padding` copies in front."""
    first = start * stride - padding
    last = (stop - 1) * stride - padding + kernel
    return Reach(max(first, 0), min(last, size), max(-first, 0), max(last - size, 0))


@dataclass(frozen=True)
class Slab:
    """A part of a clip at one layer: frames `start` to `stop - 1`, rows `top` to `bottom - 1`, all columns."""

    start: int
    stop: int
    top: int
    bottom: int

    def halves(self) -> tuple["Slab", ...]:
        """Two slabs that cover this one, cut in time where it has several frames; itself if it is a single row."""
        if self.stop - self.start > 1:
            middle = (self.start + self.stop) // 2
            return (Slab(self.start, middle, self.top, self.bottom), Slab(middle, self.stop, self.top, self.bottom))
        if self.bottom - self.top > 1:
            middle = (self.top + self.bottom) // 2
            return (Slab(self.start, self.stop, self.top, middle), Slab(self.start, self.stop, middle, self.bottom))
        return (self,)


def plan_slabs(num_frames: int, height: int, slab_frames: int, slab_rows: int) -> list[Slab]:
    """Slabs that cover a clip once: runs of frames in the order of time, each in bands of rows from the top down."""
    return [
        Slab(start, min(start + slab_frames, num_frames), top, min(top + slab_rows, height))
        for start in range(0, num_frames, slab_frames)
        for top in range(0, height, slab_rows)
    ]


@dataclass(frozen=True)
class TileAxis:
    """Tiles along one axis: their length and distance in the input, and what is kept and blended of the output.

    `tile` and `stride` count positions of the input, `kept` and `blended` those of the output.
    """

    tile: int
    stride: int
    kept: int
    blended: int


@dataclass(frozen=True, kw_only=True)
class TileSizes:
    """The windows of `tiled`, in pixels and frames; the defaults are those of HunyuanVideo's own code.

    A temporal window is one frame longer than `chunk_frames`, for the frame that stands alone.
    """

    tile_px: int = 256
    tile_overlap_px: int = 64
    chunk_frames: int = 64
    chunk_overlap_frames: int = 16

    def encoder_axes(self, config: VaeConfig) -> tuple[TileAxis, TileAxis]:
        """Space and time: pixels and frames in, latents out."""
        return (
            _axis(self.tile_px, self.tile_overlap_px, 1, config.spatial_compression_ratio),
            _axis(self.chunk_frames, self.chunk_overlap_frames, 1, config.temporal_compression_ratio),
        )

    def decoder_axes(self, config: VaeConfig) -> tuple[TileAxis, TileAxis]:
        """Space and time: latents in, pixels and frames out."""
        return (
            _axis(self.tile_px, self.tile_overlap_px, config.spatial_compression_ratio, 1),
            _axis(self.chunk_frames, self.chunk_overlap_frames, config.temporal_compression_ratio, 1),
        )


def tile_borders(length: int, tiles: TileSizes) -> list[int]:
    """Where, along an axis of so many pixels, a tile begins to come in, and where it has taken over."""
    stride = tiles.tile_px - tiles.tile_overlap_px
    starts = range(stride, length, stride)
    return sorted({border for start in starts for border in (start, start + tiles.tile_overlap_px) if border < length})


def _axis(tile: int, overlap: int, unit_in: int, unit_out: int) -> TileAxis:
    stride = tile - overlap
    return TileAxis(tile // unit_in, stride // unit_in, stride // unit_out, overlap // unit_out)
