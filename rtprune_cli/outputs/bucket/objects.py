"""The objects below a URL, by their names from there. A request is tried three times where what is wrong may pass."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from threading import Lock
from typing import Any

from rtprune_cli import remote
from rtprune_cli.remote import PACKAGES, tried

AT_ONCE = 16  # requests
BATCH = 512  # files that are fetched together

_TIMES = ("LastModified", "last_modified", "updated", "mtime", "created")
_VERSIONS = ("ETag", "etag", "generation", *_TIMES)


@dataclass(frozen=True)
class Stored:
    """An object. ``version`` changes with its content and is its MD5 where the server says that; ``modified``, in
    seconds of the server's clock, is None where it does not say."""

    size: int
    version: str
    modified: float | None


class Objects:
    """
    Raises:
        RemoteError: from each method: it cannot be done.
    """

    def __init__(self, url: str) -> None:
        """
        Raises:
            UsageError: no library is known for such URLs.
            EnvironmentFault: the library is not installed.
        """
        self._system, path = remote.filesystem(url)
        self._root = path.rstrip("/")
        self._has_folders = url.partition("://")[0].lower() not in PACKAGES  # which must be made
        self._made: set[str] = set()
        self._lock = Lock()
        self._threads = ThreadPoolExecutor(AT_ONCE, "bucket")

    def close(self) -> None:
        """End the threads; no request goes on."""
        self._threads.shutdown()

    def each(self, work: Callable[..., object], *arguments: Sequence[Any]) -> None:
        """Do ``work`` with each of the arguments, many at a time."""
        for _ in self._threads.map(work, *arguments):
            pass

    def listed(self, folder: str) -> dict[str, Stored]:
        """All objects below a folder; none where it is not there."""
        path = self._path(folder)

        def find() -> Mapping[str, Mapping[str, Any]]:
            self._system.invalidate_cache()
            try:
                found: Mapping[str, Mapping[str, Any]] = self._system.find(path, detail=True)
            except FileNotFoundError:
                return {}
            return found

        start = f"{self._root}/"
        return {name[len(start) :]: _stored(info) for name, info in tried(find).items() if name.startswith(f"{path}/")}

    def stat(self, name: str) -> Stored | None:
        """An object; None where there is none."""

        def info() -> Stored | None:
            self._system.invalidate_cache()
            try:
                return _stored(self._system.info(self._path(name)))
            except FileNotFoundError:
                return None

        return tried(info)

    def is_empty(self, *, but: str) -> bool:
        """Whether there is nothing but the folder ``but``."""

        def names() -> list[str]:
            self._system.invalidate_cache()
            try:
                return list(self._system.ls(self._root, detail=False))
            except FileNotFoundError:
                return []

        return {name.rstrip("/") for name in tried(names)} <= {self._root, self._path(but)}

    def put(self, file: Path, name: str) -> None:
        """Have a file there, whole or not at all, in the place of what was there."""
        self._make_folder(name)
        tried(partial(self._system.put_file, str(file), self._path(name)))

    def write(self, name: str, data: bytes) -> None:
        """The same with the content of a file."""
        self._make_folder(name)
        tried(partial(self._system.pipe_file, self._path(name), data))

    def create(self, name: str, data: bytes) -> bool:
        """Have an object there unless there is one; whether it is ours. Of many who try at once, one has it."""
        self._make_folder(name)

        def create() -> bool:
            try:
                self._system.pipe_file(self._path(name), data, mode="create")
            except FileExistsError:
                # Where an answer was lost, the library has tried again, and meets what it wrote itself.
                return bool(self._system.cat_file(self._path(name)) == data)
            return True

        return tried(create)

    def read(self, name: str) -> bytes | None:
        """An object; None where there is none."""

        def read() -> bytes | None:
            try:
                data: bytes = self._system.cat_file(self._path(name))
            except FileNotFoundError:
                return None
            return data

        return tried(read)

    def fetch(self, files: Mapping[str, Path]) -> None:
        """Copy objects to files, many at a time. A kill may leave one torn."""
        for path in {path.parent for path in files.values()}:
            path.mkdir(parents=True, exist_ok=True)
        names = list(files)
        for at in range(0, len(names), BATCH):
            some = names[at : at + BATCH]
            places = [str(files[name]) for name in some]
            tried(partial(self._system.get, list(map(self._path, some)), places))

    def fetch_there(self, files: Mapping[str, Path]) -> None:
        """The same with those that are there."""

        def fetch(name: str, path: Path) -> None:
            data = self.read(name)
            if data is not None:
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(data)

        self.each(fetch, list(files), list(files.values()))

    def remove(self, name: str) -> None:
        """Remove an object; it may be gone already."""

        def remove() -> None:
            try:
                self._system.rm_file(self._path(name))
            except FileNotFoundError:
                return

        tried(remove)

    def _path(self, name: str) -> str:
        return f"{self._root}/{name}".rstrip("/")

    def _make_folder(self, name: str) -> None:
        folder = name.rpartition("/")[0]
        if not self._has_folders or folder in self._made:
            return
        tried(partial(self._system.makedirs, self._path(folder), exist_ok=True))
        with self._lock:
            self._made.add(folder)


def _stored(info: Mapping[str, Any]) -> Stored:
    size = int(info.get("size") or 0)
    modified = next((_seconds(info[name]) for name in _TIMES if info.get(name)), None)
    return Stored(size, _version(info) or f"{size} bytes", modified)


def _version(info: Mapping[str, Any]) -> str | None:
    with_md5 = info.get("md5Hash")  # of GCS, in base 64
    if isinstance(with_md5, str):
        try:
            return base64.b64decode(with_md5).hex()
        except binascii.Error:
            return with_md5
    return next((str(info[name]).strip('"') for name in _VERSIONS if info.get(name)), None)


def _seconds(value: Any) -> float | None:
    if isinstance(value, str):
        try:
            value = datetime.fromisoformat(value)
        except ValueError:
            return None
    if isinstance(value, datetime):
        return (value if value.tzinfo else value.replace(tzinfo=UTC)).timestamp()
    return float(value) if isinstance(value, (int, float)) else None
