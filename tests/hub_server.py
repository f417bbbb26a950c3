"""A hub on loopback: the part of its HTTP interface that fetching a file takes."""

import hashlib
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote


@dataclass
class Repo:
    """Files by path, the same at every revision.

    `stored_apart` redirects downloads to another host, as the hub does with large files; `claimed_size` is a lie.
    """

    files: dict[str, bytes]
    revisions: list[str] = field(default_factory=lambda: ["main"])
    token: str | None = None
    gated: bool = False
    stored_apart: bool = False
    claimed_size: int | None = None

    @property
    def commit(self) -> str:
        return hashlib.sha1(repr(sorted(self.files.items())).encode()).hexdigest()


@dataclass
class Hub:
    """Repositories by name, every request (`METHOD /path`) with its token, and what is to go wrong with downloads.

    Each fault is used up by one download: `cut` closes the connection half-way, `short` sends half and calls it whole,
    `error` is a server error.
    """

    repos: dict[str, Repo] = field(default_factory=dict)
    requests: list[tuple[str, str | None]] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)
    down: bool = False
    port: int = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"


@contextmanager
def serve() -> Iterator[Hub]:
    """A hub that answers until the block ends."""
    served = Hub()

    class Handler(_Handler):
        hub = served

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        served.port = server.server_address[1]
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield served
        finally:
            server.shutdown()
            thread.join()


class _Handler(BaseHTTPRequestHandler):
    hub: Hub

    def do_HEAD(self) -> None:
        self._answer()

    def do_GET(self) -> None:
        self._answer()

    def log_message(self, *_: object) -> None:
        pass

    def _answer(self) -> None:
        self.hub.requests.append((f"{self.command} {self.path}", self.headers["Authorization"]))
        if self.hub.down:
            return self._reply(503)
        if self.path.startswith("/apart/"):
            return self._send_file(*self._find(self.path.removeprefix("/apart")))
        if "/resolve/" not in self.path:
            return self._reply(404)
        name, _, place = self.path[1:].partition("/resolve/")
        repo = self.hub.repos.get(name)
        revision = unquote(place.partition("/")[0])
        if repo is None or (repo.token and self.headers["Authorization"] != f"Bearer {repo.token}"):
            return self._reply(401, {"X-Error-Code": "GatedRepo" if repo and repo.gated else "RepoNotFound"})
        if revision not in [*repo.revisions, repo.commit]:
            return self._reply(404, {"X-Error-Code": "RevisionNotFound"})
        if unquote(place.partition("/")[2]) not in repo.files:
            return self._reply(404, {"X-Error-Code": "EntryNotFound", "X-Repo-Commit": repo.commit})
        if repo.stored_apart:
            return self._redirect(*self._find(self.path))
        return self._send_file(*self._find(self.path))

    def _find(self, path: str) -> tuple[Repo, bytes]:
        name, _, place = path[1:].partition("/resolve/")
        repo = self.hub.repos[name]
        return repo, repo.files[unquote(place.partition("/")[2])]

    def _redirect(self, repo: Repo, data: bytes) -> None:
        etag = hashlib.sha256(data).hexdigest()
        linked = {"X-Linked-Etag": f'"{etag}"', "X-Linked-Size": str(len(data)), "X-Repo-Commit": repo.commit}
        self._reply(302, {**linked, "Location": f"http://localhost:{self.hub.port}/apart{self.path}"})

    def _send_file(self, repo: Repo, data: bytes) -> None:
        headers = {"ETag": f'"{hashlib.sha256(data).hexdigest()}"'}
        if not self.path.startswith("/apart/"):
            headers["X-Repo-Commit"] = repo.commit
        if self.command == "HEAD":
            return self._reply(200, headers, length=repo.claimed_size or len(data))
        fault = self.hub.faults.pop(0) if self.hub.faults else None
        if fault == "error":
            return self._reply(500)
        half = data[: len(data) // 2]
        if fault == "cut":
            return self._reply(200, headers, half, length=len(data))
        if fault == "short":
            return self._reply(200, headers, half)
        start = int((self.headers["Range"] or "bytes=0-").removeprefix("bytes=").removesuffix("-"))
        if start:
            headers["Content-Range"] = f"bytes {start}-{len(data) - 1}/{len(data)}"
        return self._reply(206 if start else 200, headers, data[start:])

    def _reply(
        self, status: int, headers: dict[str, str] | None = None, body: bytes = b"", length: int | None = None
    ) -> None:
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body) if length is None else length))
        self.end_headers()
        self.wfile.write(body)
