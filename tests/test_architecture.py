"""The layers of the package, kept by reading its imports."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "vae3d_cli"

# Each layer may import itself, the package's version, and what is named here.
ALLOWED = {
    "errors": set(),
    "config": set(),
    "temporary": set(),
    "files": {"errors", "temporary"},
    "remote": {"errors", "files"},
    "geometry": {"config"},
    "pickles": set(),
    "model": {"config"},
    "video": {"errors", "files"},
    # What all files of other tools hold are HunyuanVideo's latents: its config and sizes.
    "latents": {"config", "errors", "files", "geometry", "pickles"},
    "metrics": {"errors"},
    "weights": {"config", "errors", "files", "model", "pickles"},
    "kernels": set(),
    "execution": {"config", "errors", "geometry", "kernels", "model"},
    "codec": {
        *("config", "errors", "execution", "files", "geometry", "latents", "metrics", "model", "video", "weights")
    },
    "training": {"config", "errors", "execution", "files", "metrics", "model", "video", "weights"},
    "batch": {
        *("codec", "config", "errors", "execution", "files", "geometry", "latents", "remote", "temporary", "weights")
    },
    "report": {"codec", "files", "latents", "metrics", "temporary", "video"},
    "console": {"errors"},
    "cli": {
        *(
            "batch",
            "codec",
            "console",
            "errors",
            "execution",
            "files",
            "geometry",
            "metrics",
            "remote",
            "report",
            "temporary",
            "training",
            "video",
        ),
        "weights",
    },
    "__main__": {"cli"},
    "__init__": {"codec", "geometry", "weights"},
}
# Packages that only these layers may import, at any depth.
CONFINED = {
    "av": {"video"},
    "typer": {"cli"},
    "rich": {"console"},
    "safetensors": {"latents", "training", "weights"},
    "huggingface_hub": {"weights"},
    "psutil": {"execution"},
    "PIL": {"codec", "report", "video"},
    "imageio_ffmpeg": {"metrics"},
    "torchmetrics": set(),
    "ray": {"batch"},
    "fsspec": {"remote"},
}
WITHOUT_TORCH = {"errors", "config", "temporary", "files", "remote", "geometry", "video", "console"}
# Imported when `vae3d --help` runs: nothing that takes long to load may be at their top level.
QUICK = {"cli", "console", "errors", "temporary", "files", "remote", "geometry", "config", "__init__", "__main__"}
SLOW = {"torch", "av", "fsspec", "huggingface_hub", "numpy", "rich", "safetensors"}

FILES = sorted(PACKAGE.rglob("*.py"))


def layer_of(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imports(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_a_module_imports_only_lower_layers(path: Path) -> None:
    layer = layer_of(path)
    for name in imports(ast.parse(path.read_text())):
        parts = name.split(".")
        if parts[0] == "vae3d_cli":
            target = parts[1]
            assert target in {layer, "__version__", *ALLOWED[layer]}, f"{layer} must not import {name}"
        assert layer in CONFINED.get(parts[0], {layer}), f"only {CONFINED[parts[0]]} may import {parts[0]}"
        assert not (parts[0] == "torch" and layer in WITHOUT_TORCH), f"{layer} works without torch"


@pytest.mark.parametrize(
    "path", [path for path in FILES if layer_of(path) in QUICK], ids=lambda path: str(path.relative_to(PACKAGE))
)
def test_help_needs_no_slow_import(path: Path) -> None:
    body = ast.parse(path.read_text()).body
    top_level = ast.Module([node for node in body if isinstance(node, ast.Import | ast.ImportFrom)], [])
    slow_layers = {
        "batch",
        "codec",
        "execution",
        "latents",
        "metrics",
        "model",
        "report",
        "training",
        "video",
        "weights",
    }
    for name in imports(top_level):
        parts = name.split(".")
        assert parts[0] not in SLOW
        assert not (parts[0] == "vae3d_cli" and parts[1] in slow_layers)


def test_files_and_functions_stay_short() -> None:
    for path in FILES:
        text = path.read_text()
        assert text.count("\n") <= 450, path
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef):
                assert node.end_lineno is not None
                assert node.end_lineno - node.lineno < 70, f"{path}: {node.name}"
