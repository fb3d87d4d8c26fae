"""Owns the journal of a document: which of its pages are done, so that a rerun goes on where the last one ended.

A journal is a file of JSON lines: a header that says which document, content and settings it is about, then a line a
page. Lines are only appended, each with one fsync, so that after a kill or a power cut all but the last are whole.
A finished document's journal is rewritten without the texts, which are in the markdown by then.
"""

from __future__ import annotations

import json
import os
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from types import NoneType
from typing import IO, Any

from rtprune_cli.records import Block, PageRecord, from_json, parse
from rtprune_cli.storage import append, atomic_write, make_folder, output_error, to_json

VERSION = 2


@dataclass(frozen=True)
class Header:
    """What a journal is about.

    ``path`` is the absolute path of the input, None for standard input; ``sha256`` its content; ``fingerprint``
    stands for content, settings, model and version together: pages count as done only under the same one.
    """

    path: str | None
    sha256: str
    fingerprint: str


@dataclass(frozen=True)
class Entry:
    """One page: its report record, its markdown, the raw model text if it is kept, the names of its crops, blocks."""

    record: PageRecord
    text: str
    raw: str | None = None
    crops: tuple[str, ...] = ()
    blocks: tuple[Block, ...] = ()


class Journal:
    """The journal of one document, open for appending."""

    def __init__(self, path: Path, header: Header, keep: Collection[int] | None, scratch: Path) -> None:
        """Go on with the ``keep`` pages of the journal at ``path``, which has this header; or with None start it anew.

        ``scratch`` is where temporary files go.

        Raises:
            OutputError: it cannot be written.
        """
        self._path = path
        self._header = header
        self._scratch = scratch
        self._places: dict[int, int] = {}  # page -> offset of its last line
        past = None if keep is None else read(path)
        if past is None or past.finished or past.header.fingerprint != header.fingerprint:
            make_folder(path.parent)
            atomic_write(path, to_json(_header_line(header)), scratch)
            past = None
        try:
            self._descriptor = os.open(path, os.O_RDWR | getattr(os, "O_BINARY", 0))
            if past is not None:
                self._places = {page: place for page, place in past.places.items() if page in (keep or ())}
                os.ftruncate(self._descriptor, past.end)  # a line that a kill tore
        except OSError as error:
            raise output_error(path, error) from None

    def append(self, entry: Entry) -> None:
        """Keep a page.

        Raises:
            OutputError: it cannot be written; the journal is as it was.
        """
        place = os.lseek(self._descriptor, 0, os.SEEK_END)
        append(self._descriptor, to_json(entry), self._path)
        if entry.record.page is not None:
            self._places[entry.record.page] = place

    @property
    def pages(self) -> frozenset[int]:
        """The pages that are kept, failed ones too."""
        return frozenset(self._places)

    def entries(self, pages: Iterable[int]) -> Iterator[Entry]:
        """The entries of ``pages``, in that order, read from the disk."""
        with open(self._descriptor, "rb", closefd=False) as file:
            yield from _entries_at(file, (self._places[page] for page in pages))

    def finish(self, entries: Iterable[Entry], endings: Sequence[str]) -> None:
        """Mark the document as done, and keep of its pages only the records and the names of the crops. ``endings``
        are those of the files that were written of it.

        Raises:
            OutputError: it cannot be written; the document counts as unfinished.
        """
        pages = ({"record": entry.record, "crops": entry.crops} for entry in entries)
        lines = [{**_header_line(self._header), "finished": True, "files": endings}, *pages]
        atomic_write(self._path, b"".join(map(to_json, lines)), self._scratch)

    def close(self) -> None:
        """Close the file; what was appended stays."""
        os.close(self._descriptor)


@dataclass(frozen=True)
class Past:
    """What a journal on disk holds: pages that were read, those that ``failed``, and where the last whole line ends.
    ``files`` are the endings of a finished document's files; None where an older version did not say."""

    header: Header
    finished: bool
    records: list[PageRecord]
    crops: dict[int, tuple[str, ...]]
    places: dict[int, int]
    failed: frozenset[int]
    end: int
    files: frozenset[str] | None = None


