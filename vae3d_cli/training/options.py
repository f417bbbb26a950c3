"""How a run is to go: what its state remembers."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path


@dataclass(frozen=True, kw_only=True)
class TrainOptions:
    """The settings of a run.

    `steps` of `batch_size` crops of `num_frames` frames, `size_px` on a side; the learning rate rises over the first
    100 steps and falls to 0 over the last 40%. `kl_weight` is for pixels in [0, 1] and the divergence of one latent.
    The clips of `held_out` scenes are for validation. `dtype` is that of the networks under autocast:
    `auto` is bf16 on a GPU, else fp32. `seed` decides everything that is drawn. Every `save_every` steps the run is
    validated and saved. `cache` is where decoded frames are kept, by default with the run.
    """

    sources: tuple[Path, ...]
    held_out: tuple[str, ...] = ()
    steps: int = 10_000
    batch_size: int = 4
    num_frames: int = 9
    size_px: int = 96
    learning_rate: float = 1e-3
    kl_weight: float = 1e-6
    freeze_encoder: bool = False
    dtype: str = "auto"
    seed: int = 0
    save_every: int = 500
    cache: Path | None = None

    def to_json(self) -> str:
        """As one line of text."""
        cache = None if self.cache is None else str(self.cache)
        return json.dumps({**asdict(self), "sources": [str(path) for path in self.sources], "cache": cache})

    def settings_json(self) -> str:
        """All but where things lie: what a checkpoint may say of its run to anyone."""
        return json.dumps({name: value for name, value in asdict(self).items() if name not in ("sources", "cache")})

    @classmethod
    def from_json(cls, text: str) -> "TrainOptions":
        """What `to_json` wrote."""
        fields = json.loads(text)
        sources, held_out = tuple(map(Path, fields.pop("sources"))), tuple(fields.pop("held_out"))
        cache = None if fields.get("cache") is None else Path(fields["cache"])
        return cls(**{**fields, "sources": sources, "held_out": held_out, "cache": cache})
