"""report.html in the output folder, and the files that it shows of pages."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import suppress
from itertools import groupby
from pathlib import Path, PurePosixPath
from typing import Any

from rtprune_cli.outputs import journal
from rtprune_cli.outputs.htmlreport import (
    TOKENS_VERSION,
    DocumentRow,
    PagePlot,
    Shown,
    document_row,
    page_plot,
    plot_point,
    report_page,
)
from rtprune_cli.outputs.layout import VIEWS, DocumentFiles, Layout, is_place, view_names, view_page
from rtprune_cli.records import DocumentBlocks, PageRecord, PageView, from_json, parse
from rtprune_cli.report import Summary, Totals
from rtprune_cli.storage import atomic_write, make_folder, output_error, remove, temporary_path

_MARKER = re.compile(r"<!-- (?:page (\d{1,12})|document)( failed: .*?)? -->[ \n]?")  # a page may begin in a paragraph


# --- Files of pages


def save_view(folder: Path, page: int, view: PageView | None, scratch: Path) -> None:
    """Save what the report shows of a page; without a view, remove what an earlier reading left.

    Raises:
        OutputError: a file cannot be written.
    """
    if view is None:
        for name in view_names(page):
            remove(folder / name)
        return
    make_folder(folder)
    for name, data in zip(view_names(page), (view.picture, view.thumbnail, view.tokens), strict=True):
        atomic_write(folder / name, data, scratch)


def remove_other_views(folder: Path, pages: Collection[int | None]) -> None:
    """Remove the files of pages that are not among ``pages``; files with other names are not ours."""
    if folder.is_dir():
        for path in folder.iterdir():
            page = view_page(path.name)
            if page is not None and page not in pages:
                remove(path)
        with suppress(OSError):  # not empty
            folder.rmdir()


# --- The report


class ReportFile:
    """OUTPUT/report.html, made of the records of OUTPUT/report.jsonl and of what lies beside them.

    Records are read twice, and no more than the texts of one document are held at a time.
    """

    def __init__(self, layout: Layout) -> None:
        self._layout = layout

    def write(self) -> None:
        """Write the report anew; without records there is nothing to show, and nothing is written.

        Raises:
            OutputError: it cannot be written; the old one stays.
        """
        if not self._layout.report.exists():
            return
        place = self._layout.html
        temporary = temporary_path(place, self._layout.scratch)
        try:
            summary, documents, plots = sums(self._files, rows_of(self._layout.report))
            settings = settings_of(self._layout, reversed(documents))
            with open(temporary, "xb") as file:
                for part in report_page(summary, settings, documents, self._pages(documents), plots):
                    file.write(part.encode("utf-8", "replace"))
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, place)
        except BaseException as error:
            remove(temporary)
            if isinstance(error, OSError):
                raise output_error(place, error) from None
            raise

    def _files(self, folder: str) -> DocumentFiles:
        return self._layout.of(PurePosixPath(folder))

    def _pages(self, documents: Sequence[DocumentRow]) -> Iterator[Shown]:
        markdown = {document.folder: document.markdown for document in documents}
        for folder, records in groupby(rows_of(self._layout.report), key=lambda record: record.folder):
            files = self._files(folder)
            texts = texts_of(files)
            for record in records:
                yield shown_page(files, record, texts.get(record.page), markdown.get(folder))


def sums(
    files_of: Callable[[str], DocumentFiles], rows: Iterable[PageRecord]
) -> tuple[Summary, list[DocumentRow], list[PagePlot]]:
    """The totals of all pages and of each document, and the plots of those that have one."""
    totals, documents, plots = Totals(), list[DocumentRow](), list[PagePlot]()
    for folder, records in groupby(rows, key=lambda record: record.folder):
        own = list(records)
        for record in own:
            totals.add(record)
        documents.append(document_row(folder, _markdown(files_of(folder)), own))
        plots += plots_of(own)
    return totals.summary(), documents, plots


def plots_of(rows: Iterable[PageRecord]) -> list[PagePlot]:
    """The plots of documents that have one, of these pages of theirs."""
    groups = ((folder, list(own)) for folder, own in groupby(rows, key=lambda record: record.folder))
    plots = (page_plot(own[-1].document, folder, map(plot_point, own)) for folder, own in groups)
    return [plot for plot in plots if plot is not None]


def _markdown(files: DocumentFiles) -> str | None:
    """The document's markdown, from the report; None until it is written, which is when the document is finished. Of a
    document in a bucket other files stand for it here."""
    return files.text_path if files.any_exists() else None


def settings_of(layout: Layout, documents: Iterable[DocumentRow]) -> dict[str, Any] | None:
    """The settings of the first of these documents that has a report."""
    for document in documents:
        with suppress(OSError, ValueError, LookupError, TypeError):
            records = layout.of(PurePosixPath(document.folder)).records
            settings = json.loads(records.read_bytes())["settings"]
            if isinstance(settings, dict) and settings:
                return settings
    return None


def shown_page(files: DocumentFiles, record: PageRecord, text: str | None, markdown: str | None) -> Shown:
    """A page as the report shows it, with what lies beside its document; ``markdown`` is where that stands."""
    page = record.page
    tokens = None if page is None else _tokens(files.views / view_names(page)[2])
    picture, thumbnail, _ = (f"{record.folder}/{VIEWS}/{name}" for name in view_names(page or 0))
    return Shown(record, text, tokens, (picture, thumbnail) if tokens else None, markdown)


def rows_of(report: Path) -> Iterator[PageRecord]:
    """The records of report.jsonl."""
    with open(report, "rb") as file:
        yield from filter(None, map(record_of, file))


def texts_of(files: DocumentFiles) -> dict[int | None, str]:
    """Page -> markdown: from the journal of a document that is not finished, else from its blocks, which have each page
    by itself, else from its markdown file."""
    entries = journal.kept(files.journal)
    if entries is not None:
        return {entry.record.page: entry.text for entry in entries}
    with suppress(OSError, ValueError, LookupError, TypeError):
        found = parse(DocumentBlocks, json.loads(files.blocks.read_bytes()))
        return {page.page: page.markdown for page in found.pages if page.status == "ok"}
    try:
        parts = _MARKER.split(files.markdown.read_text("utf-8", "replace"))
    except OSError:
        return {}
    return {int(parts[at]): parts[at + 2].strip() for at in range(1, len(parts), 3) if not parts[at + 1]}


def record_of(line: bytes) -> PageRecord | None:
    """A line of the report; None for one that is no record, or of no place in the folder."""
    try:
        record = from_json(json.loads(line))
    except ValueError:
        return None
    return record if is_place(PurePosixPath(record.folder)) else None


def _tokens(path: Path) -> dict[str, Any] | None:
    """The visual tokens of a page; None where it was read without --html."""
    try:
        tokens = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return None
    return tokens if isinstance(tokens, dict) and tokens.get("version") == TOKENS_VERSION else None
