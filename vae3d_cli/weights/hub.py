"""Weights from the Hugging Face hub, in its cache.

`huggingface_hub` is imported where it is used: it takes time, and reads its environment when it is imported.
"""

import errno
import hashlib
import logging
import re
import warnings
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from vae3d_cli.errors import WeightsError

logger = logging.getLogger(__name__)

HUNYUANVIDEO = "hunyuanvideo"
HUNYUANVIDEO_REPO = "diffusers/HunyuanVideo-vae"
SUFFIXES = (".safetensors", ".pt", ".pth", ".ckpt", ".bin")
HUNYUANVIDEO_REPOS = {
    HUNYUANVIDEO_REPO,
    "hunyuanvideo-community/HunyuanVideo",
    "tencent/HunyuanVideo",
    "Kijai/HunyuanVideo_comfy",
    "Comfy-Org/HunyuanVideo_repackaged",
}
HUNYUANVIDEO_LICENCE = (
    "Tencent Hunyuan Community License Agreement, which excludes some territories "
    "(https://github.com/Tencent/HunyuanVideo/blob/main/LICENSE.txt)"
)
# A damaged file of the right size loads without a complaint, and gives damaged pictures.
KNOWN_SHA256 = {
    f"{HUNYUANVIDEO_REPO}/diffusion_pytorch_model.safetensors": (
        "7c68a6295f9034a88225fbafb1f3258291a08d57a1fdb938233fa57b1b8f4883"
    ),
    "tencent/HunyuanVideo/hunyuan-video-t2v-720p/vae/pytorch_model.pt": (
        "95d1fc707c1421ccd88ea542838ab4c5d45a5babb48205bac9ce0985525f9818"
    ),
    "Kijai/HunyuanVideo_comfy/hunyuan_video_vae_fp32.safetensors": (
        "7c68a6295f9034a88225fbafb1f3258291a08d57a1fdb938233fa57b1b8f4883"
    ),
    "Kijai/HunyuanVideo_comfy/hunyuan_video_vae_bf16.safetensors": (
        "4ffef191d47b661d48f356ed9ed7cf391509af5f4c000ba07a75dcdc4c03c501"
    ),
}
_DEFAULT_REVISION = "main"
_STANDARD_FILES = ("diffusion_pytorch_model.safetensors", "pytorch_model.pt")
_REPO_PART = re.compile(r"\w([\w.-]{0,94}\w)?", re.ASCII)
_REVISION = re.compile(r"[\w.-]+(/[\w.-]+)*", re.ASCII)


@dataclass(frozen=True)
class KnownModel:
    """A model that has a name of its own; `path` is where it lies, `None` before it is fetched."""

    name: str
    source: str
    path: Path | None
    licence: str

    @property
    def num_bytes(self) -> int | None:
        """The size of the weights file, once it is there."""
        return None if self.path is None else self.path.stat().st_size


@dataclass(frozen=True)
class _HubName:
    """A name taken apart: `text` is what the user gave, `path` a file or a folder in the repository (or empty)."""

    text: str
    repo: str
    path: str
    revision: str

    @property
    def files(self) -> list[str]:
        """The files that may be meant, the first one that is there wins."""
        if self.path.endswith(SUFFIXES):
            return [self.path]
        folders = [self.path] if self.path else ["", "vae"]
        return [str(PurePosixPath(folder, file)) for folder in folders for file in _STANDARD_FILES]


def is_hub_name(name: str) -> bool:
    """Whether this is `hunyuanvideo`, or has the form `org/name[/path/in/repo][@revision]`."""
    return _parse(name) is not None


def find_in_hub(name: str, *, refresh: bool = False) -> Path:
    """The path, in the Hugging Face cache, of a weights file; its `config.json`, if it has one, lies beside it.

    What is not in the cache is fetched. With `refresh` the hub is asked whether it has a newer one, unless
    `HF_HUB_OFFLINE` forbids that.

    Raises:
        WeightsError: It cannot be found or fetched, or it is damaged.
    """
    source = _parse(name)
    if source is None:
        raise WeightsError(f"{name}: not a name on the hub; give org/name, org/name/path/in/repo or org/name@revision")
    from huggingface_hub import constants

    try:
        found = _find_cached(source) if not refresh or constants.HF_HUB_OFFLINE else None
        path, file = found or _fetch(source)
        _fetch_config(source, path, file)
        _verify(source, path, file)
    except WeightsError:
        raise
    except Exception as error:  # errors of its HTTP client come through, and that client changes with the version
        raise WeightsError(f"{name}: {_explain(source, error)}") from error
    return path


