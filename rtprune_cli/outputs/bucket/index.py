"""What a spool knows of its bucket: which version of each journal it has. A file of JSON lines; the last one counts."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from threading import Lock

from rtprune_cli.records import parse
from rtprune_cli.storage import atomic_write, output_error, to_json


@dataclass(frozen=True)
class Known:
    """An object and the file in the spool that goes with it.

    ``version`` is that of the object which was seen last; ``begun``: it may be gone by now, as what the spool has is on
    its way there. Of a journal, the first ``size`` bytes of the file are of pages whose crops are in the bucket, and so
    are those of ``pages``.
    """

    version: str
    size: int = 0
    pages: tuple[int, ...] = ()
    begun: bool = False


class Index:
    """The objects that a spool knows, by their names."""

    def __init__(self, path: Path) -> None:
        """
        Raises:
            OutputError: it cannot be written.
        """
        self._path, self._lock = path, Lock()
        self._known: dict[str, Known] = {}
        lines = 0
        with suppress(FileNotFoundError), open(path, "rb") as file:
            for line in file:
                lines += 1
                with suppress(ValueError, LookupError, TypeError):  # torn by a kill
                    name, known = json.loads(line)
                    self._set(name, None if known is None else parse(Known, known))
        if lines > len(self._known):
            atomic_write(path, b"".join(_line(name, known) for name, known in self._known.items()))

    def get(self, name: str) -> Known | None:
        """What is known of an object; None: nothing."""
        return self._known.get(name)

    def names(self) -> Iterator[str]:
        """Of the objects that are known."""
        yield from list(self._known)

    def set(self, name: str, known: Known | None) -> None:
        """Remember what is known from now on; None forgets the object.

        Raises:
            OutputError: it cannot be written.
        """
        with self._lock:
            if self._known.get(name) == known:
                return
            self._set(name, known)
            try:
                with open(self._path, "ab") as file:
                    file.write(_line(name, known))
            except OSError as error:
                raise output_error(self._path, error) from None

    def _set(self, name: str, known: Known | None) -> None:
        if known is None:
            self._known.pop(name, None)
        else:
            self._known[name] = known


def _line(name: str, known: Known | None) -> bytes:
    return to_json([name, None if known is None else asdict(known)])
