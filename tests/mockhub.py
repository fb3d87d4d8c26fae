"""A Hugging Face hub on loopback: what its library asks for, and ways to fail."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote, urlsplit

import pytest


class MockHub:
    """Repositories by their path, "datasets/a/b" or "a/b": revision -> commit, commit -> files.

    ``got``: paths of files that were sent, whole or in part, in order. ``cuts``: path -> how often the connection ends
    in the middle of that file. ``refused``: repository -> (status, the hub's name of the error).
    """

    def __init__(self) -> None:
        self.refs: dict[str, dict[str, str]] = {}
        self.files: dict[tuple[str, str], dict[str, bytes]] = {}
        self.got: list[str] = []
        self.cuts: dict[str, int] = {}
        self.refused: dict[str, tuple[int, str]] = {}

    def add(self, repository: str, commit: str, files: dict[str, bytes], *refs: str) -> None:
        """A revision under its commit and other names; without a slash before the owner, a model."""
        self.files[repository, commit] = files
        self.refs.setdefault(repository, {}).update(dict.fromkeys((*refs, commit), commit))

    def find(self, repository: str, revision: str) -> str:
        """The commit; LookupError holds status and the hub's name of what is wrong."""
        if repository in self.refused:
            raise LookupError(*self.refused[repository])
        if repository not in self.refs:
            raise LookupError(401, "RepoNotFound")
        if revision not in self.refs[repository]:
            raise LookupError(404, "RevisionNotFound")
        return self.refs[repository][revision]


@contextmanager
def serving(patch: pytest.MonkeyPatch) -> Iterator[MockHub]:
    """The hub, at which the library asks meanwhile."""
    hub = MockHub()

    class Handler(_Handler):
        state = hub

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        address = f"http://127.0.0.1:{server.server_port}"
        patch.setattr("huggingface_hub.constants.ENDPOINT", address)
        patch.setattr(
            "huggingface_hub.constants.HUGGINGFACE_CO_URL_TEMPLATE",
            address + "/{repo_id}/resolve/{revision}/{filename}",
        )
        patch.setenv("NO_PROXY", "127.0.0.1")
        try:
            yield hub
        finally:
            server.shutdown()
            thread.join()


class _Handler(BaseHTTPRequestHandler):
    state: MockHub

    def do_HEAD(self) -> None:
        self._answer(with_body=False)

    def do_GET(self) -> None:
        self._answer(with_body=True)

    def log_message(self, *_: Any) -> None:
        pass

    def _answer(self, *, with_body: bool) -> None:
        path = unquote(urlsplit(self.path).path).strip("/")
        try:
            if path.startswith("api/"):
                self._send(json.dumps(self._facts(path.removeprefix("api/").removeprefix("models/"))).encode())
            else:
                repository, _, rest = path.partition("/resolve/")
                revision, _, name = rest.partition("/")
                self._file(self.state.find(repository, revision), repository, name, with_body)
        except LookupError as error:
            status, code = error.args
            self.send_response(status)
            self.send_header("X-Error-Code", code)
            self.send_header("Content-Length", "0")
            self.end_headers()

    def _facts(self, path: str) -> Any:
        """Of a repository at a revision, or the list of its files."""
        for mark in ("/tree/", "/revision/", ""):
            repository, found, revision = path.partition(mark) if mark else (path, "", "main")
            if found or not mark:
                break
        commit = self.state.find(repository, revision)
        files = self.state.files[repository, commit]
        if found == "/tree/":
            return [{"type": "file", "path": n, "size": len(d), "oid": _etag(d)} for n, d in files.items()]
        siblings = [{"rfilename": n, "size": len(d), "blobId": _etag(d)} for n, d in files.items()]
        return {"id": repository.removeprefix("datasets/"), "sha": commit, "siblings": siblings, "private": False}

    def _file(self, commit: str, repository: str, name: str, with_body: bool) -> None:
        data = self.state.files[repository, commit].get(name)
        if data is None:
            raise LookupError(404, "EntryNotFound")
        start = int(self.headers.get("Range", "bytes=0-").removeprefix("bytes=").rstrip("-"))
        cut = with_body and self.state.cuts.get(name, 0) > 0
        if cut:
            self.state.cuts[name] -= 1
        if with_body:
            self.state.got.append(name)
        headers = {"ETag": f'"{_etag(data)}"', "X-Repo-Commit": commit}
        if start:
            headers["Content-Range"] = f"bytes {start}-{len(data) - 1}/{len(data)}"
        self._send(data[start:] if with_body else data, headers, 206 if start else 200, with_body=with_body, cut=cut)

    def _send(
        self,
        data: bytes,
        headers: dict[str, str] | None = None,
        status: int = 200,
        *,
        with_body: bool = True,
        cut: bool = False,
    ) -> None:
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if with_body:
            self.wfile.write(data[: len(data) // 2] if cut else data)


def _etag(data: bytes) -> str:
    return hashlib.sha1(data).hexdigest()
