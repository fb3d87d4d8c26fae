"""Files that grow by lines while they are read: each line once, and all of them again where a file was replaced."""

from __future__ import annotations

import os
from pathlib import Path
from typing import NamedTuple

from rtprune_cli.viewing.files import open_inside

REMEMBERED = 64  # bytes before the place where reading goes on, by which another file in the same place is known


class NewLines(NamedTuple):
    """``anew``: what was read before is gone, and ``lines`` are from the file's start."""

    anew: bool
    lines: list[bytes]


class Tail:
    """A file of lines. Its last line may be half written: it is read when it is whole."""

    def __init__(self, root: Path, path: Path) -> None:
        self._root, self._path = root, path
        self._state: tuple[int, ...] | None = None  # of the file, when it was read
        self._at, self._before = 0, b""

    def changed(self) -> bool:
        """Whether there is anything to read."""
        return self._look() != self._state

    def read(self) -> NewLines:
        """The whole lines since the last time; none of a file that is not there."""
        state = self._look()
        if state == self._state:
            return NewLines(False, [])
        file = open_inside(self._root, self._path)
        if file is None:
            anew, self._state, self._at, self._before = self._at > 0, state, 0, b""
            return NewLines(anew, [])
        with file:
            start = self._at - len(self._before)
            file.seek(start)
            anew = self._at > 0 and file.read(len(self._before)) != self._before
            if anew:
                self._at, self._before = 0, b""
                file.seek(0)
            lines = []
            for line in file:
                if not line.endswith(b"\n"):
                    break
                lines.append(line)
                self._at += len(line)
        if lines:
            self._before = (self._before + b"".join(lines[-REMEMBERED:]))[-REMEMBERED:]
        self._state = state
        return NewLines(anew, lines)

    def _look(self) -> tuple[int, ...] | None:
        try:
            found = os.stat(self._path)
        except OSError:
            return None
        return found.st_ino, found.st_size, found.st_mtime_ns
