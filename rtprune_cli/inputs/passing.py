"""Files that last no longer than the process that needs them."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import IO

PIECE = 2**25  # bytes that are in memory at a time, of a document on its way


class PassingFile:
    """A file of which a process that is killed leaves no byte behind: it has no name, only a link to the open file,
    with the suffix by which readers tell formats. Where the system shows no open files it is a plain one."""

    def __init__(self, suffix: str, pieces: Iterable[bytes] = ()) -> None:
        """``pieces`` are written to it.

        Raises:
            OSError: it cannot be written.
        """
        self._file: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115
        try:
            for piece in pieces:
                self._file.write(piece)
            self._file.flush()
            self.path = self._link(suffix)
        except BaseException:
            self._file.close()
            raise

    def _link(self, suffix: str) -> Path:
        descriptor, name = tempfile.mkstemp(prefix="rtprune-", suffix=suffix)
        opened = f"/proc/{os.getpid()}/fd/{self._file.fileno()}"
        if os.path.exists(opened):
            os.close(descriptor)
            os.unlink(name)
            os.symlink(opened, name)
        else:
            self._file.seek(0)
            with open(descriptor, "wb") as plain:
                while piece := self._file.read(PIECE):
                    plain.write(piece)
        return Path(name)

    def close(self) -> None:
        """Remove it."""
        self._file.close()
        with contextlib.suppress(OSError):
            self.path.unlink()
