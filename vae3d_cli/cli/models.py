"""`vae3d models`: the models that have a name, and fetching weights before they are needed."""

import json as json_format
from typing import TYPE_CHECKING, Annotated

import typer

from vae3d_cli.cli import options
from vae3d_cli.cli.guard import guarded
from vae3d_cli.cli.help import Command
from vae3d_cli.cli.runner import Settings
from vae3d_cli.console import print_json, print_path, print_rows, show_log
from vae3d_cli.errors import UsageError

if TYPE_CHECKING:
    from vae3d_cli.weights.hub import KnownModel

app = typer.Typer(name="models", rich_markup_mode=None, add_completion=False, pretty_exceptions_enable=False)


@app.callback(invoke_without_command=True)
@guarded
def models(
    context: typer.Context,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object per model.")] = False,
) -> None:
    """List the known models and where they lie, or fetch one."""
    if context.invoked_subcommand is not None:
        if json:
            raise UsageError(f"--json: give it after {context.invoked_subcommand}")
        return
    from vae3d_cli.weights.hub import known_models

    for model in known_models():
        if json:
            print_json(_to_json(model), to_stderr=False)
        else:
            print_rows(model.name, _rows(model))


@app.command(cls=Command)
@guarded
def pull(
    name: Annotated[
        str, typer.Argument(metavar="NAME", help="hunyuanvideo, or a hub id org/name[/path/in/repo][@revision].")
    ],
    json: Annotated[bool, typer.Option("--json", help="Print a JSON object.")] = False,
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
    progress: options.ShowProgress = True,
) -> None:
    """Fetch weights into the Hugging Face cache, unless it holds the newest, and print the path of the file."""
    settings = Settings(json=json, quiet=quiet, verbose=verbose, progress=progress)
    show_log(quiet=quiet, verbose=verbose)
    from vae3d_cli.weights import EMBEDDED, hub

    if name == EMBEDDED:
        settings.note(f"{name} is inside the package; there is nothing to fetch")
        path = next(model.path for model in hub.known_models() if model.name == name)
    elif hub.is_hub_name(name):
        hub.show_progress(settings.shows_progress)
        path = hub.find_in_hub(name, refresh=True)
    else:
        raise UsageError(f"{name}: not a model that can be fetched; give {hub.HUNYUANVIDEO} or a hub id org/name")
    if json:
        print_json(json_format.dumps({"name": name, "path": str(path)}), to_stderr=False)
    else:
        print_path(str(path))


def _to_json(model: "KnownModel") -> str:
    return json_format.dumps(
        {
            "name": model.name,
            "source": model.source,
            "path": None if model.path is None else str(model.path),
            "bytes": model.num_bytes,
            "licence": model.licence,
        }
    )


def _rows(model: "KnownModel") -> list[tuple[str, str]]:
    return [
        ("source", model.source),
        ("file", f"not here; fetch it with vae3d models pull {model.name}" if model.path is None else str(model.path)),
        *([] if model.num_bytes is None else [("size", f"{model.num_bytes / 1e6:.0f} MB")]),
        ("licence", model.licence),
    ]
