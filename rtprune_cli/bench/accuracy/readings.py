"""Owns what was read: the predictions' files, and a journal of page records, so that a run goes on where it stopped."""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rtprune_cli.bench.accuracy.plan import Configuration
from rtprune_cli.records import PageRecord, from_json
from rtprune_cli.storage import append, atomic_write, make_folder, output_error, to_json

JOURNAL = "readings.jsonl"
PREDICTIONS = "predictions"


@dataclass(frozen=True)
class StoredReading:
    """A page that was read. ``key`` stands for everything that its text depends on, ``text`` for the text's bytes."""

    key: str
    path: str
    text: str
    page: PageRecord


class Readings:
    """The readings in an output folder. A context manager: inside, readings can be added."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._journal = folder / JOURNAL
        self._known, self._end = _load(self._journal)
        self._by_key = {key: reading for (key, _), reading in self._known.items()}
        self._descriptor = -1

    def __enter__(self) -> Readings:
        try:
            self._descriptor = os.open(self._journal, os.O_RDWR | os.O_CREAT, 0o666)
            os.ftruncate(self._descriptor, self._end)  # a kill may have left half a line
        except OSError as error:
            raise output_error(self._journal, error) from None
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._descriptor)

    def find(self, key: str, configuration: Configuration, sample: str) -> StoredReading | None:
        """The reading of a sample with this key, if its prediction still is what was read.

        One that stands under another name of the same configuration is kept under this one too: with a second mode in
        a run the names of all begin with theirs.

        Raises:
            OutputError: it cannot be written.
        """
        path = _path(configuration, sample)
        known = self._known.get((key, path)) or self._by_key.get(key)
        try:
            text = b"" if known is None else (self._folder / known.path).read_bytes()
        except OSError:
            return None
        if known is None or _digest(text) != known.text:
            return None
        return known if known.path == path else self.add(key, configuration, sample, text.decode(), known.page)

    def add(self, key: str, configuration: Configuration, sample: str, text: str, page: PageRecord) -> StoredReading:
        """Keep a page's text and record.

        Raises:
            OutputError: they cannot be written.
        """
        data = text.encode("utf-8", "replace")
        reading = StoredReading(key, _path(configuration, sample), _digest(data), page)
        file = self._folder / reading.path
        make_folder(file.parent)
        atomic_write(file, data)
        append(self._descriptor, to_json(asdict(reading)), self._journal)
        self._known[key, reading.path] = self._by_key[key] = reading
        return reading


def _path(configuration: Configuration, sample: str) -> str:
    return f"{PREDICTIONS}/{configuration.slug}/{sample}.md"


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _from_json(line: dict[str, Any]) -> StoredReading:
    return StoredReading(**{**line, "page": from_json(line["page"])})


def _load(path: Path) -> tuple[dict[tuple[str, str], StoredReading], int]:
    """What a journal holds, and where its last whole line ends."""
    known: dict[tuple[str, str], StoredReading] = {}
    end = 0
    try:
        with open(path, "rb") as file:
            for line in file:
                try:
                    reading = _from_json(json.loads(line)) if line.endswith(b"\n") else None
                except (ValueError, LookupError, TypeError):
                    reading = None
                if reading is None:
                    break
                known[reading.key, reading.path] = reading
                end += len(line)
    except FileNotFoundError:
        pass
    except OSError as error:
        raise output_error(path, error) from None
    return known, end
