"""One run at a time in an output folder."""

from __future__ import annotations

import logging
import os
import re
import socket
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from rtprune_cli import stopping
from rtprune_cli.errors import OutputError
from rtprune_cli.logs import NOTICE
from rtprune_cli.storage import NO_SUCH_CALL, atomic_write, output_error, read_start, remove

if TYPE_CHECKING:
    from filelock import BaseFileLock

log = logging.getLogger("rtprune")

SHARD = "shard "  # what a run is, before its number
ANOTHER = "another rtprune"  # where nothing says which
WAITING = "waiting: %s writes to %r"
OTHER_FOLDER = "Wait for it (or use --wait), or choose another folder with -o"
OWNER = "owner"  # the note of who has the folder
CLOCK = 2.0  # seconds by which what tells the time of a process may be late
OWN_FOLDERS = "Each shard needs a folder of its own while it runs: -o OUT/K, and then rtprune merge"


def this_run(what: str = "") -> str:
    """Who has a folder, where it is this run; ``what`` it is, as ``shard 3/16``."""
    started = datetime.now(UTC).isoformat(sep=" ", timespec="seconds")
    process = f"rtprune process {os.getpid()} on {socket.gethostname()}"
    return ", ".join(filter(None, [process, what, f"since {started},"]))


_NOTE = re.compile(r"(rtprune process (\d+) on ([^,]+).*), since ([^,]+),")


@dataclass(frozen=True)
class RunNote:
    """A run that has a folder: ``who`` it is, and ``since`` when, an ISO time."""

    who: str
    since: str


def run_in(state: Path) -> RunNote | None:
    """The run that has the folder of ``state``, by its note; None where there is none, and where the note is of a
    process of this machine that is gone. Nothing is locked, so that a run that begins now is not held up.
    """
    found = _NOTE.fullmatch(read_start(state / OWNER))
    if found is None:
        return None
    who, process, host, since = found.groups()
    if host == socket.gethostname() and not _runs(int(process), since):
        return None
    return RunNote(who, since)


def _runs(process: int, since: str) -> bool:
    """Whether a process runs that began before ``since``: numbers are given again."""
    import psutil  # type: ignore[import-untyped]

    try:
        return bool(psutil.Process(process).create_time() <= datetime.fromisoformat(since).timestamp() + CLOCK)
    except (psutil.NoSuchProcess, ValueError, OverflowError):
        return False
    except psutil.Error:  # one of another user
        return True


def held_by(who: str, folder: Path | str, what: str, hint: str = "") -> OutputError:
    """The error of a run, which is ``what``, that finds another one in its folder."""
    hint = hint or (OWN_FOLDERS if SHARD in what + who else OTHER_FOLDER)
    return OutputError(f"{who} writes to {str(folder)!r}", hint)


class FolderLock:
    """A lock in the folder ``state``, with a note that says who has it. The system drops the lock when its process
    ends, however it ends."""

    def __init__(self, state: Path, *, wait: bool, what: str = "", hint: str = "") -> None:
        """``what`` the run is, for the note: ``shard 3/16``. ``hint``: what to do where another run has the folder."""
        from filelock import FileLock

        self._state = state
        self._lock: BaseFileLock = FileLock(state / "lock")
        self._note = state / OWNER
        self._wait = wait
        self._what = what
        self._hint = hint

    def acquire(self, folder: Path | str) -> None:
        """Take ``folder``, which messages name, or with ``wait`` wait for it.

        Raises:
            OutputError: another run has it, or nothing can be written there.
        """
        from filelock import Timeout

        try:
            self._try()
        except Timeout:
            who = read_start(self._note) or ANOTHER
            if not self._wait:
                raise held_by(who, folder, self._what, self._hint) from None
            log.log(NOTICE, WAITING, who, str(folder))
            self._acquire_in_time()
        except OSError as error:
            raise output_error(folder, error) from None
        try:
            atomic_write(self._note, this_run(self._what).encode())
        except BaseException:
            self._lock.release()
            raise

    def _try(self) -> None:
        """Take the lock, if it is free; by a file alone where the file system has no locks."""
        from filelock import SoftFileLock

        try:
            self._lock.acquire(timeout=0)
        except (OSError, NotImplementedError) as error:
            if isinstance(error, OSError) and error.errno not in NO_SUCH_CALL:
                raise
            log.warning("this file system has no locks: after a kill, delete %s", self._state / "lock.soft")
            self._lock = SoftFileLock(self._state / "lock.soft")
            self._lock.acquire(timeout=0)

    def _acquire_in_time(self) -> None:
        """Wait as long as it takes, and look up in between."""
        from filelock import Timeout

        while True:
            stopping.check()
            try:
                self._lock.acquire(timeout=stopping.TICK * 10)
                return
            except Timeout:
                continue

    def release(self) -> None:
        """Let others have the folder."""
        remove(self._note)
        self._lock.release()
