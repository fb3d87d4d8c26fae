"""The documents in an output folder, whatever runs left them: finished, begun, failed, with --md-only or without."""

from __future__ import annotations

import filecmp
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from rtprune_cli.outputs import journal
from rtprune_cli.outputs.folder import folder_of
from rtprune_cli.outputs.journal import Head
from rtprune_cli.outputs.layout import MARKDOWN, DocumentFiles, Layout, is_place


@dataclass(frozen=True)
class Lines:
    """Lines of a file: bytes ``start`` to ``end``."""

    path: Path
    start: int
    end: int

    def read(self) -> bytes:
        with open(self.path, "rb") as file:
            file.seek(self.start)
            return file.read(self.end - self.start)


@dataclass(frozen=True)
class FolderDocument:
    """A document: its files, the head of its journal if there is one, its lines of the report."""

    files: DocumentFiles
    head: Head | None
    spans: tuple[Lines, ...] = ()

    @property
    def root(self) -> Path:
        return self.files.layout.root

    @property
    def place(self) -> str:
        """What no other document of the folder has: that of its markdown."""
        return self.files.text_path

    @property
    def finished(self) -> bool:
        """Whether all its pages were read."""
        return self.head is not None and self.head.finished

    @property
    def fingerprint(self) -> str:
        """As in the journal's header; empty where there is none, and of a document that could not be opened."""
        return "" if self.head is None else self.head.header.fingerprint

    @property
    def begun(self) -> bool:
        """Whether it was not read to its end: not so one that has its text, if with pages that failed."""
        return self.head is not None and not self.head.finished and not self.files.markdown.exists()

    def pages(self) -> frozenset[int]:
        """The pages that were read, and did not fail."""
        past = journal.read(self.files.journal)
        return frozenset() if past is None else frozenset(past.places)

    def rows(self) -> bytes:
        return b"".join(span.read() for span in self.spans)

    def names(self) -> list[PurePosixPath]:
        """Its files, relative to the folder, in the order in which they are to be written."""
        return [PurePosixPath(path.relative_to(self.root).as_posix()) for path in self.files.own()]

    def other(self, layout: Layout) -> DocumentFiles:
        """The same places in another folder."""
        return Layout(layout.root, self.files.layout.md_only).of(self.files.folder)


def is_results(folder: Path) -> bool:
    """Whether a folder has something that :func:`documents_in` could find."""
    layout = Layout(folder)
    return layout.state.is_dir() or layout.report.is_file()


def documents_in(root: Path) -> list[FolderDocument]:
    """The documents in an output folder, those of the report first, in its order. Nothing is written."""
    layout = Layout(root)
    heads = {path.stem: own for path in _journals(layout) if (own := journal.head(path))}
    spans = _spans(layout)
    found: dict[str, FolderDocument] = {}

    def take(files: DocumentFiles) -> None:
        if not files.layout.md_only or files.journal.stem in heads:
            rows = () if files.layout.md_only else tuple(spans.get(str(files.folder), ()))
            found.setdefault(files.text_path, FolderDocument(files, heads.get(files.journal.stem), rows))

    for folder in spans:
        take(layout.of(PurePosixPath(folder)))
    for digest, head in heads.items():
        for files in _forms(layout, head.folder):
            if files.journal.stem == digest:
                take(files)
    known = {each.files.journal.stem for each in found.values()}
    if any(head.folder is None and digest not in known for digest, head in heads.items()):
        for folder in _markdown_files(root):  # nothing else names a document that failed, with --md-only
            for files in _forms(layout, folder):
                if files.journal.stem in heads.keys() - known and files.markdown.is_file():
                    take(files)
    return list(found.values())


def _journals(layout: Layout) -> list[Path]:
    return sorted(layout.journals.glob("*/*.jsonl"))


def _forms(layout: Layout, folder: str | None) -> list[DocumentFiles]:
    """A document's files as each form of output has them."""
    if folder is None or not is_place(place := PurePosixPath(folder)):
        return []
    return [Layout(layout.root, md_only).of(place) for md_only in (False, True)]


def _markdown_files(root: Path) -> Iterator[str]:
    """What would be the folders of documents to which the markdown files belong."""
    for folder, below, names in os.walk(root):
        below[:] = sorted(name for name in below if not name.startswith("."))
        stems = [name.removesuffix(MARKDOWN) for name in sorted(names) if name.endswith(MARKDOWN)]
        inside = Path(folder).relative_to(root)
        for stem in stems:
            yield (inside / stem).as_posix()
            if stem == inside.name:
                yield inside.as_posix()


def _spans(layout: Layout) -> dict[str, list[Lines]]:
    """The lines of each document in the report; those of a run that was killed are still beside it, and newer."""
    found: dict[str, list[Lines]] = {}
    for path in (layout.report, layout.rows):
        own: dict[str, list[Lines]] = {}
        place = 0
        try:
            with open(path, "rb") as file:
                for line in file:
                    folder, start, place = folder_of(line), place, place + len(line)
                    if folder is None or not is_place(PurePosixPath(folder)):
                        continue
                    spans = own.setdefault(folder, [])
                    if spans and spans[-1].end == start:
                        spans[-1] = Lines(path, spans[-1].start, place)
                    else:
                        spans.append(Lines(path, start, place))
        except OSError:
            continue  # there is none
        found |= own
    return found


def same_file(one: Path, other: Path) -> bool:
    """Whether two files hold the same bytes."""
    try:
        return os.path.samefile(one, other) or filecmp.cmp(one, other, shallow=False)
    except OSError:
        return False
