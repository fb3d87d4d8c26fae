"""Owns files at URLs, through fsspec: which library reads them, what is there, fetching, what of a URL may be shown.

Credentials are found by each library's own rules, as the environment and configuration of its cloud say.
"""

from __future__ import annotations

import errno
import logging
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path, PurePosixPath
from typing import Any, TypeVar
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

from rtprune_cli import stopping
from rtprune_cli.errors import EnvironmentFault, UsageError
from rtprune_cli.packages import pip_install
from rtprune_cli.records import RemoteFile

log = logging.getLogger("rtprune")

T = TypeVar("T")

PACKAGES = {
    "s3": "s3fs", "s3a": "s3fs",
    "gs": "gcsfs", "gcs": "gcsfs",
    "az": "adlfs", "abfs": "adlfs", "abfss": "adlfs",
    "http": "aiohttp", "https": "aiohttp",
}  # fmt: skip
SCHEMES = "s3, gs, az, https"  # as messages name them; fsspec knows more
WAITS = (1.0, 4.0)  # seconds before the second try of what may pass, and before the third

_URL = re.compile(r"([a-z][a-z0-9+.-]+)://", re.IGNORECASE)
_PASSWORD = re.compile(r"(?<=://)([^/@:]*):[^/@]*@")
# What of a query lets others in: signatures of S3, GCS and Azure, tokens. They have no place in reports.
_SECRET = re.compile(
    r"x-(amz|goog)-.*|signature|sig|awsaccesskeyid|googleaccessid|expires|s[evrpt]|sks?|sktid|skoid|sk[etv]|spr|sip"
    r"|.*(token|secret|password|passwd|api_?key|auth).*",
    re.IGNORECASE,
)
# Of what file systems say about a file, what changes with its content, best first.
_VERSIONS = (
    "etag",
    "ETag",
    "generation",
    "md5Hash",
    "LastModified",
    "last_modified",
    "updated",
    "Last-Modified",
    "mtime",
)


def is_url(text: str) -> bool:
    """Whether that is a URL, and no path of this machine."""
    return _URL.match(text) is not None


def shown(url: str) -> str:
    """The URL without what lets others in: for messages and reports, and to know it again under another signature."""
    parts = urlsplit(url)
    if parts.scheme.lower() not in ("http", "https"):
        return _PASSWORD.sub(r"\1@", url)
    query = urlencode(
        [each for each in parse_qsl(parts.query, keep_blank_values=True) if not _SECRET.fullmatch(each[0])]
    )
    return urlunsplit((parts.scheme.lower(), parts.netloc.rpartition("@")[2], parts.path, query, ""))


class RemoteError(Exception):
    """A file at a URL cannot be had or written: ``reason`` in a few words, ``hint`` what to do next; ``may_pass``:
    another try may go better."""

    def __init__(self, reason: str, hint: str, *, may_pass: bool = False) -> None:
        super().__init__(reason)
        self.reason, self.hint, self.may_pass = reason, hint, may_pass


class RemoteMissingError(RemoteError):
    """There is no such file."""


def filesystem(url: str) -> tuple[Any, str]:
    """fsspec's file system for a URL, and what the file is called there.

    Raises:
        UsageError: no library is known for such URLs.
        EnvironmentFault: the library is not installed.
    """
    import fsspec  # type: ignore[import-untyped]

    scheme = url.partition("://")[0].lower()
    package = PACKAGES.get(scheme)
    try:
        system, path = fsspec.core.url_to_fs(url)
    except (ValueError, ImportError) as error:
        log.debug("no library for %s://", scheme, exc_info=True)
        if isinstance(error, ValueError) and package is None:
            raise UsageError(
                f"{scheme}:// is not an address that can be used", f"Give a path, or one of {SCHEMES}"
            ) from None
        hint = f"Install it: {pip_install(package)}" if package else str(error)
        raise EnvironmentFault(f"{scheme}:// needs a package that is not installed", hint) from None
    return system, path


@contextmanager
def understood() -> Iterator[None]:
    """Inside, what libraries raise is put into words.

    Raises:
        RemoteError: in the place of any of them.
    """
    try:
        yield
    except (RemoteError, KeyboardInterrupt):
        raise
    except Exception as error:
        log.debug("a URL", exc_info=True)
        raise _in_words(error) from error


