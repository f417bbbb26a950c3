"""Weights from a hub: a real one, on loopback, and the cache of `huggingface_hub`.

That library reads its environment when it is imported, so each call runs in a process of its own; one that loads
`weights/hub.py` by its path does without torch, and is quick.
"""

import hashlib
import json
import os
import pty
import subprocess
import sys
import termios
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.clips import write_clip
from tests.commands import PATIENCE_SECONDS
from tests.hub_server import Hub, Repo, serve
from tests.hunyuanvideo import SMALL, reference
from vae3d_cli.weights import hub as hub_module

DEFAULT = "diffusion_pytorch_model.safetensors"
WEIGHTS = b"w" * 100_000
FIND = """
import importlib.util, json, logging, sys
path, name, refresh, known = json.loads(sys.argv[1])
spec = importlib.util.spec_from_file_location("hub", path)
sys.modules["hub"] = hub = importlib.util.module_from_spec(spec)
spec.loader.exec_module(hub)
hub.KNOWN_SHA256 = known
log = {"INFO": [], "WARNING": []}
class Handler(logging.Handler):
    def emit(self, record):
        log[record.levelname].append(record.getMessage())
hub.logger.addHandler(Handler())
hub.logger.setLevel(logging.INFO)
hub.show_progress(False)
try:
    found, error = str(hub.find_in_hub(name, refresh=refresh)), ""
except hub.WeightsError as wrong:
    found, error = "", str(wrong)
print(json.dumps([found, error, log["WARNING"], log["INFO"]]))
"""


@dataclass(frozen=True)
class Found:
    path: Path
    error: str
    notes: list[str]
    details: list[str]


@dataclass(frozen=True)
class Client:
    """A user with a cache of their own, and the hub they use."""

    hub: Hub
    home: Path

    def environment(self, **settings: str) -> dict[str, str]:
        kept = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("HF_", "VAE3D_")) and not name.lower().endswith("_proxy")
        }
        own = {"HF_ENDPOINT": self.hub.url, "HF_HOME": str(self.home), "HF_HUB_DISABLE_TELEMETRY": "1"}
        return kept | own | settings

    def find(self, name: str, *, refresh: bool = False, known: dict[str, str] | None = None, **settings: str) -> Found:
        request = json.dumps([hub_module.__file__, name, refresh, known or {}])
        command = [sys.executable, "-c", FIND, request]
        result = subprocess.run(
            command,
            capture_output=True,
            text=True,
            check=True,
            timeout=PATIENCE_SECONDS,
            env=self.environment(**settings),
        )
        assert result.stderr == ""
        path, error, notes, details = json.loads(result.stdout)
        assert "\n" not in error
        return Found(Path(path), error, notes, details)

    def run(self, *arguments: str, stderr: int = subprocess.PIPE) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "vae3d_cli", "models", *arguments]
        return subprocess.run(
            command,
            stdout=subprocess.PIPE,
            stderr=stderr,
            text=True,
            check=False,
            timeout=PATIENCE_SECONDS,
            env=self.environment(),
        )

    def left_behind(self) -> list[Path]:
        """Whatever of any file's contents lies in the cache."""
        return [path for path in self.home.glob("hub/*/blobs/*") if path.stat().st_size]


@pytest.fixture
def client(tmp_path: Path) -> Iterator[Client]:
    with serve() as hub:
        hub.repos["org/vae"] = Repo(
            {DEFAULT: WEIGHTS, "config.json": b"{}", "old/pytorch_model.pt": b"old", "any/weights.ckpt": b"any"},
            revisions=["main", "v1", "refs/pr/1"],
        )
        hub.repos["org/pipeline"] = Repo({"vae/" + DEFAULT: WEIGHTS, "vae/config.json": b"{}"})
        hub.repos["org/other"] = Repo({"readme.md": b"hello"})
        hub.repos["org/secret"] = Repo({DEFAULT: WEIGHTS}, token="hf_key", stored_apart=True)
        hub.repos["org/gated"] = Repo({DEFAULT: WEIGHTS}, token="hf_key", gated=True)
        yield Client(hub, tmp_path / "home")


@pytest.mark.parametrize(
    "name",
    [
        *("hunyuanvideo", "org/name", "Org-1/na.me_2", "org/name@v1", "org/name/vae", "org/name/a b/c.pt"),
        *("org/name/vae/weights.safetensors@refs/pr/1", "models/mine/weights.pt"),
    ],
)
def test_names_of_the_hub_are_told_by_their_form(name: str) -> None:
    assert hub_module.is_hub_name(name)