def read(path: Path) -> Past | None:
    """The journal at ``path``; None if there is none, or none that this version understands. Failed pages are not among
    its records: they are to be tried again."""
    try:
        file = open(path, "rb")  # noqa: SIM115
    except OSError:
        return None
    with file:
        first = _line(file.readline())
        header = _header(first)
        if header is None:
            return None
        records, crops, places, failed = [], {}, {}, set()
        place = file.tell()
        for raw in file:
            line = _line(raw)
            try:
                record = from_json((line or {}).get("record"))
            except ValueError:
                break  # torn; nothing whole can follow it
            if record.page is not None and record.failed:
                failed.add(record.page)
            elif record.page is not None:
                records.append(record)
                places[record.page] = place
                crops[record.page] = tuple((line or {}).get("crops", ()))
            place += len(raw)
        finished, endings = bool(first and first.get("finished")), (first or {}).get("files")
        files = frozenset(map(str, endings)) if isinstance(endings, list) else None
        return Past(header, finished, records, crops, places, frozenset(failed), place, files)


def kept(path: Path) -> Iterator[Entry] | None:
    """The pages that were read, of the journal of an unfinished document; None where there is no such journal."""
    past = read(path)
    return None if past is None or past.finished else _kept(path, past)


def _kept(path: Path, past: Past) -> Iterator[Entry]:
    with open(path, "rb") as file:
        yield from _entries_at(file, past.places.values())


def _entries_at(file: IO[bytes], places: Iterable[int]) -> Iterator[Entry]:
    for place in places:
        file.seek(place)
        yield _entry(json.loads(file.readline()))


def rename_owner(path: Path, owner: str | None, scratch: Path) -> None:
    """Write into a journal that its document now lies at ``owner``.

    Raises:
        OutputError: it cannot be written.
    """
    try:
        first, *rest = path.read_bytes().splitlines(keepends=True)
    except OSError as error:
        raise output_error(path, error) from None
    header = to_json({**(_line(first) or {}), "path": owner})
    atomic_write(path, b"".join([header, *rest]), scratch)


def owner(path: Path) -> Header | None:
    """Whose journal ``path`` is; only its first line is read."""
    found = head(path)
    return None if found is None else found.header


@dataclass(frozen=True)
class Head:
    """What the first two lines of a journal say; ``folder``, the document's place, is None where no page is in it."""

    header: Header
    finished: bool
    folder: str | None


def head(path: Path) -> Head | None:
    """The head of the journal at ``path``; None as for :func:`read`."""
    try:
        with open(path, "rb") as file:
            first, second = _line(file.readline()), _line(file.readline())
    except OSError:
        return None
    header = _header(first)
    if header is None or first is None:
        return None
    record = (second or {}).get("record")
    folder = record.get("folder") if isinstance(record, dict) else None
    return Head(header, bool(first.get("finished")), folder if isinstance(folder, str) else None)


def finished_by(line: bytes) -> bool | None:
    """Whether a journal is that of a finished document, by its first line; None where it is none of this version."""
    first = _line(line)
    return None if first is None or _header(first) is None else bool(first.get("finished"))


def page_of(line: bytes) -> tuple[PageRecord, str | None] | None:
    """A page, failed ones too, by its line: its record, and its text as long as the journal has it; None for a line
    that is no page."""
    found = _line(line) or {}
    try:
        record = from_json(found.get("record"))
    except ValueError:
        return None
    text = found.get("text")
    return record, text if isinstance(text, str) else None


def _line(raw: bytes) -> dict[str, Any] | None:
    try:
        value = json.loads(raw) if raw.endswith(b"\n") else None
    except ValueError:
        return None
    return value if isinstance(value, dict) else None


def _header_line(header: Header) -> dict[str, Any]:
    return {"journal": VERSION, **asdict(header)}


def _header(line: Mapping[str, Any] | None) -> Header | None:
    if line is None or line.get("journal") != VERSION:
        return None
    path, others = line.get("path"), (line.get("sha256"), line.get("fingerprint"))
    if not isinstance(path, (str, NoneType)) or not all(isinstance(value, str) for value in others):
        return None
    return Header(path, line["sha256"], line["fingerprint"])


def _entry(line: Mapping[str, Any]) -> Entry:
    blocks = tuple(parse(Block, each) for each in line["blocks"])
    return Entry(from_json(line["record"]), line["text"], line["raw"], tuple(line["crops"]), blocks)
