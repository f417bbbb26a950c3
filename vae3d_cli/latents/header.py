"""What a latents file says of itself, as safetensors metadata and back."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import NoReturn

from vae3d_cli.errors import LatentsError
from vae3d_cli.geometry import MAX_SIDE_PX

FORMAT_FAMILY = "vae3d.latents/"
FORMAT = f"{FORMAT_FAMILY}1"
MOMENTS = "moments"
# What the file of another tool did not say, and a file made of it cannot.
UNKNOWN = "unknown"
POSTERIORS = ("mode", "sample", MOMENTS, UNKNOWN)
# A clip beyond these is a damaged or hostile header, not a video: the limits come before any allocation.
MAX_NUM_FRAMES = 1 << 28
MAX_SECONDS = 1 << 40
MAX_NAME_LENGTH = 1000


@dataclass(frozen=True, kw_only=True)
class LatentsHeader:
    """The metadata of a latents file; the README describes the format.

    `num_frames`, `height` and `width` are of what was encoded, before padding; `rate` is frames per second; `color`
    holds `matrix`, `range`, `primaries` and `transfer` of the source as H.273 and FFmpeg codes. `start_time` says when
    the first frame is shown in the source, if not at 0, and `last_duration` for how long the last one is, if not for
    `1 / rate`, in seconds. `settings` is what was asked for beside the model, as far as it decides the numbers, and
    `source_sha256` is of the bytes of the source.
    """

    model: str
    latent_space: str
    encoder_sha256: str
    posterior: str
    num_frames: int
    height: int
    width: int
    rate: Fraction
    strategy: dict[str, object]
    software: str
    scaled: bool = False
    scaling_factor: float = 1.0
    seed: int | None = None
    time_base: Fraction | None = None
    start_time: Fraction | None = None
    last_duration: Fraction | None = None
    color: dict[str, int] | None = None
    pix_fmt: str | None = None
    sample_aspect_ratio: Fraction = Fraction(1)
    source: str | None = None
    source_sha256: str | None = None
    settings: dict[str, object] | None = None

    @property
    def tensor_name(self) -> str:
        """The name of the tensor that the file holds."""
        return MOMENTS if self.posterior == MOMENTS else "latents"

    def to_metadata(self) -> dict[str, str]:
        """The metadata as strings, in a fixed order; what is unknown or the default case is left out."""
        texts: dict[str, str | None] = {
            "format": FORMAT,
            "model": self.model,
            "latent_space": self.latent_space,
            "encoder_sha256": self.encoder_sha256,
            "posterior": self.posterior,
            "seed": None if self.seed is None else str(self.seed),
            "scaled": "true" if self.scaled else "false",
            "scaling_factor": repr(self.scaling_factor),
            "num_frames": str(self.num_frames),
            "height": str(self.height),
            "width": str(self.width),
            "rate": _fraction_text(self.rate),
            "time_base": None if self.time_base is None else _fraction_text(self.time_base),
            "start_time": None if self.start_time is None else _fraction_text(self.start_time),
            "last_duration": None if self.last_duration is None else _fraction_text(self.last_duration),
            "color": None if self.color is None else json.dumps(self.color),
            "pix_fmt": self.pix_fmt,
            "sample_aspect_ratio": None if self.sample_aspect_ratio == 1 else _fraction_text(self.sample_aspect_ratio),
            "strategy": json.dumps(self.strategy),
            "settings": None if self.settings is None else json.dumps(self.settings),
            "source": self.source,
            "source_sha256": self.source_sha256,
            "software": self.software,
        }
        return {key: text for key, text in texts.items() if text is not None}

    @classmethod
    def from_metadata(cls, metadata: Mapping[str, str]) -> "LatentsHeader":
        """Read the metadata of a file.

        Raises:
            LatentsError: A key is missing, or its value is not what it must be. The text names the key, not the file.
        """
        found = metadata.get("format")
        if found is None:
            raise LatentsError("no vae3d latents file: its metadata has no 'format'; encode the clip with vae3d")
        if found != FORMAT:
            raise LatentsError(f"its format is {found!r} and this version reads {FORMAT!r}; encode the clip again")
        fields = _Fields(metadata)
        return cls(
            model=fields.name("model"),
            latent_space=fields.name("latent_space"),
            encoder_sha256=fields.name("encoder_sha256"),
            posterior=fields.choice("posterior", POSTERIORS),
            seed=fields.integer("seed", -(2**63), 2**64) if "seed" in metadata else None,
            scaled=fields.choice("scaled", ("true", "false")) == "true",
            scaling_factor=fields.number("scaling_factor"),
            num_frames=fields.integer("num_frames", 1, MAX_NUM_FRAMES),
            height=fields.integer("height", 1, MAX_SIDE_PX),
            width=fields.integer("width", 1, MAX_SIDE_PX),
            rate=fields.fraction("rate"),
            time_base=fields.fraction("time_base") if "time_base" in metadata else None,
            start_time=fields.seconds("start_time") if "start_time" in metadata else None,
            last_duration=fields.seconds("last_duration", above=0) if "last_duration" in metadata else None,
            color=fields.color("color") if "color" in metadata else None,
            pix_fmt=metadata.get("pix_fmt"),
            sample_aspect_ratio=fields.fraction("sample_aspect_ratio")
            if "sample_aspect_ratio" in metadata
            else Fraction(1),
            strategy=fields.json("strategy"),
            settings=fields.json("settings") if "settings" in metadata else None,
            source=metadata.get("source"),
            source_sha256=metadata.get("source_sha256"),
            software=fields.name("software"),
        )


class _Fields:
    """Typed access to string metadata; an error names the key and what it should hold."""

    def __init__(self, metadata: Mapping[str, str]) -> None:
        self._metadata = metadata

    def text(self, key: str) -> str:
        if key not in self._metadata:
            raise LatentsError(f"its metadata has no {key!r}; encode the clip again")
        return self._metadata[key]

    def name(self, key: str) -> str:
        if len(text := self.text(key)) > MAX_NAME_LENGTH:
            self._wrong(key, f"a name of up to {MAX_NAME_LENGTH} characters")
        return text

    def choice(self, key: str, choices: tuple[str, ...]) -> str:
        return self.text(key) if self.text(key) in choices else self._wrong(key, f"one of {', '.join(choices)}")

    def integer(self, key: str, low: int, high: int) -> int:
        text = self.text(key)
        if not re.fullmatch(r"-?[0-9]{1,20}", text) or not low <= int(text) <= high:
            self._wrong(key, f"a whole number from {low} to {high}")
        return int(text)

    def number(self, key: str) -> float:
        text = self.text(key)
        if not re.fullmatch(r"[0-9]{1,20}(\.[0-9]{1,30})?(e-?[0-9]{1,2})?", text) or float(text) == 0:
            self._wrong(key, "a positive number")
        return float(text)

    def fraction(self, key: str) -> Fraction:
        match = re.fullmatch(r"([0-9]{1,10})/([0-9]{1,10})", self.text(key))
        parts = [int(part) for part in match.groups()] if match else [0]
        if not all(0 < part < 1 << 31 for part in parts):  # FFmpeg's rationals have 31 bits
            self._wrong(key, "a positive fraction such as 30000/1001")
        return Fraction(*parts)

    def seconds(self, key: str, *, above: int | None = None) -> Fraction:
        match = re.fullmatch(r"(-?[0-9]{1,19})/([0-9]{1,10})", self.text(key))
        value = Fraction(int(match[1]), int(match[2])) if match and int(match[2]) else None
        if value is None or abs(value) > MAX_SECONDS or (above is not None and value <= above):
            self._wrong(key, "a number of seconds as a fraction such as 7/5")
        return value

    def json(self, key: str) -> dict[str, object]:
        try:
            value = json.loads(self.text(key), parse_constant=_refuse_constant)
        except (ValueError, RecursionError):
            value = None
        return value if isinstance(value, dict) else self._wrong(key, "a JSON object")

    def color(self, key: str) -> dict[str, int]:
        value, names = self.json(key), {"matrix", "range", "primaries", "transfer"}
        if set(value) != names or not all(type(code) is int and 0 <= code < 256 for code in value.values()):
            self._wrong(key, f"a JSON object of the codes {', '.join(sorted(names))}")
        return {name: int(str(code)) for name, code in value.items()}

    def _wrong(self, key: str, expected: str) -> NoReturn:
        raise LatentsError(f"its metadata says {key} = {self._metadata[key][:60]!r}, which is not {expected}")


def _refuse_constant(text: str) -> NoReturn:
    """JSON has no NaN and no infinity; what is read here is printed as JSON again."""
    raise ValueError(f"{text} is not JSON")


def _fraction_text(value: Fraction) -> str:
    return f"{value.numerator}/{value.denominator}"