@pytest.mark.parametrize(
    "name",
    [
        *("", "tiny", "name", "weights.safetensors", "folder/weights.pt", "folder/weights.ckpt@v1", "./org/name"),
        *("/org/name", "~/org/name", "../org/name", "org/name/", "org/name/../x", "org//name", "org/na--me"),
        *("org/name.git", "org/name@", "org/name@../x", "org/name/a\nb", "org\\name", "http://org/name", "örg/name"),
        *("-org/name", "org/" + "n" * 97, "hunyuanvideo@v1"),
    ],
)
def test_other_names_are_not_of_the_hub(name: str) -> None:
    assert not hub_module.is_hub_name(name)


def test_weights_are_fetched_once_with_their_config(client: Client) -> None:
    first = client.find("org/vae")
    assert first.path.read_bytes() == WEIGHTS
    assert first.path.is_relative_to(client.home)
    assert first.path.with_name("config.json").read_bytes() == b"{}"
    assert first.notes == [f"org/vae: fetching {DEFAULT} (0 MB) from {client.hub.url}/org/vae"]
    client.hub.requests.clear()
    again = client.find("org/vae")
    assert (again.path, again.notes, client.hub.requests) == (first.path, [], [])


def test_that_there_is_no_config_is_remembered(client: Client) -> None:
    client.find("org/vae/any/weights.ckpt")
    client.hub.requests.clear()
    assert client.find("org/vae/any/weights.ckpt").path.read_bytes() == b"any"
    assert client.hub.requests == []


def test_offline_what_was_fetched_is_used_and_the_rest_is_an_error(client: Client) -> None:
    fetched = client.find("org/vae")
    client.hub.requests.clear()
    assert client.find("org/vae", HF_HUB_OFFLINE="1").path == fetched.path
    assert client.find("org/vae", refresh=True, HF_HUB_OFFLINE="1").path == fetched.path
    missing = client.find("org/pipeline", HF_HUB_OFFLINE="1")
    assert missing.error.startswith("org/pipeline: not in the Hugging Face cache, and HF_HUB_OFFLINE is set; unset")
    assert (missing.notes, client.hub.requests) == ([], [])


@pytest.mark.parametrize(
    ("repo_name", "rest", "file"),
    [
        ("org/pipeline", "", "vae/" + DEFAULT),
        ("org/pipeline", "/vae", "vae/" + DEFAULT),
        ("org/vae", "/old", "old/pytorch_model.pt"),
        ("org/vae", "/any/weights.ckpt", "any/weights.ckpt"),
        ("org/vae", "@v1", DEFAULT),
        ("org/vae", "/old@refs/pr/1", "old/pytorch_model.pt"),
    ],
)
def test_a_name_may_have_a_path_and_a_revision(client: Client, repo_name: str, rest: str, file: str) -> None:
    found = client.find(repo_name + rest)
    assert found.error == ""
    repo = client.hub.repos[repo_name]
    assert found.path.read_bytes() == repo.files[file]
    assert str(found.path).endswith(f"{repo.commit}/{file}")
    assert found.path.with_name("config.json").exists() == (str(Path(file).with_name("config.json")) in repo.files)


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("org/none", "there is no org/none at http://127.0.0.1:"),
        ("org/secret", "or it is private; check the name, or set HF_TOKEN"),
        ("org/gated", "access to org/gated is restricted; ask for it at http://127.0.0.1:"),
        ("org/vae@v9", "org/vae has no revision v9; look for one at"),
        ("org/vae/no.pt", "org/vae has no such file; look for its name at"),
        ("org/other", f"org/other has none of {DEFAULT}, pytorch_model.pt, vae/{DEFAULT}, vae/pytorch_model.pt; name"),
        ("org/vae/any", f"org/vae has none of any/{DEFAULT}, any/pytorch_model.pt; name the file"),
        ("weights.pt", "not a name on the hub; give org/name"),
    ],
)
def test_what_the_hub_does_not_give_is_one_line(client: Client, name: str, reason: str) -> None:
    found = client.find(name)
    assert found.error.startswith(f"{name}: ")
    assert reason in found.error
    assert found.notes == []


def test_no_network_and_no_service_are_one_line_at_once(client: Client) -> None:
    refused = client.find("org/vae", HF_ENDPOINT="http://127.0.0.1:9")
    assert refused.error.startswith("org/vae: not fetched from http://127.0.0.1:9 (ConnectError: ")
    assert refused.error.endswith("; check the network, and try again")
    client.hub.down = True
    assert client.find("org/vae").error == f"org/vae: {client.hub.url} answers with status 503; try again later"
    client.hub.down = False
    elsewhere = client.find("org/vae", HF_ENDPOINT=f"{client.hub.url}/apart")
    assert f"{client.hub.url}/apart is no Hugging Face hub; see to HF_ENDPOINT" in elsewhere.error