def known_models() -> list[KnownModel]:
    """The models that have a name of their own, and where they lie.

    Raises:
        WeightsError: The cache cannot be read.
    """
    source = _parse(HUNYUANVIDEO)
    assert source is not None
    try:
        found = _find_cached(source)
    except OSError as error:
        raise WeightsError(f"{HUNYUANVIDEO}: {_explain(source, error)}") from error
    return [
        KnownModel("tiny", "inside the package", Path(__file__).with_name("tiny.safetensors"), "Apache-2.0"),
        KnownModel(HUNYUANVIDEO, source.repo, found[0] if found else None, HUNYUANVIDEO_LICENCE),
    ]


def show_progress(wanted: bool) -> None:
    """Have `huggingface_hub` draw bars, on a terminal, or nothing; its log lines join ours, for `-v`.

    `HF_HUB_DISABLE_PROGRESS_BARS` comes before `wanted`, as everywhere in that library.
    """
    from huggingface_hub import constants
    from huggingface_hub.utils.logging import get_logger
    from huggingface_hub.utils.tqdm import disable_progress_bars, enable_progress_bars

    if constants.HF_HUB_DISABLE_PROGRESS_BARS is None:
        (enable_progress_bars if wanted else disable_progress_bars)()
    get_logger().handlers = [_Relay()]


class _Relay(logging.Handler):
    """Tells our own log what another library would print on standard error."""

    def emit(self, record: logging.LogRecord) -> None:
        logger.info("%s", " ".join(record.getMessage().split()))


def _parse(name: str) -> _HubName | None:
    """The parts of a name on the hub; `None` for what can be none."""
    text, at, revision = (HUNYUANVIDEO_REPO if name == HUNYUANVIDEO else name).partition("@")
    org, _, rest = text.partition("/")
    repo, slash, path = rest.partition("/")
    if not all(_REPO_PART.fullmatch(part) and "--" not in part and ".." not in part for part in (org, repo)):
        return None
    if repo.endswith(".git") or (not slash and repo.endswith(SUFFIXES)):
        return None
    if slash and (not path.isprintable() or "\\" in path or not {"", ".", ".."}.isdisjoint(path.split("/"))):
        return None
    if at and (not _REVISION.fullmatch(revision) or ".." in revision):
        return None
    return _HubName(name, f"{org}/{repo}", path, revision or _DEFAULT_REVISION)


def _find_cached(source: _HubName) -> tuple[Path, str] | None:
    """The first of the files that is in the cache, without asking the network."""
    from huggingface_hub import try_to_load_from_cache

    for file in source.files:
        path = try_to_load_from_cache(source.repo, file, revision=source.revision)
        if isinstance(path, str):
            return Path(path), file
    return None


def _fetch(source: _HubName) -> tuple[Path, str]:
    """The first of the files that the hub has, once it is in the cache."""
    for file in source.files:
        if _is_on_hub(source, file, source.revision):
            return _download(source, file, source.revision, announce=True), file
    if source.files == [source.path]:
        raise WeightsError(f"{source.text}: {source.repo} has no such file; look for its name at {_page(source)}")
    raise WeightsError(
        f"{source.text}: {source.repo} has none of {', '.join(source.files)}; name the file that holds the weights, "
        f"as in {source.repo}/PATH/FILE.safetensors; its files are at {_page(source)}"
    )


def _fetch_config(source: _HubName, weights: Path, file: str) -> None:
    """Have the `config.json` of the weights beside them, from the same commit, if the repository has one."""
    from huggingface_hub import try_to_load_from_cache
    from huggingface_hub.errors import RemoteEntryNotFoundError

    config = str(PurePosixPath(file).with_name("config.json"))
    commit = weights.parents[file.count("/")].name
    if try_to_load_from_cache(source.repo, config, revision=commit) is not None:  # there, or known not to be
        return
    try:
        _is_on_hub(source, config, commit)
        _download(source, config, commit)  # also where there is none: the cache remembers that
    except RemoteEntryNotFoundError:
        pass
    except Exception as error:
        # Another tool fetched the weights alone. Most need no config, so this is no reason to refuse them.
        logger.warning("%s: its %s is unknown: %s", source.text, config, _explain(source, error))


