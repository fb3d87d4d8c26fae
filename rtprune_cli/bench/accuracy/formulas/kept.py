"""Owns the drawings of formulas on the disk, so that each is drawn once over all runs in a folder."""

from __future__ import annotations

import hashlib
import json
import logging
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from rtprune_cli.bench.scoring.olmocr.drawn import DrawnFormula, DrawnText
from rtprune_cli.storage import make_folder, remove

log = logging.getLogger("rtprune")

FILE = "drawn.sqlite"
FORM = 1  # raise it when drawings come to hold something else
FEW = 200  # drawings that a kill may cost


class KeptDrawings:
    """A file of drawings, made by :func:`kept_drawings`. Where it cannot be read or written, nothing is kept."""

    def __init__(self, file: sqlite3.Connection | None, drawn_by: str) -> None:
        self._file, self._drawn_by = file, drawn_by
        self._new = 0

    def find(self, latex: str) -> DrawnFormula | None:
        """The drawing of a formula, if there is one."""
        if self._file is None:
            return None
        try:
            found = self._file.execute("SELECT drawing FROM drawings WHERE key = ?", (self._key(latex),)).fetchone()
            return None if found is None else _from_json(found[0])
        except (sqlite3.Error, ValueError, TypeError):
            return None

    def add(self, latex: str, drawing: DrawnFormula) -> None:
        """Keep a drawing."""
        if self._file is None:
            return
        try:
            row = self._key(latex), json.dumps([drawing.mathml, drawing.texts])
            self._file.execute("INSERT OR REPLACE INTO drawings VALUES (?, ?)", row)
            self._new += 1
            if self._new % FEW == 0:
                self._file.commit()
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

    def _key(self, latex: str) -> bytes:
        text = f"{FORM}\n{self._drawn_by}\n{latex}"
        return hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()


@contextmanager
def kept_drawings(folder: Path, drawn_by: str) -> Iterator[KeptDrawings]:
    """The drawings in ``folder``, which one process has at a time.

    Args:
        folder: made where it is not there.
        drawn_by: what a drawing depends on beside its formula: versions of KaTeX and of the browser.

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


def _from_json(text: str) -> DrawnFormula:
    mathml, texts = json.loads(text)
    return DrawnFormula(mathml, tuple(DrawnText(*each) for each in texts))
