"""The thread that keeps up with an output folder and makes its texts ready to be searched; and what it knows by now."""

from __future__ import annotations

import logging
import os
import threading
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from rtprune_cli.errors import InputError, UsageError
from rtprune_cli.outputs.html import texts_of
from rtprune_cli.outputs.layout import Layout
from rtprune_cli.outputs.lock import RunNote, run_in
from rtprune_cli.outputs.merging.found import is_results
from rtprune_cli.viewing.files import may_read
from rtprune_cli.viewing.following import Following, SeenDocument, SeenPage
from rtprune_cli.viewing.search import Quoted, fold, matches, readable, snippet, words_of

log = logging.getLogger("rtprune")

PART = 500  # pages of the report that are shown at a time
HITS = 50  # that are shown at a time
LOOK_EVERY = 1.0  # seconds
YIELD = 0.05  # seconds
SHARE = 0.1  # of the time, at most, that looking takes
RATE_OVER = 120.0  # seconds
MAX_LETTERS = 1_000_000_000  # of texts that are kept in memory


class Hit(NamedTuple):
    """A page that was found: ``key`` is the report's name of it, ``part`` the part of the report that has it."""

    document: str
    page: int | None
    key: str
    part: int
    snippet: list[Quoted]


class FolderWatch:
    """An output folder as it is now. Enter it to have it kept up with."""

    def __init__(self, folder: Path, *, every: float = LOOK_EVERY) -> None:
        """``every``: seconds from one look to the next, which are more in a folder that takes long to look at.

        Raises:
            UsageError: it is no output folder.
            InputError: it cannot be read.
        """
        if not is_results(folder):
            what = "holds no results of rtprune" if folder.is_dir() else "is no folder"
            raise UsageError(f"{str(folder)!r} {what}", "Name the output folder of a run")
        self.root = Path(os.path.realpath(folder))
        try:
            for path in (self.root, Layout(self.root).journals):
                if path.is_dir():
                    os.listdir(path)
        except OSError as error:
            reason = (error.strerror or type(error).__name__).lower()
            raise InputError(f"the folder {str(folder)!r} cannot be read: {reason}", "Check its permissions") from None
        self._layout, self._every = Layout(self.root), every
        self._following = Following(self.root)
        self._version = self._letters = 0
        self._run: RunNote | None = None
        self._moments = deque[tuple[float, int]]()  # when, and how many pages had arrived
        self._changes = threading.Lock()
        self._readers = 0  # pages that are being made
        self._looked, self._leaving = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._keep_up, name="watch", daemon=True)

    def __enter__(self) -> FolderWatch:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._leaving.set()
        self._thread.join(timeout=5)

    # --- Keeping up

    def look(self) -> None:
        """Read what is new in the folder."""
        with self._changes:
            self._version += self._following.look()
            before, self._run, now = self._run, run_in(self._layout.state), time.monotonic()
            if before != self._run:
                self._moments.clear()
            self._moments.append((now, self._following.arrived))
            while now - self._moments[0][0] > RATE_OVER:
                self._moments.popleft()
        self._looked.set()

    def _keep_up(self) -> None:
        pause = 0.0
        while not self._leaving.wait(pause):
            try:
                began = time.monotonic()
                self.look()
                pause = max(self._every, (time.monotonic() - began) / SHARE)
                self.prepare(until=time.monotonic() + pause)
                pause = max(0.0, pause - (time.monotonic() - began))
            except Exception:  # a folder in which others write can have anything happen to it
                log.debug("looking at %s", self.root, exc_info=True)
                self._looked.set()
                pause = self._every

    def prepare(self, until: float = float("inf")) -> None:
        """Make texts ready to be searched, document by document, as long as it is not ``until``."""
        for document in self.documents.values():
            if all(page.folded is not None for page in document.pages):
                continue
            if time.monotonic() > until or self._leaving.is_set() or self._letters > MAX_LETTERS:
                return
            while self._readers and not self._leaving.wait(YIELD):
                pass  # somebody waits for a page
            for page, text in zip(document.pages, self.texts(document), strict=True):
                if page.folded is None:
                    page.text, page.folded = text, fold(readable(text or ""))
                    self._letters += len(page.folded)

    @contextmanager
    def making_a_page(self) -> Iterator[None]:
        """Inside, texts wait: somebody wants to see the page."""
        with self._changes:
            self._readers += 1
        try:
            yield
        finally:
            with self._changes:
                self._readers -= 1

    # --- What is known

    @property
    def documents(self) -> dict[str, SeenDocument]:
        """By folder, in the order of the report."""
        return self._following.documents

    def wait(self, seconds: float) -> None:
        """Wait for the first look at the folder to end."""
        self._looked.wait(seconds)

    def pages(self) -> list[tuple[SeenDocument, SeenPage]]:
        """All pages, in the order of the report."""
        return [(document, page) for document in self.documents.values() for page in document.pages]

    def texts(self, document: SeenDocument) -> list[str | None]:
        """The markdown of a document's pages, None where there is none; from the disk if it is not at hand."""
        if all(page.folded is not None or page.text is not None for page in document.pages):
            return [page.text for page in document.pages]
        files = document.files
        readable_files = may_read(self.root, files.journal, files.blocks, files.markdown)
        found = texts_of(files) if readable_files else {}
        return [page.text if page.text is not None else found.get(page.record.page) for page in document.pages]

    @property
    def version(self) -> int:
        """Grows with each change."""
        return self._version

    def status(self) -> dict[str, Any]:
        """The run that goes on, and how far the folder is, as plain values."""
        run, pages = self._run, self.pages()
        failed = sum(page.record.failed for _, page in pages)
        latest = self._following.latest if run else None
        begun = sum(document.begun for document in self.documents.values())
        return {
            "version": self._version,
            "run": None if run is None else {"who": run.who, "since": run.since},
            "documents": len(self.documents) - begun,
            "begun": begun,
            "pages": len(pages) - failed,
            "failed": failed,
            "warned": sum(bool(page.record.warnings) for _, page in pages),
            "total": len(pages),
            "ready": sum(page.folded is not None for _, page in pages),
            "rate": self.rate() if run else None,
            "latest": latest and {"document": latest.record.document, "page": latest.record.page, "key": latest.key},
        }

    def rate(self) -> float | None:
        """Pages a second over the latest minutes, as they were seen to come; None until there is something to tell."""
        with self._changes:
            if not self._moments:
                return None
            (then, before), (now, by_now) = self._moments[0], self._moments[-1]
        return (by_now - before) / (now - then) if now - then >= min(2.0, 2 * self._every) else None

    def search(self, asked: str, start: int = 0) -> dict[str, Any]:
        """Pages whose text holds all that is ``asked`` for: how many there are, and some of them from ``start`` on."""
        words = words_of(asked)
        pages = self.pages() if words else []
        found = [(at, page) for at, (_, page) in enumerate(pages) if matches(page, words)]
        return {
            "pages": len(found),
            "documents": len({page.record.folder for _, page in found}),
            "hits": [
                Hit(
                    page.record.document, page.record.page, page.key, at // PART, snippet(page.text or "", words)
                )._asdict()
                for at, page in found[start : start + HITS]
            ],
        }