def test_a_short_download_leaves_nothing_and_the_next_one_succeeds(client: Client) -> None:
    client.hub.faults = ["short"]
    short = client.find("org/vae")
    assert "Consistency check failed: file should be of size 100000 but has size 50000" in short.error
    assert client.left_behind() == []
    assert "HF_HUB_OFFLINE" in client.find("org/vae", HF_HUB_OFFLINE="1").error
    assert client.find("org/vae").path.read_bytes() == WEIGHTS


def test_a_download_that_is_cut_goes_on_or_leaves_nothing(client: Client) -> None:
    client.hub.faults = ["cut", "error"]
    assert client.find("org/vae").error == f"org/vae: {client.hub.url} answers with status 500; try again later"
    assert client.left_behind() == []
    client.hub.faults = ["cut"]
    found = client.find("org/vae")
    assert found.path.read_bytes() == WEIGHTS
    assert any("Trying to resume download" in line for line in found.details)


def test_a_known_file_is_verified_on_every_use(client: Client) -> None:
    known = {f"org/vae/{DEFAULT}": hashlib.sha256(WEIGHTS).hexdigest()}
    right = client.find("org/vae", known=known)
    assert right.details[-1] == f"org/vae: {right.path}, sha256 {known[f'org/vae/{DEFAULT}']} as published"
    right.path.resolve().write_bytes(WEIGHTS[:-1] + b"x")
    damaged = client.find("org/vae", known=known)
    assert "org/vae: the file is damaged (its sha256 is" in damaged.error
    assert f"delete {right.path.resolve()} and fetch it again with 'vae3d models pull org/vae'" in damaged.error
    right.path.resolve().unlink()
    repaired = client.find("org/vae", refresh=True, known=known)
    assert (repaired.path, repaired.error) == (right.path, "")
    assert "not checked" in client.find("org/vae@v1", known=known).details[-1]


def test_wrong_contents_of_the_right_size_are_refused(client: Client) -> None:
    known = {f"org/vae/{DEFAULT}": hashlib.sha256(WEIGHTS[:-1] + b"x").hexdigest()}
    assert "the file is damaged" in client.find("org/vae", known=known).error


def test_a_token_goes_to_the_hub_and_not_to_where_it_stores_files(client: Client) -> None:
    found = client.find("org/secret", HF_TOKEN="hf_key")
    assert found.path.read_bytes() == WEIGHTS
    to_hub = [token for request, token in client.hub.requests if " /org/" in request]
    to_storage = [token for request, token in client.hub.requests if " /apart/" in request]
    assert (set(to_hub), to_storage) == ({"Bearer hf_key"}, [None])
    assert client.find("org/gated", HF_TOKEN="hf_key").error == ""


def test_refreshing_fetches_what_is_new_and_only_that(client: Client) -> None:
    first = client.find("org/vae")
    client.hub.repos["org/vae"].files["readme.md"] = b"a new commit"
    assert client.find("org/vae").path == first.path
    moved = client.find("org/vae", refresh=True)
    assert (moved.notes, moved.path == first.path, moved.path.read_bytes()) == ([], False, WEIGHTS)
    client.hub.repos["org/vae"].files[DEFAULT] = b"new"
    new = client.find("org/vae", refresh=True)
    assert (len(new.notes), new.path.read_bytes()) == (1, b"new")
    assert client.find("org/vae", HF_HUB_OFFLINE="1").path == new.path


def test_weights_that_another_tool_fetched_without_a_config_are_used(client: Client) -> None:
    found = client.find("org/vae")
    found.path.with_name("config.json").unlink()
    offline = client.find("org/vae", HF_HUB_OFFLINE="1")
    assert (offline.path, offline.error) == (found.path, "")
    assert offline.notes[0].startswith("org/vae: its config.json is unknown: not in the Hugging Face cache")
    assert client.find("org/vae").path.with_name("config.json").exists()


def test_a_cache_without_room_is_an_error_before_the_download(client: Client) -> None:
    client.hub.repos["org/vae"].claimed_size = 10**17
    full = client.find("org/vae")
    assert full.error.startswith(f"org/vae: no room for it in {client.home}/hub; free some, or set HF_HOME")
    assert not any("GET" in request for request, _ in client.hub.requests)
    client.home.joinpath("file").write_text("no folder")
    assert "Not a directory in the cache" in client.find("org/vae", HF_HOME=f"{client.home}/file").error


