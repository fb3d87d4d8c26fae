"""The documents behind URLs: a file, or the files of a folder in a bucket, chosen as in a folder of this machine."""

from __future__ import annotations

import fnmatch
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import PurePosixPath
from typing import Protocol

from rtprune_cli import remote
from rtprune_cli.errors import InputError, RtpruneError, UsageError
from rtprune_cli.inputs.formats import EXTENSIONS, OTHERS, printable
from rtprune_cli.records import Document, RemoteFile

LOOKUPS = 32  # URLs of a list that are asked for at the same time


class IsWritten(Protocol):
    """Whether a run wrote an image, by its path and by what exists beside it."""

    def __call__(self, path: str, exists: Callable[[str], bool] = ...) -> bool: ...


class IsOutput(Protocol):
    """Whether a folder is a run's output, by what folders there are."""

    def __call__(self, folder: str, is_folder: Callable[[str], bool] = ...) -> bool: ...


class UrlSearch:
    """Looks for the documents behind URLs."""

    def __init__(self, recursive: bool, patterns: Sequence[str], is_written: IsWritten, is_output: IsOutput) -> None:
        self._recursive, self._patterns = recursive, patterns
        self._is_written, self._is_output = is_written, is_output
        self._known: dict[str, RemoteFile | remote.RemoteError | None] = {}

    def look_up(self, urls: Sequence[str]) -> None:
        """See what is there, many at a time."""
        if urls:
            with ThreadPoolExecutor(LOOKUPS) as threads:
                self._known.update(zip(urls, threads.map(_at, urls), strict=True))

    def expand(self, url: str, is_listed: bool) -> tuple[list[Document], Mapping[str, int], list[str]]:
        """The documents behind a URL; how many files of each type were left out; folders that are results of runs.

        Raises:
            UsageError: it is not there, unless it ``is_listed``: then it is a document that cannot be opened.
            InputError: it cannot be reached, likewise.
        """
        name = printable(remote.shown(url))
        there = self._known[url] if url in self._known else _at(url)
        if isinstance(there, remote.RemoteError):
            if not is_listed:
                raise _refused(name, there) from there
            there = RemoteFile(url, remote.shown(url))
        if there is not None:
            return [_document(there, PurePosixPath(there.path.stem))], {}, []
        try:
            listed = remote.listed(url, recursive=self._recursive)
        except remote.RemoteError as error:
            raise _refused(name, error) from error
        return self._chosen(dict(listed), name)

    def _chosen(
        self, listed: Mapping[PurePosixPath, RemoteFile], name: str
    ) -> tuple[list[Document], Mapping[str, int], list[str]]:
        files = {str(place) for place in listed}
        folders = {_text(folder) for place in listed for folder in place.parents}
        results = {folder for folder in folders if self._is_output(folder, folders.__contains__)}
        found: list[Document] = []
        others: Counter[str] = Counter()
        left_out = set()
        for place, file in listed.items():
            suffix = place.suffix.lower()
            inside = next((_text(each) for each in list(place.parents)[-2::-1] if _text(each) in results), None)
            if any(self._is_hidden(part) for part in place.parts):
                continue
            if inside is not None:
                left_out.add(inside)
            elif suffix in OTHERS:
                others[suffix] += 1
            elif suffix in EXTENSIONS and not ("" in results and self._is_written(str(place), files.__contains__)):
                found.append(_document(file, place.with_suffix("")))
        return found, others, [f"{name.rstrip('/')}/{each}" for each in sorted(left_out)]

    def _is_hidden(self, part: str) -> bool:
        return part.startswith(".") or any(fnmatch.fnmatchcase(part, pattern) for pattern in self._patterns)


def _text(folder: PurePosixPath) -> str:
    """The folder that was named is empty."""
    return "/".join(folder.parts)


def _at(url: str) -> RemoteFile | remote.RemoteError | None:
    try:
        return remote.look(url)
    except remote.RemoteError as error:
        return error


def _refused(name: str, error: remote.RemoteError) -> RtpruneError:
    if isinstance(error, remote.RemoteMissingError):
        return UsageError(f"{name!r} does not exist", "Check the spelling")
    return InputError(f"{name} cannot be read: {error.reason}", error.hint)


def _document(file: RemoteFile, place: PurePosixPath) -> Document:
    return Document(None, printable(file.shown), place, remote=file)