def _is_on_hub(source: _HubName, file: str, revision: str) -> bool:
    """Whether the repository has that file; fails at once where a download would try again for half a minute."""
    from huggingface_hub import get_hf_file_metadata, hf_hub_url
    from huggingface_hub.errors import RemoteEntryNotFoundError

    try:
        metadata = get_hf_file_metadata(hf_hub_url(source.repo, file, revision=revision))
    except RemoteEntryNotFoundError:
        return False
    if metadata.commit_hash is None or metadata.etag is None:
        raise WeightsError(f"{source.text}: {_endpoint()} is no Hugging Face hub; see to HF_ENDPOINT and your proxy")
    return True


def _download(source: _HubName, file: str, revision: str, *, announce: bool = False) -> Path:
    """A file in the cache, fetched if need be."""
    from huggingface_hub import hf_hub_download

    if announce:
        plan = hf_hub_download(source.repo, file, revision=revision, dry_run=True)
        if plan.will_download:
            size = f" ({plan.file_size / 1e6:.0f} MB)" if plan.file_size else ""
            terms = f"; its licence: {HUNYUANVIDEO_LICENCE}" if source.repo in HUNYUANVIDEO_REPOS else ""
            logger.warning("%s: fetching %s%s from %s/%s%s", source.text, file, size, _endpoint(), source.repo, terms)
    with warnings.catch_warnings():
        warnings.filterwarnings("error", "Not enough free disk space")  # rather than to fail after a gigabyte
        return Path(hf_hub_download(source.repo, file, revision=revision))


def _verify(source: _HubName, path: Path, file: str) -> None:
    """Compare the file with what is known to have been published."""
    # Another revision may rightly hold another file.
    expected = KNOWN_SHA256.get(f"{source.repo}/{file}") if source.revision == _DEFAULT_REVISION else None
    if expected is None:
        logger.info("%s: %s; what its sha256 should be is not known, so it is not checked", source.text, path)
        return
    with path.open("rb") as weights:
        digest = hashlib.file_digest(weights, "sha256").hexdigest()
    if digest != expected:
        # The path in the cache is a link, and what it leads to would be linked to again.
        raise WeightsError(
            f"{source.text}: the file is damaged (its sha256 is {digest}, not {expected}); delete {path.resolve()} "
            f"and fetch it again with 'vae3d models pull {source.text}'"
        )
    logger.info("%s: %s, sha256 %s as published", source.text, path, digest)


def _explain(source: _HubName, error: Exception) -> str:
    """What went wrong in `huggingface_hub`, and what to do."""
    from huggingface_hub import constants, errors

    status = getattr(getattr(error, "response", None), "status_code", None)
    if isinstance(error, errors.OfflineModeIsEnabled):
        return "not in the Hugging Face cache, and HF_HUB_OFFLINE is set; unset it to fetch it once"
    if isinstance(error, errors.GatedRepoError):
        return f"access to {source.repo} is restricted; ask for it at {_page(source)}, then set HF_TOKEN"
    if isinstance(error, errors.RevisionNotFoundError):
        return f"{source.repo} has no revision {source.revision}; look for one at {_page(source)}"
    if isinstance(error, errors.RepositoryNotFoundError) or status in {401, 403}:
        return (
            f"no file of that name is here, and there is no {source.repo} at {_endpoint()}, or it is private; check "
            "the name, or set HF_TOKEN"
        )
    if status is not None:
        return f"{_endpoint()} answers with status {status}; try again later"
    number = error.errno if isinstance(error, OSError) else None
    if isinstance(error, UserWarning) or number in {errno.ENOSPC, errno.EDQUOT}:
        return f"no room for it in {constants.HF_HUB_CACHE}; free some, or set HF_HOME to a folder with more"
    if isinstance(error, OSError) and number is not None:
        return f"{error.strerror} in the cache {constants.HF_HUB_CACHE}; mend it, or set HF_HOME to another folder"
    reason = str(error).strip().partition("\n")[0]  # more lines are advice to users of that library
    here = "there is no such file here, and it is " if source.path.endswith(SUFFIXES) else ""
    return f"{here}not fetched from {_endpoint()} ({type(error).__name__}: {reason}); check the network, and try again"


def _endpoint() -> str:
    from huggingface_hub import constants

    return constants.ENDPOINT


def _page(source: _HubName) -> str:
    return f"{_endpoint()}/{source.repo}"