def test_models_lists_what_is_known_and_where_it_lies(client: Client) -> None:
    table = client.run()
    assert (table.returncode, table.stderr) == (0, "")
    for word in ("tiny.safetensors", "Apache-2.0", "vae3d models pull hunyuanvideo", "Tencent Hunyuan Community"):
        assert word in table.stdout
    client.hub.repos["diffusers/HunyuanVideo-vae"] = Repo({DEFAULT: WEIGHTS})
    client.find("hunyuanvideo")
    tiny, hunyuanvideo = map(json.loads, client.run("--json").stdout.splitlines())
    assert (tiny["name"], Path(tiny["path"]).stat().st_size) == ("tiny", tiny["bytes"])
    assert Path(hunyuanvideo["path"]).read_bytes() == WEIGHTS
    assert hunyuanvideo["bytes"] == len(WEIGHTS)


def test_pull_prints_the_path_and_names_the_licence_once(client: Client) -> None:
    name = "hunyuanvideo-community/HunyuanVideo"
    client.hub.repos[name] = Repo({"vae/" + DEFAULT: WEIGHTS})
    pulled = client.run("pull", name)
    assert pulled.returncode == 0, pulled.stderr
    assert Path(pulled.stdout.removesuffix("\n")).read_bytes() == WEIGHTS
    (note,) = pulled.stderr.splitlines()
    assert note.startswith(f"vae3d: note: {name}: fetching vae/{DEFAULT}")
    assert "Tencent Hunyuan Community License Agreement" in note
    again = client.run("pull", name, "--json", "-v")
    assert json.loads(again.stdout) == {"name": name, "path": pulled.stdout.removesuffix("\n")}
    assert "note" not in again.stderr
    assert "sha256" in again.stderr


def test_pull_refuses_a_hunyuanvideo_that_is_not_what_was_published(client: Client) -> None:
    client.hub.repos["diffusers/HunyuanVideo-vae"] = Repo({DEFAULT: WEIGHTS})
    pulled = client.run("pull", "hunyuanvideo", "-q")
    assert (pulled.returncode, pulled.stdout) == (1, "")
    (line,) = pulled.stderr.splitlines()
    assert line.startswith("vae3d: error: hunyuanvideo: the file is damaged")


def test_pull_needs_a_name_that_can_be_fetched(client: Client) -> None:
    tiny = client.run("pull", "tiny")
    assert (tiny.returncode, Path(tiny.stdout.strip()).name) == (0, "tiny.safetensors")
    assert "inside the package" in tiny.stderr
    wrong = client.run("pull", "./weights.pt")
    assert (wrong.returncode, wrong.stdout, wrong.stderr.count("\n")) == (2, "", 1)
    assert client.run("--json", "pull", "tiny").returncode == 2
    assert client.hub.requests == []


@pytest.mark.parametrize(("options", "shown"), [((), True), (("-q",), False), (("--no-progress",), False)])
def test_a_progress_bar_shows_on_a_terminal_unless_unwanted(
    client: Client, options: tuple[str, ...], shown: bool
) -> None:
    terminal, stderr = pty.openpty()
    termios.tcsetwinsize(stderr, (24, 80))
    try:
        assert client.run("pull", "org/vae", *options, stderr=stderr).returncode == 0
        os.write(stderr, b"end")
        assert (b"100%" in os.read(terminal, 1 << 16)) == shown
    finally:
        os.close(terminal)
        os.close(stderr)


def test_a_model_on_the_hub_encodes_and_decodes(client: Client, tmp_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        reference(SMALL).save_pretrained(tmp_path / "model")
    client.hub.repos["org/toy"] = Repo({path.name: path.read_bytes() for path in (tmp_path / "model").iterdir()})
    clip = write_clip(tmp_path / "clip.mp4", 2)

    def run(*arguments: object, **settings: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "vae3d_cli", *map(str, arguments)]
        environment = client.environment(**settings)
        return subprocess.run(
            command, capture_output=True, text=True, check=False, timeout=PATIENCE_SECONDS, env=environment
        )

    encoded = run("encode", clip, "-m", "org/toy", "--json")
    assert encoded.returncode == 0, encoded.stderr
    assert json.loads(encoded.stdout)["model"] == "org/toy"
    assert encoded.stderr.count("fetching") == 1
    latents = clip.with_suffix(".safetensors")
    assert (
        f"was encoded with org/toy; to use it, run vae3d decode {latents} -m org/toy\n" in run("decode", latents).stderr
    )
    offline = run("decode", latents, "-m", "org/toy", HF_HUB_OFFLINE="1")
    assert (offline.returncode, offline.stderr) == (0, "")
