"""One run at a time in an output folder."""

from __future__ import annotations

import logging
import os
import socket
from datetime import UTC, datetime
from pathlib import Path

from rtprune_cli.errors import OutputError
from rtprune_cli.logs import NOTICE
from rtprune_cli.storage import atomic_write, output_error, read_start, remove

log = logging.getLogger("rtprune")


class FolderLock:
    """A lock in the folder ``state``, with a note that says who has it. The system drops the lock when its process
    ends, however it ends."""

    def __init__(self, state: Path, *, wait: bool) -> None:
        from filelock import FileLock

        self._lock = FileLock(state / "lock")
        self._note = state / "owner"
        self._wait = wait

    def acquire(self, folder: Path) -> None:
        """Take ``folder``, which messages name, or with ``wait`` wait for it.

        Raises:
            OutputError: another run has it, or nothing can be written there.
        """
        from filelock import Timeout

        try:
            self._lock.acquire(timeout=0)
        except Timeout:
            who = read_start(self._note) or "another rtprune"
            if not self._wait:
                hint = "Wait for it (or use --wait), or choose another folder with -o"
                raise OutputError(f"{who} writes to {str(folder)!r}", hint) from None
            log.log(NOTICE, "waiting: %s writes to %r", who, str(folder))
            self._lock.acquire()
        except OSError as error:
            raise output_error(folder, error) from None
        started = datetime.now(UTC).isoformat(sep=" ", timespec="seconds")
        note = f"rtprune process {os.getpid()} on {socket.gethostname()}, since {started},"
        try:
            atomic_write(self._note, note.encode())
        except BaseException:
            self._lock.release()
            raise

    def release(self) -> None:
        """Let others have the folder."""
        remove(self._note)
        self._lock.release()
