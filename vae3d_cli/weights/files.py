"""Checkpoint files: which one to take, what its header says, and its tensors, each of which is read once."""

import json
import logging
import os
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from safetensors import SafetensorError, safe_open
from torch import Tensor

from vae3d_cli.errors import WeightsError
from vae3d_cli.files import check_regular, is_file_name
from vae3d_cli.pickles import PICKLE, ZIP, load_pickle, plain_tensor
from vae3d_cli.weights.layouts import Layout, Shape, is_counter, layout_of, of_the_vae

logger = logging.getLogger(__name__)

# The names of published checkpoints, the preferred first.
STANDARD_NAMES = (
    "diffusion_pytorch_model.safetensors",
    "diffusion_pytorch_model.safetensors.index.json",
    "pytorch_model.pt",
)
PICKLE_SUFFIXES = {".pt", ".pth", ".bin", ".ckpt"}
INDEX = re.compile(r"\.safetensors\.index\.(\w+\.)?json$")
SHARD = re.compile(r"-\d{5}-of-\d{5}\.")
# As safetensors writes them, the more precise first.
PRECISIONS = ("F32", "F16", "BF16")

LFS_POINTER = b"version https://git-lfs"
# A training state holds the weights in one of these.
WRAPPERS = ("state_dict", "module", "model")


@dataclass(frozen=True)
class Source:
    """A checkpoint, ours or of HunyuanVideo's VAE, whose tensors are yet to be read."""

    path: Path
    layout: Layout
    metadata: Mapping[str, str]
    read: Callable[[], dict[str, Tensor]]


@dataclass(frozen=True)
class _Entry:
    """Where a safetensors file holds a weight, and of what form."""

    file: Path
    name: str
    shape: Shape
    dtype: str


def find_source(path: Path) -> Source:
    """The checkpoint that is this file, or the best one in this folder or in its `vae` folder.

    Raises:
        WeightsError: There is none, or it cannot be read.
    """
    with _readable(path):
        if not path.is_dir():
            return _open(path)
        candidates = [file for place in (path, path / "vae") for file in _candidates(place)]
    refusals = []
    for file in candidates:
        try:
            source = _open(file)
        except WeightsError as error:
            logger.info("passed over: %s", error)
            refusals.append(str(error))
        else:
            logger.info("%s: taken of %d checkpoint files in %s", file, len(candidates), path)
            return source
    if not refusals:
        raise WeightsError(f"{path}: no checkpoint in this folder; give the folder or the file of a VAE")
    if len(refusals) == 1:
        raise WeightsError(refusals[0])
    raise WeightsError(f"{path}: none of the {len(refusals)} files in it can be loaded; the first: {refusals[0]}")


def _candidates(folder: Path) -> list[Path]:
    """The checkpoint files of a folder, the best first: standard names, then the more precise, then by name."""

    def rank(file: Path) -> tuple[int, bool, int, str]:
        order = STANDARD_NAMES.index(file.name) if file.name in STANDARD_NAMES else len(STANDARD_NAMES)
        # A pickle says nothing before it is loaded, so it comes after those that do.
        is_pickle = file.suffix in PICKLE_SUFFIXES
        return order, is_pickle, 0 if is_pickle else _precision(file), file.name

    if not folder.is_dir():
        return []
    shown = [file for file in folder.iterdir() if not file.name.startswith(".")]  # a hidden one may be half written
    files = [file for file in shown if file.is_file() and not SHARD.search(file.name)]
    suffixes = {".safetensors", *PICKLE_SUFFIXES}
    return sorted((file for file in files if file.suffix in suffixes or INDEX.search(file.name)), key=rank)


def _precision(path: Path) -> int:
    """The place of the least precise weight of a safetensors file in `PRECISIONS`; what cannot be read comes last."""
    try:
        dtypes = {entry.dtype for entry in _header(path)[0].values()}
    except WeightsError:
        return len(PRECISIONS)
    return max((PRECISIONS.index(dtype) if dtype in PRECISIONS else len(PRECISIONS) for dtype in dtypes), default=0)


