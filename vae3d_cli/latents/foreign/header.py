"""What a file of another tool says of its latents, and what only the user can say."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from fractions import Fraction

from vae3d_cli import __version__
from vae3d_cli.config import HunyuanVideoConfig
from vae3d_cli.errors import LatentsError
from vae3d_cli.geometry import MAX_SIDE_PX, num_decoded_frames
from vae3d_cli.latents.header import MAX_NUM_FRAMES, UNKNOWN, LatentsHeader

HUNYUANVIDEO = HunyuanVideoConfig()
# What FFmpeg says of a still image: a single frame has no rate that could be wrong.
STILL_RATE = Fraction(25)


@dataclass(frozen=True, kw_only=True)
class Told:
    """What the user says of files that do not say it: frames per second, and whether the scaling factor is in them."""

    rate: Fraction | None = None
    scaled: bool | None = None


@dataclass(frozen=True, kw_only=True)
class ForeignHeader:
    """What a file of another tool says, and what its format says of all such files.

    `format` is the format's name and `tensor_name` that of the tensor in it. `scaled` and `rate` are `None` where
    neither the file nor its format says. Frames and sizes are those that the latents `[C, T', h, w]` decode to.
    `source` is the name of the file, for a file of ours that is made of it.
    """

    format: str
    tensor_name: str
    shape: tuple[int, int, int, int]
    posterior: str = UNKNOWN
    scaled: bool | None = False
    rate: Fraction | None = None
    notes: tuple[str, ...] = ()
    source: str | None = None

    @property
    def latent_space(self) -> str:
        """HunyuanVideo's: these tools have no other that we read."""
        return HUNYUANVIDEO.latent_space

    @property
    def scaling_factor(self) -> float:
        """What is multiplied in where it is scaled."""
        return HUNYUANVIDEO.scaling_factor

    @property
    def num_frames(self) -> int:
        """Frames that the latents decode to: 1 + 4k."""
        return num_decoded_frames(self.shape[1], HUNYUANVIDEO)

    @property
    def height(self) -> int:
        """In pixels."""
        return self.shape[2] * HUNYUANVIDEO.spatial_compression_ratio

    @property
    def width(self) -> int:
        """In pixels."""
        return self.shape[3] * HUNYUANVIDEO.spatial_compression_ratio

    def completed(self, told: Told) -> "ForeignHeader":
        """The same with what the user says.

        Raises:
            LatentsError: It contradicts the file.
        """
        check_told(told, self.rate, self.scaled)
        rate = told.rate if self.rate is None else self.rate
        return replace(self, rate=rate, scaled=told.scaled if self.scaled is None else self.scaled)

    def missing(self, *, needs_rate: bool = True) -> tuple[str, str]:
        """What nobody has said, and the options that say it, both as text that is empty where all is known."""
        found = {}
        if self.rate is None and self.num_frames > 1 and needs_rate:
            found["how many frames a second it has"] = "--fps RATE"
        if self.scaled is None:
            found["whether the scaling factor is multiplied into its latents"] = "--scaled or --unscaled"
        return ", nor ".join(found), " and ".join(found.values())

    def to_json(self) -> dict[str, object]:
        """What is known, by the names that the metadata of our files have; `None` is not known."""
        return {
            "format": self.format,
            "latent_space": self.latent_space,
            "posterior": None if self.posterior == UNKNOWN else self.posterior,
            "scaled": self.scaled,
            "scaling_factor": self.scaling_factor,
            "num_frames": self.num_frames,
            "height": self.height,
            "width": self.width,
            "rate": None if self.rate is None else f"{self.rate.numerator}/{self.rate.denominator}",
        }

    def to_header(self) -> LatentsHeader:
        """As the header of a latents file.

        Raises:
            LatentsError: Nobody has said the rate, or whether the latents are scaled. The text does not name the file.
        """
        rate = STILL_RATE if self.rate is None and self.num_frames == 1 else self.rate
        if rate is None or self.scaled is None:
            facts, options = self.missing()
            raise LatentsError(f"does not say {facts}; give {options}")
        return LatentsHeader(
            model=self.latent_space,
            latent_space=self.latent_space,
            encoder_sha256=UNKNOWN,
            posterior=self.posterior,
            num_frames=self.num_frames,
            height=self.height,
            width=self.width,
            rate=rate,
            strategy={"name": UNKNOWN},
            software=f"vae3d {__version__}",
            scaled=self.scaled,
            scaling_factor=self.scaling_factor,
            source=self.source,
        )


def check_told(told: Told, rate: Fraction | None, scaled: bool | None) -> None:
    """See that the user does not contradict what a file says.

    Raises:
        LatentsError: The user does.
    """
    if None not in (told.rate, rate) and told.rate != rate:
        raise LatentsError(f"says itself that it has {rate} frames per second; leave --fps out")
    if None not in (told.scaled, scaled) and told.scaled != scaled:
        was, option = ("scaled", "--unscaled") if scaled else ("unscaled", "--scaled")
        raise LatentsError(f"its latents are known to be {was}; leave {option} out")


def clip_shape(shape: Sequence[int], tensor_name: str, *, moments: bool = False) -> tuple[int, int, int, int]:
    """`[C, T', h, w]` of a tensor that may have an axis for the clips of a batch in front.

    Raises:
        LatentsError: It holds no clip of HunyuanVideo's latents (or `moments`), or several.
    """
    if len(shape) == 5 and shape[0] > 1:
        raise LatentsError(f"its tensor {tensor_name!r} holds {shape[0]} clips; take a file of one")
    sizes = list(shape[1:] if len(shape) == 5 else shape)
    channels = HUNYUANVIDEO.latent_channels
    if len(sizes) != 4 or 0 in shape or sizes[0] not in ((channels, 2 * channels) if moments else (channels,)):
        expected = f"{channels} channels{f', or {2 * channels} of moments' if moments else ''}"
        raise LatentsError(
            f"its tensor {tensor_name!r} has the shape {list(shape)}, and HunyuanVideo's latents have {expected}, "
            "frames, height and width; only these can be read"
        )
    found = (sizes[0], sizes[1], sizes[2], sizes[3])
    said = ForeignHeader(format="", tensor_name=tensor_name, shape=found)
    if said.num_frames > MAX_NUM_FRAMES or max(said.height, said.width) > MAX_SIDE_PX:
        raise LatentsError(f"its tensor {tensor_name!r} has the shape {list(shape)}, beyond any video's")
    return found
