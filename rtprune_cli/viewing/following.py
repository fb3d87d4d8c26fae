"""The documents of an output folder as they are now, run after run, and while one goes on: reads what is new, no more.

A page is in one of four places: in the journal of a document that is not finished, its text with it; in the rows of the
run that goes on, or was killed; in the report of the runs before; and in a finished journal, which is all there is with
--md-only. The first that has it is right: a run moves pages from there to the next, and here they are read in that
order, so that none is missed on its way.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from rtprune_cli.outputs import journal
from rtprune_cli.outputs.html import record_of
from rtprune_cli.outputs.htmlreport import page_key
from rtprune_cli.outputs.layout import DocumentFiles, Layout, is_place
from rtprune_cli.records import PageRecord
from rtprune_cli.viewing.files import may_read
from rtprune_cli.viewing.tails import Tail

Records = dict[int | None, PageRecord]


@dataclass(slots=True)
class SeenPage:
    """A page: ``folded`` is its text as it is searched, None until that was looked up; ``text`` its markdown, None
    until then or where there is none."""

    record: PageRecord
    text: str | None = None
    folded: str | None = None

    @property
    def key(self) -> str:
        """What the report calls it in links."""
        return page_key(self.record)


@dataclass(frozen=True)
class SeenDocument:
    """A document with the pages that are known of it, in their order. ``begun``: it is not read to its end."""

    files: DocumentFiles
    pages: tuple[SeenPage, ...]
    begun: bool


class Following:
    """What is in the output folder ``root``, a real path, as of the last :meth:`look`."""

    def __init__(self, root: Path) -> None:
        self.root, self._layout = root, Layout(root)
        self._rows, self._report = (_Rows(Tail(root, path)) for path in (self._layout.rows, self._layout.report))
        self._journals: dict[str, _Journal] = {}
        self.documents: dict[str, SeenDocument] = {}  # by folder, as the report has them; replaced, never changed
        self.arrived = 0  # pages that were not there, or read otherwise, before
        self.latest: SeenPage | None = None  # of those in journals

    def look(self) -> bool:
        """Read what is new; whether anything is."""
        changed = {folder for own in self._journal_files() for folder in own.read()}
        changed |= self._rows.read() | self._report.read()
        if not changed:
            return False
        built = self.documents | {folder: self._document(folder) for folder in sorted(changed)}
        rows, report = self._rows.documents, self._report.documents
        order = dict.fromkeys([*(name for name in report if name not in rows), *rows, *built])
        self.documents = {name: found for name in order if (found := built.get(name)) is not None and found.pages}
        return True

    def _journal_files(self) -> Iterator[_Journal]:
        there = {path.stem: path for path in self._layout.journals.glob("*/*.jsonl")}
        for digest, path in there.items():
            if digest not in self._journals:
                self._journals[digest] = _Journal(self.root, path)
        yield from self._journals.values()
        self._journals = {digest: own for digest, own in self._journals.items() if digest in there}

    def _document(self, folder: str) -> SeenDocument:
        place = PurePosixPath(folder)
        forms = [Layout(self.root, md_only).of(place) for md_only in (False, True)]
        journals = [self._journals.get(files.journal.stem) for files in forms]
        for files, own in zip(forms, journals, strict=True):
            if own is not None and own.pages and folder not in self._rows.documents:
                return SeenDocument(files, self._pages(folder, own.records, own), not files.markdown.exists())
        for rows in (self._rows, self._report):
            if folder in rows.documents:
                return SeenDocument(forms[0], self._pages(folder, rows.documents[folder], journals[0]), False)
        for files, own in zip(forms, journals, strict=True):
            if own is not None and own.finished:
                return SeenDocument(files, self._pages(folder, own.kept_records(), None), False)
        return SeenDocument(forms[0], (), False)

    def _pages(self, folder: str, records: Records, own: _Journal | None) -> tuple[SeenPage, ...]:
        """Pages that are as they were stay what they are, with their texts."""
        before = {page.record.page: page for page in self.documents[folder].pages} if folder in self.documents else {}
        pages = []
        for number in sorted(records, key=lambda number: number or 0):
            page, text = before.get(number), None if own is None else own.texts.get(number)
            if page is None or page.record != records[number]:
                page = SeenPage(records[number], text)
                self.arrived += 1
                if own is not None and number == own.last:
                    self.latest = page
            page.record = records[number]  # one of equal ones, so that the other can go
            if page.text is None:
                page.text = text
            pages.append(page)
        return tuple(pages)


class _Rows:
    """The records of a report, by document."""

    def __init__(self, tail: Tail) -> None:
        self._tail = tail
        self.documents: dict[str, Records] = {}

    def read(self) -> set[str]:
        """Read what is new; the documents that it is about."""
        anew, lines = self._tail.read()
        changed = set(self.documents) if anew else set()
        if anew:
            self.documents = {}
        for record in filter(None, map(record_of, lines)):
            self.documents.setdefault(record.folder, {})[record.page] = record
            changed.add(record.folder)
        return changed


class _Journal:
    """A document's journal: its pages as long as it is not finished."""

    def __init__(self, root: Path, path: Path) -> None:
        self._root, self._path = root, path
        self._tail = Tail(root, path)
        self._folder: str | None = None
        self.finished: bool | None = None  # None: it cannot be understood
        self.records: Records = {}
        self.texts: dict[int | None, str | None] = {}
        self.last: int | None = None  # the page of its last line

    @property
    def pages(self) -> bool:
        """Whether it has pages of a document that is not finished."""
        return bool(self.records)

    def read(self) -> set[str]:
        """Read what is new; the document that it is about, if something is."""
        if not self._tail.changed():
            return set()
        anew, lines = self._tail.read()
        if anew:
            self.records, self.texts, self.finished = {}, {}, None
        if self.finished is None and lines:
            self.finished = journal.finished_by(lines[0])
            lines = lines[1:2] if self.finished else lines[1:]  # of a finished one, only whose it is
        if self.finished is None:
            return self._changed()
        for record, text in filter(None, map(journal.page_of, lines)):
            if not is_place(PurePosixPath(record.folder)):
                continue
            self._folder = record.folder
            if not self.finished and record.page is not None:
                self.records[record.page], self.texts[record.page], self.last = record, text, record.page
        return self._changed()

    def kept_records(self) -> Records:
        """The records of a finished journal."""
        past = journal.read(self._path) if may_read(self._root, self._path) else None
        return {} if past is None else {each.page: each for each in past.records if each.folder == self._folder}

    def _changed(self) -> set[str]:
        return set() if self._folder is None else {self._folder}
