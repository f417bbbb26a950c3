"""What a run left in its output folder."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

from vae3d_cli.batch.manifest import NAME


def identities(folder: Path) -> dict[str, tuple[int, int]]:
    """The files behind the names: one that is written again is another."""
    found = {}
    for path in folder.rglob("*.safetensors"):
        if not path.name.startswith("."):
            found[str(path.relative_to(folder))] = (path.stat().st_ino, path.stat().st_mtime_ns)
    return found


def manifest(folder: Path) -> list[dict[str, Any]]:
    """The lines of its manifest."""
    return [json.loads(line) for line in (folder / NAME).read_text().splitlines()]


def assert_done_once(folder: Path, undisturbed: Path) -> None:
    """The files are those of another run, byte for byte; each has one line; nothing else is left."""
    names = identities(undisturbed)
    assert set(identities(folder)) == set(names)
    for name in names:
        assert (folder / name).read_bytes() == (undisturbed / name).read_bytes()
    lines = manifest(folder)
    assert not [line["error"] for line in lines if "error" in line]
    assert Counter(line["output"] for line in lines) == Counter([*names])
    assert not [*folder.rglob(".vae3d-*")]
