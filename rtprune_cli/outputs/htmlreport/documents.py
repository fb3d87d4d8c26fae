"""The documents of the report: what all pages of each came to, and where its markdown is."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple
from urllib.parse import quote

from rtprune_cli.outputs.htmlreport.figures import ReportCell, change, counted, fixed, moment, times
from rtprune_cli.records import PageRecord
from rtprune_cli.report import SPEEDUPS, Summary, Totals
from rtprune_cli.report.speedups import Speedup


class DocumentRow(NamedTuple):
    """A document and its sums.

    ``markdown`` is its file, relative to the report, None where it is not written; ``started`` when the first and the
    last of its pages were read.
    """

    name: str
    folder: str
    markdown: str | None
    started: tuple[str, str] | None
    summary: Summary

    @property
    def link(self) -> str | None:
        """Where a link to the markdown leads."""
        return None if self.markdown is None else quote(self.markdown, errors="replace")


def document_row(folder: str, markdown: str | None, records: Sequence[PageRecord]) -> DocumentRow:
    """The document of which these are all records, one at least."""
    totals = Totals()
    for record in records:
        totals.add(record)
    started = [record.started for record in records if record.started is not None]
    return DocumentRow(
        records[-1].document,
        folder,
        markdown,
        started=(min(started), max(started)) if started else None,
        summary=totals.summary(),
    )


class DocumentTable(NamedTuple):
    """``rows`` are a document and its cells, below ``columns``."""

    columns: Sequence[str]
    rows: Sequence[tuple[DocumentRow, Sequence[ReportCell]]]


def document_table(documents: Sequence[DocumentRow], speedups: Sequence[Speedup]) -> DocumentTable:
    """A row a document; failures and warnings are columns where there are some."""
    problems = [name for name in ("failed", "warned") if any(document.summary[name] for document in documents)]
    columns = ["pages", *problems, "visual tokens", "kept", "merged", *(each.heading for each in speedups), "seconds"]
    rows = []
    for document in documents:
        found = document.summary
        cells = [
            counted(found["pages"]),
            *(counted(found[name]) for name in problems),
            change(found["visual_tokens_before"], found["visual_tokens_after"]),
            counted(found["kept"]),
            counted(found["merged"]),
            *(times(found[each.field]) for each in speedups),
            fixed(sum(found["milliseconds"].values()) / 1000, 1),
        ]
        rows.append((document, cells))
    return DocumentTable(columns, rows)


def told_speedups(found: Summary) -> list[Speedup]:
    """Those of a summary that have a column: FLOPs, and what was measured."""
    return [each for each in SPEEDUPS if each is SPEEDUPS[0] or found[each.field] is not None]


def read_when(documents: Sequence[DocumentRow]) -> str:
    """When the pages were read, in words; "" where none was."""
    spans = [document.started for document in documents if document.started is not None]
    if not spans:
        return ""
    first, last = moment(min(first for first, _ in spans)), moment(max(last for _, last in spans))
    if first == last:
        return f"{first} UTC"
    same_day = first[:10] == last[:10]
    return f"{first} to {last[11:] if same_day else last} UTC"
