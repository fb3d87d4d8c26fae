"""Owns the drawings of formulas on the disk, so that each is drawn once over all runs in a folder."""

from __future__ import annotations

import hashlib
import json
import logging
import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from rtprune_cli.storage import make_folder, remove

log = logging.getLogger("rtprune")

FILE = "drawn.sqlite"
MOST_LOST = 2.0  # seconds of drawing that a kill may cost
NOT_KEPT: Any = object()


class KeptDrawings:
    """A file of drawings as JSON values, made by :func:`kept_drawings`. Where it cannot be read or written, nothing is
    kept."""

    def __init__(self, file: sqlite3.Connection | None, drawn_by: str) -> None:
        self._file, self._drawn_by = file, drawn_by
        self._written = time.monotonic()

    def find(self, source: str) -> Any:
        """What was made of a source, else :data:`NOT_KEPT`."""
        if self._file is None:
            return NOT_KEPT
        try:
            found = self._file.execute("SELECT drawing FROM drawings WHERE key = ?", (self._key(source),)).fetchone()
            return NOT_KEPT if found is None else json.loads(found[0])
        except (sqlite3.Error, ValueError):
            return NOT_KEPT

    def add(self, source: str, drawing: Any) -> None:
        """Keep what was made of a source."""
        if self._file is None:
            return
        try:
            self._file.execute(
                "INSERT OR REPLACE INTO drawings VALUES (?, ?)", (self._key(source), json.dumps(drawing))
            )
            if time.monotonic() - self._written > MOST_LOST:
                self._file.commit()
                self._written = time.monotonic()
        except sqlite3.Error as error:
            _tell(error)
            self.close()

    def close(self) -> None:
        """Have on the disk what was added."""
        if self._file is not None:
            with suppress(sqlite3.Error):
                self._file.commit()
            self._file.close()
            self._file = None

    def _key(self, source: str) -> bytes:
        return hashlib.sha256(f"{self._drawn_by}\n{source}".encode("utf-8", "surrogatepass")).digest()


@contextmanager
def kept_drawings(folder: Path, drawn_by: str) -> Iterator[KeptDrawings]:
    """The drawings in ``folder``, which one process has at a time.

    Args:
        folder: made where it is not there.
        drawn_by: what a drawing depends on beside its source: its form and the versions of what draws.

    Raises:
        OutputError: the folder cannot be made.
    """
    make_folder(folder)
    path, file = folder / FILE, None
    try:
        file = _open(path)
    except sqlite3.Error:  # half a file, or something else by this name
        remove(path)
        try:
            file = _open(path)
        except sqlite3.Error as error:
            _tell(error)
    kept = KeptDrawings(file, drawn_by)
    try:
        yield kept
    finally:
        kept.close()


def _open(path: Path) -> sqlite3.Connection:
    # No locks of SQLite's: the output folder has one, and not every file system has those.
    file = sqlite3.connect(f"{path.absolute().as_uri()}?nolock=1", uri=True)
    try:
        file.execute("CREATE TABLE IF NOT EXISTS drawings (key BLOB PRIMARY KEY, drawing TEXT NOT NULL) WITHOUT ROWID")
    except sqlite3.Error:
        file.close()
        raise
    return file


def _tell(error: sqlite3.Error) -> None:
    log.warning("drawn formulas are not kept for the next run: %s", error)