def _open(path: Path) -> Source:
    head = _head(path)
    read: Callable[[], dict[str, Tensor]]
    if _is_pickle(head):
        weights, metadata = _unpickled(path), dict[str, str]()
        shapes, read = {name: tuple(tensor.shape) for name, tensor in weights.items()}, lambda: weights
    else:
        entries, metadata = _header(path)
        shapes, read = {name: entry.shape for name, entry in entries.items()}, lambda: _tensors(entries)
    try:
        layout = layout_of(shapes, metadata)
    except ValueError as error:
        raise WeightsError(f"{path}: {error}") from error
    return Source(path, layout, metadata, read)


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Every weight of a file, whatever it is of: safetensors, or a pickle of tensors alone.

    Raises:
        WeightsError: It cannot be read.
    """
    return _unpickled(path) if _is_pickle(_head(path)) else _tensors(_header(path)[0])


def _is_pickle(head: bytes) -> bool:
    # The length of a safetensors header comes first and may look like anything, but then there is a brace.
    return head.startswith((ZIP, PICKLE)) and head[8:9] != b"{"


def _head(path: Path) -> bytes:
    with _readable(path), path.open("rb") as file:
        head = file.read(len(LFS_POINTER))
    if head == LFS_POINTER:
        raise WeightsError(f"{path}: a Git LFS pointer in place of the weights; fetch them with git lfs pull")
    return head


def _header(path: Path) -> tuple[dict[str, _Entry], dict[str, str]]:
    """The weights of a safetensors file, or of those an index names, and the metadata."""
    entries: dict[str, _Entry] = {}
    metadata: dict[str, str] = {}
    for file in _shards(path) if INDEX.search(path.name) else [path]:
        _head(file)
        with _readable(file), safe_open(file, "pt", backend="pread") as opened:
            metadata.update(opened.metadata() or {})
            for name in opened.keys():  # noqa: SIM118 - no mapping
                part = opened.get_slice(name)
                entries[name] = _Entry(file, name, tuple(part.get_shape()), part.get_dtype())
    return of_the_vae(entries), metadata


def _shards(index: Path) -> list[Path]:
    with _readable(index):
        text = index.read_bytes()
    try:
        names = sorted(set(json.loads(text)["weight_map"].values()))
        if bad := [name for name in names if not is_file_name(name)]:
            raise ValueError(f"{bad[0][:60]!r} is not the name of a file beside it")
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise WeightsError(f"{index}: not a readable index ({error}); take a whole copy of it") from error
    with _readable(index):
        there = set(os.listdir(index.parent))  # noqa: PTH208 - an index may name very many
    if missing := [name for name in names if name not in there]:
        raise WeightsError(
            f"{index}: {len(missing)} of the {len(names)} files that it names are missing, first {missing[0]}; "
            "download them, too"
        )
    return [index.with_name(name) for name in names]


def _tensors(entries: Mapping[str, _Entry]) -> dict[str, Tensor]:
    weights = {}
    for path in sorted({entry.file for entry in entries.values()}):
        with _readable(path), safe_open(path, "pt", backend="pread") as file:
            for name, entry in entries.items():
                if entry.file == path:
                    weights[name] = file.get_tensor(entry.name)
    return weights


def _unpickled(path: Path) -> dict[str, Tensor]:
    try:
        with _readable(path):
            found = load_pickle(path, "checkpoint")
    except ValueError as error:
        raise WeightsError(f"{path}: {error}") from error
    for _ in WRAPPERS:  # not until there is none: a pickle may hold itself
        if isinstance(found, Mapping):
            found = next((found[key] for key in WRAPPERS if isinstance(found.get(key), Mapping)), found)
    if not isinstance(found, Mapping) or not all(isinstance(name, str) for name in found):
        raise WeightsError(f"{path}: a pickle, but not of a dict of tensors; give a checkpoint that holds weights")
    # Beside the weights a training state counts steps; no weight is outside of any layer.
    weights = {
        name: value for name, value in of_the_vae(found).items() if isinstance(value, Tensor) or not is_counter(name)
    }
    try:
        return {name: _plain(name, value) for name, value in weights.items()}
    except ValueError as error:
        raise WeightsError(f"{path}: {error}; give a checkpoint that holds weights alone") from error


def _plain(name: str, value: object) -> Tensor:
    try:
        return plain_tensor(value)
    except ValueError as error:
        raise ValueError(f"{name} in it {error}") from error


@contextmanager
def _readable(path: Path) -> Iterator[None]:
    """Name the file in what the system or safetensors raises, and let only a regular file or a folder be opened."""
    try:
        check_regular(path)
        yield
    except OSError as error:
        raise WeightsError(f"{path}: {error.strerror or error}; the checkpoint cannot be read") from error
    except SafetensorError as error:
        raise WeightsError(f"{path}: not a readable checkpoint ({error}); take a whole copy of it") from error