def _in_words(error: Exception) -> RemoteError:
    cause = error.__cause__
    if isinstance(error, FileNotFoundError) and type(cause).__module__.startswith("aiohttp"):
        error = cause  # type: ignore[assignment]  # of https, whatever went wrong is called so
    name, status = type(error).__name__, getattr(error, "status", None)
    if isinstance(error, FileNotFoundError) or status == 404:
        return RemoteMissingError("there is no such file", "Check the URL")
    if isinstance(error, PermissionError) or status in (401, 403) or "Credential" in name:
        return RemoteError("access is denied", "Give credentials as the cloud's own tools take them")
    if isinstance(error, FileExistsError):
        return RemoteError("it is there already", "Run the same command again")
    if isinstance(error, (TimeoutError, ConnectionError)) or "Connect" in name or "Timeout" in name:
        hint = "Check the network and the address, then run the same command again"
        return RemoteError("the server does not answer", hint, may_pass=True)
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return RemoteError("the disk for temporary files is full", "Free some space, or set TMPDIR to another disk")
    text = " ".join(str(error).split()).rstrip(".")
    reason = text if 0 < len(text) <= 100 and not _URL.search(text) else name
    may_pass = not isinstance(error, (ValueError, NotImplementedError)) and (status is None or status >= 500)
    return RemoteError(reason, "Run the same command again; -vv shows what the server said", may_pass=may_pass)


def tried(work: Callable[[], T]) -> T:
    """What ``work`` returns; tried three times in all where what went wrong may pass.

    Raises:
        RemoteError: it goes wrong still.
    """
    for wait in (*WAITS, None):
        try:
            with understood():
                return work()
        except RemoteError as error:
            if wait is None or not error.may_pass:
                raise
            log.info("%s: it is tried again in %.0f s", error.reason, wait)
            stopping.pause(wait)
    raise AssertionError


def look(url: str) -> RemoteFile | None:
    """The file at a URL; None for a folder. What an ``https`` URL names is a file.

    Raises:
        RemoteError: there is none, or it cannot be reached.
        UsageError, EnvironmentFault: as in :func:`filesystem`.
    """
    system, path = filesystem(url)
    info = tried(lambda: system.info(path))
    return None if info.get("type") == "directory" else _file(url, info)


def listed(url: str, *, recursive: bool) -> list[tuple[PurePosixPath, RemoteFile]]:
    """The files below a URL, sorted, each with its path from there; folders of an ``https`` server cannot be listed.

    Raises:
        RemoteError: it cannot be listed.
        UsageError, EnvironmentFault: as in :func:`filesystem`.
    """
    system, path = filesystem(url)
    depth = None if recursive else 1
    found: Mapping[str, Mapping[str, Any]] = tried(lambda: system.find(path, maxdepth=depth, detail=True))
    root = PurePosixPath(path.rstrip("/"))
    files = []
    for name, info in found.items():
        with suppress(ValueError):  # an object whose name is no path below the folder, as "a//b"
            place = PurePosixPath(name).relative_to(root)
            files.append((place, _file(f"{url.rstrip('/')}/{place}", info)))
    return sorted(files, key=lambda each: each[0].parts)


def _file(url: str, info: Mapping[str, Any]) -> RemoteFile:
    version = next((str(info[name]) for name in _VERSIONS if info.get(name)), None)
    size = info.get("size")
    return RemoteFile(url, shown(url), None if size is None else int(size), version)


def fetch(file: RemoteFile, target: Path) -> None:
    """Copy a file to ``target``.

    Raises:
        RemoteError: it cannot be had, or it is not whole.
        OSError: ``target`` cannot be written.
    """
    system, path = filesystem(file.url)
    tried(lambda: system.get_file(path, str(target), callback=_until_stopped()))
    if file.size is not None and target.stat().st_size != file.size:
        raise RemoteError("it changed while it was read", "Run the same command again")


def _until_stopped() -> Any:
    """What fsspec calls after each part of a file."""
    from fsspec.callbacks import Callback  # type: ignore[import-untyped]

    class UntilStopped(Callback):  # type: ignore[misc]
        def call(self, *_: Any, **__: Any) -> None:
            try:
                stopping.check()
            except KeyboardInterrupt as stop:  # as it is, it would end the thread that all transfers share
                raise RuntimeError("stopped") from stop

    return UntilStopped()


def read(url: str) -> bytes:
    """The bytes of a file.

    Raises:
        RemoteError: it cannot be had.
        UsageError, EnvironmentFault: as in :func:`filesystem`.
    """
    system, path = filesystem(url)
    data: bytes = tried(lambda: system.cat_file(path))
    return data
