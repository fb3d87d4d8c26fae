"""Documents that only the driver can see, on their way to readers. How pieces of them travel is left to the caller.

A chunk says what the driver saw of the document's file. A reader that does not see the same under its path asks for the
document, puts its chunks aside, and goes on with others. The driver gives the bytes away once, in pieces, to all that
ask; the reader keeps them in a file until it is told that nobody needs it any more.
"""

from __future__ import annotations

import os
import stat
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from rtprune_cli.inputs.passing import PIECE, PassingFile
from rtprune_cli.records import Document

if TYPE_CHECKING:
    from rtprune_cli.cluster.dispatch import Chunk
    from rtprune_cli.records import DocumentPlan


@dataclass(frozen=True)
class FileStamp:
    """What is seen of a file from outside: ``size`` in bytes, ``modified`` in whole seconds since 1970."""

    size: int
    modified: int

    @classmethod
    def of(cls, path: Path) -> FileStamp | None:
        """None where there is no regular file."""
        try:
            found = os.stat(path)
        except OSError:
            return None
        return cls(found.st_size, int(found.st_mtime)) if stat.S_ISREG(found.st_mode) else None


@dataclass
class _Source:
    """A document at the driver. ``file``: of bytes that came by standard input; ``pieces``: references to them."""

    path: Path
    stamp: FileStamp | None
    file: PassingFile | None
    pieces: list[Any] | None = None
    readers: set[int] = field(default_factory=set)


class Shipper:
    """The driver's part."""

    def __init__(self, put: Callable[[bytes], Any]) -> None:
        """``put`` brings bytes to where readers can get them, until the reference that it returns is gone."""
        self._put = put
        self._sources: dict[PurePosixPath, _Source] = {}

    def addressed(self, chunk: Chunk) -> Chunk:
        """The chunk as it leaves: without bytes, and with what is seen of the document's file here."""
        document = chunk.plan.document
        if document.path is None and document.data is None:
            return chunk  # readers have a way of their own to it
        if document.folder not in self._sources:
            self._sources[document.folder] = self._source(document)
        source = self._sources[document.folder]
        plan = replace(chunk.plan, document=replace(document, path=source.path, data=None))
        return replace(chunk, plan=plan, stamp=source.stamp)

    def _source(self, document: Document) -> _Source:
        file = None
        path = document.path
        if document.data is not None:
            file = PassingFile(path.suffix if path else "", [document.data])
            path = file.path
        assert path is not None
        return _Source(path, FileStamp.of(path), file)

    def pieces(self, folder: PurePosixPath, reader: int) -> list[Any] | None:
        """References to the bytes of a document for a reader that asks; None where they cannot be had any more."""
        source = self._sources.get(folder)
        if source is None:
            return None
        if source.pieces is None:
            pieces = []
            try:
                with open(source.path, "rb") as opened:
                    while piece := opened.read(PIECE):
                        pieces.append(self._put(piece))
            except OSError:
                return None  # the reader will say what is wrong with the path
            source.pieces = pieces
        source.readers.add(reader)
        return source.pieces

    def closed(self, folder: PurePosixPath) -> set[int]:
        """Nobody needs the document any more; the readers that have it."""
        source = self._sources.pop(folder, None)
        if source is None:
            return set()
        if source.file is not None:
            source.file.close()
        return source.readers

    def close(self) -> None:
        """Let go of everything."""
        for folder in list(self._sources):
            self.closed(folder)


class Copies:
    """A reader's part. Its methods may be called at the same time."""

    def __init__(self, ask: Callable[[PurePosixPath], None]) -> None:
        """``ask`` the driver for a document by its folder."""
        self._ask = ask
        self._lock = threading.Lock()
        self._aside: dict[PurePosixPath, list[Chunk]] = {}
        self._files: dict[PurePosixPath, PassingFile | None] = {}  # None: it does not come
        self._dropped: set[PurePosixPath] = set()

    def placed(self, chunk: Chunk) -> DocumentPlan | None:
        """The chunk's plan, of the document as it is found here; None: the chunk is put aside until it is there."""
        plan = chunk.plan
        document, folder = plan.document, plan.document.folder
        if chunk.stamp is None or document.path is None or FileStamp.of(document.path) == chunk.stamp:
            return plan
        with self._lock:
            if folder in self._files:
                file = self._files[folder]
                return plan if file is None else replace(plan, document=replace(document, path=file.path))
            aside = self._aside.setdefault(folder, [])
            aside.append(chunk)
        if len(aside) == 1:
            self._ask(folder)
        return None

    def receive(self, folder: PurePosixPath, pieces: Iterable[bytes] | None) -> list[Chunk]:
        """A document has come, or with None does not come; the chunks that were put aside for it.

        Raises:
            OSError: it cannot be kept.
        """
        with self._lock:
            waiting = self._aside.get(folder)
        if waiting is None or waiting[0].plan.document.path is None:
            return []
        suffix = waiting[0].plan.document.path.suffix
        file = None if pieces is None else PassingFile(suffix, pieces)
        with self._lock:
            if file is not None and folder in self._dropped:  # while it was on its way
                file.close()
                return []
            self._files[folder] = file
            return self._aside.pop(folder, [])

    def drop(self, folder: PurePosixPath) -> list[Chunk]:
        """Nobody needs the document any more; the chunks that were put aside for it."""
        with self._lock:
            self._dropped.add(folder)
            file = self._files.pop(folder, None)
            waiting = self._aside.pop(folder, [])
        if file is not None:
            file.close()
        return waiting
