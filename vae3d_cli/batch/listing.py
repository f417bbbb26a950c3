"""Lists of clips: a path a line, or a JSON object a line with options of its own."""

import json
import os
import sys
from collections.abc import Collection
from pathlib import Path, PurePath

from vae3d_cli.batch.finding import Found
from vae3d_cli.errors import InputError, UsageError
from vae3d_cli.files import STDIN_NAME, is_path
from vae3d_cli.remote import Location, location

PATH, OUTPUT = "path", "output"
_UTF_16 = (b"\xff\xfe", b"\xfe\xff")


def read_list(path: Path | None, options: Collection[str]) -> list[Found]:
    """The clips of a list, `None` for standard input; `options` are the keys that a JSON object may have.

    A line that begins with `{` is a JSON object with a `path` and perhaps an `output`. Empty lines are left out. Names
    need not be UTF-8; a list may be UTF-16, as PowerShell writes it. Spaces behind a name and quotes around it are part
    of it only where there is such a file.

    Raises:
        InputError: The list cannot be read.
        UsageError: A line of it makes no sense, or there is none.
    """
    name = STDIN_NAME if path is None else str(path)
    try:
        data = sys.stdin.buffer.read() if path is None else path.read_bytes()
    except OSError as error:
        raise InputError(f"{name}: {error.strerror}; check the name of the list") from error
    if data.startswith(_UTF_16):
        try:
            data = data.decode("utf-16").encode()
        except ValueError as error:
            raise UsageError(f"{name}: begins as UTF-16 and is not ({error}); save the list as UTF-8") from error
    found = []
    for number, line in enumerate(data.removeprefix(b"\xef\xbb\xbf").split(b"\n"), 1):
        text = os.fsdecode(line.removesuffix(b"\r"))
        if text.strip():
            found.append(_entry(text, f"{name}, line {number}", options))
    if not found:
        raise UsageError(f"{name}: names no clips; write one path a line")
    return found


def _entry(text: str, where: str, allowed: Collection[str]) -> Found:
    """What a line names."""
    options: dict[str, object] = {"path": _name_in(text)}
    if text.startswith("{"):
        try:
            options = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise UsageError(f"{where}: is no JSON object ({error}); a path that begins so goes into one") from error
    path, output = options.pop(PATH, None), options.pop(OUTPUT, None)
    if not is_path(path) or path == "-":
        raise UsageError(f"{where}: names no file; give it as {{{json.dumps(PATH)}: ...}}, or as the whole line")
    if output is not None and (not is_path(output) or not PurePath(output).name):
        raise UsageError(f"{where}: {json.dumps(OUTPUT)} names no file")
    if unknown := set(options) - set(allowed):
        names = ", ".join((PATH, OUTPUT, *allowed))
        raise UsageError(f"{where}: there is no option {min(unknown)!r}; use {names}")
    where_from = location(path)
    return Found(where_from, _mirrored(where_from), None, output, options, where)


def _name_in(line: str) -> str:
    """The name on a line, without the spaces and quotes that editors and shells put there."""
    bare = line.strip()
    if len(bare) > 2 and bare[0] == bare[-1] and bare[0] in "\"'":
        bare = bare[1:-1]
    return line if bare == line or os.path.lexists(line) else bare


def _mirrored(path: Location) -> Path:
    """The path as it is listed, but below the output folder wherever it leads: no root, and nothing up to a `..`."""
    parts = [part for part in path.parts if part.strip("/")]
    if ".." in parts:
        parts = parts[len(parts) - parts[::-1].index("..") :]
    return Path(*parts)
