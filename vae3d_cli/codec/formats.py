"""What a clip is encoded into: our latents file, or that of another tool."""

from pathlib import Path

from vae3d_cli.codec.options import EncodeOptions
from vae3d_cli.codec.outputs import binary_output, display_name
from vae3d_cli.codec.reading import EncodedClip
from vae3d_cli.errors import LatentsError, UsageError
from vae3d_cli.latents import (
    MUSUBI,
    VAE3D,
    LatentsSpool,
    check_space,
    layout_of,
    losses,
    musubi_name,
)
from vae3d_cli.weights import ModelFacts


def check_format(format_name: str, model: ModelFacts) -> None:
    """See that a format can hold the latents of a model.

    Raises:
        UsageError: It is another tool's, and the model's latents are not HunyuanVideo's.
    """
    if format_name != VAE3D:
        try:
            check_space(model.name, model.config.latent_space, model.config.latent_channels)
        except LatentsError as error:
            raise UsageError(f"--format {format_name} with the model {error}") from error


def place_of(source: Path | None, output: Path | None, format_name: str) -> Path | None:
    """The path of the file, as far as it is known before the clip is: in its folder, without what musubi-tuner adds.

    Raises:
        UsageError: The format has names of its own, and there is no folder or no name for them.
    """
    if format_name != MUSUBI:
        return output
    if source is None or output is None:
        raise UsageError("--format musubi: musubi-tuner knows its caches by their names; give a file and a folder")
    return output / source.stem


def write_latents(
    spool: LatentsSpool, clip: EncodedClip, place: Path | None, options: EncodeOptions, *, overwrite: bool
) -> tuple[Path | None, tuple[str, ...]]:
    """Write what was spooled of a clip to its `place`, and say where that is and what the format cannot hold.

    Raises:
        OutputError: The output cannot be written.
    """
    format_name, header, pts = options.format, clip.header, clip.timing.pts
    if format_name == MUSUBI and place is not None:
        place = place.with_name(musubi_name(place.name, header, spool.shape, start=options.frames.start))
    with binary_output(place, overwrite=overwrite) as out:
        if format_name == VAE3D:
            spool.write(out, header, pts)
        else:
            spool.write_as(out, layout_of(format_name, header, spool.shape, spool.dtype_name, pts))
    notes = losses(format_name, header, spool.shape, has_pts=pts is not None)
    return place, tuple(f"{display_name(place)}: {note}" for note in notes)
