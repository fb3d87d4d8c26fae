"""Every document's own place in the output folder, where no file of another one is in its way."""

from __future__ import annotations

import copy
import itertools
import logging
import re
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import BinaryIO, Literal

from rtprune_cli.inputs import find_files
from rtprune_cli.inputs.formats import printable
from rtprune_cli.outputs.layout import MAX_STEM_BYTES, RESERVED, document_of, files_of, is_output, is_written
from rtprune_cli.records import Document

log = logging.getLogger("rtprune")

# Of a place in the output folder: free, the document's own from an earlier run, or something else's
Occupancy = Literal["free", "own", "other"]


def find_documents(
    paths: Sequence[str],
    *,
    recursive: bool,
    files_from: str | None = None,
    null: bool = False,
    stdin: BinaryIO | None = None,
    exclude: Iterable[Path] = (),
    patterns: Sequence[str] = (),
) -> list[Document]:
    """Turn command-line paths into documents, each with its own place: find_files, then :func:`name_documents`.

    Raises:
        UsageError: as in :func:`rtprune_cli.inputs.find_files`.
        InputError: as there.
    """
    return name_documents(
        find_files(
            paths,
            recursive=recursive,
            files_from=files_from,
            null=null,
            stdin=stdin,
            exclude=exclude,
            patterns=patterns,
            is_written=is_written,
            is_output=is_output,
        )
    )


def _free(document: Document) -> Occupancy:
    return "free"


def name_documents(
    found: Iterable[Document], occupancy: Callable[[Document], Occupancy] = _free, *, tell: bool = True
) -> list[Document]:
    """Give every document its own place in the output folder.

    A place that another file of this run has, or whose ``occupancy`` is of another document of an earlier run, becomes
    ``NAME_2``, ``NAME_3`` and so on, with a warning the first time (unless ``tell`` is off). A document of an earlier
    run finds its place again in whatever order the files come, unless a file that came first has it.
    """
    namer = _Namer(occupancy)
    named = [namer.claim(item) for item in found]
    if tell:
        namer.tell()
    return named


def name_some(
    found: Sequence[Document], chosen: Sequence[bool], occupancy: Callable[[Document], Occupancy] = _free
) -> tuple[list[Document], list[Document]]:
    """All documents with the places that they have in an empty output folder, and those that are ``chosen``.

    Runs that choose others of the same inputs give the same places, whatever stands in their output folders. Where the
    place of a chosen document is another one's there, it goes to one that no document of the run has.
    """
    namer = _Namer(_free)
    named = [namer.claim(item) for item in found]
    namer.tell()
    again = namer.for_folder(occupancy)
    own = [
        again.claim(item) if occupancy(place) == "other" else place
        for item, place, mine in zip(found, named, chosen, strict=True)
        if mine
    ]
    again.tell()
    return named, own


class _Namer:
    """Gives every document its own folder, also where file systems ignore case or normalise Unicode."""

    def __init__(self, occupancy: Callable[[Document], Occupancy]) -> None:
        self._occupancy = occupancy
        self._folders: set[str] = set()
        self._ancestors: set[str] = set()
        self._kept_out: set[str] = set()  # places whose crops or views would meet a folder of another document
        self._files = set(RESERVED)
        self._moved: list[tuple[str, str, str]] = []  # documents whose name was taken: which, where to, from where
        self._numbers: dict[str, int] = {}  # wanted place -> the first number that may still be free in this run

    def for_folder(self, occupancy: Callable[[Document], Occupancy]) -> _Namer:
        """One that goes on with other places in the output folder taken."""
        other = copy.copy(self)  # what this run has taken is shared
        other._occupancy, other._moved = occupancy, []
        return other

    def tell(self) -> None:
        """Say whose names were taken, in one line."""
        for number, moved in enumerate(self._moved):
            if not number:
                more = len(self._moved) - 1
                rest = f", and {more} more go with it" if more else ""
                log.warning("%s goes to %s: the name %s is taken%s", *moved, rest)
            else:
                log.info("%s goes to %s: the name %s is taken", *moved)

    def claim(self, item: Document) -> Document:
        wanted = PurePosixPath(*([_safe_part(part) for part in item.folder.parts] or ["_"]))
        inside = self._beside_files(wanted.parent)
        places = (replace(item, folder=folder) for folder in self._candidates(inside / wanted.name))
        held = ((document, self._occupancy(document)) for document in places)
        document, occupancy = next((document, by) for document, by in held if by != "other")
        folder = document.folder
        if folder != wanted and occupancy == "free":
            self._moved.append((item.name, printable(str(folder)), printable(str(wanted))))
        key = _key(folder)
        self._folders.add(key)
        self._ancestors.update(_way_to(key))
        self._kept_out.update(filter(None, map(document_of, _way_to(key))))
        self._files.update(files_of(key))
        return document

    def _beside_files(self, folder: PurePosixPath) -> PurePosixPath:
        """``folder`` with a number in every part where a document has a file: ``a.md/b.pdf`` beside ``a.pdf``."""
        way = PurePosixPath()
        for part in folder.parts:
            numbered = (part if number == 1 else f"{part}_{number}" for number in itertools.count(1))
            way = next(way / name for name in numbered if not self._is_file(_key(way / name)))
        return way

    def _candidates(self, wanted: PurePosixPath) -> Iterator[PurePosixPath]:
        """Places that no file of this run has: ``wanted``, then numbered ones."""
        key = _key(wanted)
        # Numbers that this run has given away are not tried again: 5,000 folders may hold a 0001.tif each. Those
        # that are taken on disk are, as they are the own place of a file that is still to come.
        number = self._numbers.get(key, 1)
        contiguous = True
        while True:
            folder = wanted if number == 1 else wanted.with_name(f"{wanted.name}_{number}")
            if self._free(_key(folder)):
                contiguous = False
                yield folder
            number += 1
            if contiguous:
                self._numbers[key] = number

    def _free(self, key: str) -> bool:
        """Not taken, and no folder of one document has the path of another's file (``a.pdf`` and ``a/a.md.pdf``)."""
        if key in self._folders or key in self._kept_out or any(map(self._is_file, _way_to(key))):
            return False
        return self._ancestors.isdisjoint(files_of(key))

    def _is_file(self, key: str) -> bool:
        """Whether a document of this run, or the run itself, has a file there."""
        return key in self._files or document_of(key) in self._folders


def _key(path: PurePosixPath) -> str:
    return unicodedata.normalize("NFC", str(path)).casefold()


def _way_to(key: str) -> list[str]:
    """The folder and those that it lies in."""
    parts = key.split("/")
    return ["/".join(parts[:count]) for count in range(1, len(parts) + 1)]


def _safe_part(part: str) -> str:
    """One path component that cannot climb, and leaves room for the suffixes of the output files."""
    part = re.sub(r"[\\/\x00\ud800-\udfff]", "_", part)
    part = part.encode()[:MAX_STEM_BYTES].decode(errors="ignore")
    return "_" if part in ("", ".", "..") else part
