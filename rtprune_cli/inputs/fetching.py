"""Files at URLs as files of this machine: fetched ahead of their turn, kept while they are read, then removed.

MuPDF reads files, and nothing that is fetched as it reads. So a document is fetched whole, and no more of them lie here
than are in flight.
"""

from __future__ import annotations

import atexit
import threading
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import TimeoutError as NotYet
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from rtprune_cli import remote, stopping
from rtprune_cli.errors import InputError, RtpruneError
from rtprune_cli.inputs.formats import reason
from rtprune_cli.inputs.passing import PassingFile
from rtprune_cli.records import RemoteFile

AT_ONCE = 16  # files that are fetched at the same time
KEPT = 2**30  # bytes of files that nobody reads at the moment: those that come next, and those that come again


@dataclass(eq=False)
class _File:
    place: PassingFile
    coming: Future[None]
    size: int
    users: int = 0


class Fetcher:
    """The files that are here, for any number of threads; they are gone with this process, however it ends."""

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._files: dict[RemoteFile, _File] = {}  # the one that was wanted last stands last
        self._threads: ThreadPoolExecutor | None = None

    def want(self, file: RemoteFile) -> None:
        """Begin to fetch a file that will be read soon, if there is room for it."""
        with self._lock:
            if file not in self._files and self._idle() + (file.size or 0) <= KEPT:
                self._begin(file)

    @contextmanager
    def have(self, file: RemoteFile) -> Iterator[Path]:
        """The file, as long as this lasts; waits for it.

        Raises:
            InputError: it cannot be fetched.
        """
        with self._lock:
            held = self._files.pop(file, None) or self._begin(file)
            self._files[file] = held
            held.users += 1
        try:
            self._wait(file, held)
            yield held.place.path
        finally:
            with self._lock:
                held.users -= 1
                self._make_room()

    def _begin(self, file: RemoteFile) -> _File:
        if self._threads is None:
            self._threads = ThreadPoolExecutor(AT_ONCE, "fetch")
            atexit.register(self.close)
        try:
            place = PassingFile(file.path.suffix)
        except OSError as error:
            raise InputError(f"{file.shown} cannot be fetched: {reason(error)}", "See where TMPDIR leads") from None
        coming = self._threads.submit(remote.fetch, file, place.path)
        held = self._files[file] = _File(place, coming, file.size or 0)
        return held

    def _wait(self, file: RemoteFile, held: _File) -> None:
        while True:
            stopping.check()
            try:
                held.coming.result(stopping.TICK)
                held.size = held.place.path.stat().st_size
                return
            except NotYet:
                continue
            except (remote.RemoteError, RtpruneError) as error:
                self._forget(file, held)  # a later try may go better
                if isinstance(error, RtpruneError):
                    raise
                raise InputError(f"{file.shown} cannot be fetched: {error.reason}", error.hint) from None

    def _idle(self) -> int:
        """Bytes of files that nobody reads."""
        return sum(each.size for each in self._files.values() if not each.users)

    def _make_room(self) -> None:
        for file, held in list(self._files.items()):
            if self._idle() <= KEPT:
                return
            if not held.users and held.coming.done():
                self._forget(file, held)

    def _forget(self, file: RemoteFile, held: _File) -> None:
        with self._lock:
            if self._files.get(file) is held:
                del self._files[file]
        held.place.close()

    def close(self) -> None:
        """Let go of all files."""
        for file, held in list(self._files.items()):
            self._forget(file, held)


_fetcher = Fetcher()


def fetcher() -> Fetcher:
    """The one of this process."""
    return _fetcher
