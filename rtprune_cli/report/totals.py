"""The sums of a run: totals over pages as they come, and the summary of the reports."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, get_args

from rtprune_cli.records import TIMES, FinishReason, PageRecord
from rtprune_cli.report.speedups import SPEEDUPS

KEPT_ROWS = 20  # of pages, documents, failures and warnings: what the end of a long run lists; the report has all

Summary = dict[str, Any]


def rounded(value: float | None, digits: int) -> float | None:
    """As the reports have it."""
    return None if value is None else round(float(value), digits)


@dataclass
class Noted:
    """Pages of one kind: how many, and the first of them."""

    count: int = 0
    first: list[PageRecord] = field(default_factory=list)

    def add(self, page: PageRecord) -> None:
        """Count a page."""
        self.count += 1
        if len(self.first) < KEPT_ROWS:
            self.first.append(page)


class Totals:
    """The sums of a run, kept while it goes on; its size does not grow with what was read."""

    def __init__(self) -> None:
        self.rows: list[PageRecord] = []  # the first ones, for the table
        self.documents: list[tuple[str, Totals]] = []  # the first ones by name, each with its own sums
        self.document_count = 0
        self.failures, self.warned = Noted(), Noted()
        self.failure_codes: set[str] = set()
        self.modes: dict[str, None] = {}  # in the order of their first pages
        self.stopped: str | None = None  # why the run ended early
        self.pages = self.retried = 0
        self.visual_tokens_before = self.visual_tokens_after = self.output_tokens = 0
        self.kept = self.merged = 0
        self._finish_reasons = dict.fromkeys(get_args(FinishReason), 0)
        self._milliseconds = dict.fromkeys(TIMES, 0.0)
        self._means = {name: _Mean() for name in (*(each.field for each in SPEEDUPS), "edit_distance_to_unpruned")}

    def add(self, page: PageRecord) -> None:
        """Count a page."""
        if len(self.rows) < KEPT_ROWS:
            self.rows.append(page)
        if page.warnings:
            self.warned.add(page)
        if page.error is not None:
            self.failures.add(page)
            self.failure_codes.add(page.error.code)
            return
        self.pages += 1
        if page.mode is not None:
            self.modes[page.mode] = None
        self.retried += page.attempts is not None
        self.visual_tokens_before += page.visual_tokens_before or 0
        self.visual_tokens_after += page.visual_tokens_after or 0
        self.kept += page.kept or 0
        self.merged += page.merged or 0
        self.output_tokens += page.output_tokens or 0
        if page.finish_reason is not None:
            self._finish_reasons[page.finish_reason] += 1
        for name, milliseconds in page.milliseconds.items():
            self._milliseconds[name] += milliseconds
        if page.visual_tokens_before:  # else the model was not asked
            for name, mean in self._means.items():
                mean.add(getattr(page, name))

    def add_of(self, document: str, own: Totals, page: PageRecord) -> None:
        """Count a page here, and in its document's ``own`` sums."""
        if not own.pages + own.failed:
            self.document_count += 1
            if len(self.documents) < KEPT_ROWS:
                self.documents.append((document, own))
        for each in (self, own):
            each.add(page)

    @property
    def failed(self) -> int:
        """Pages, and documents as a whole, that failed."""
        return self.failures.count

    @property
    def retention(self) -> float | None:
        """Visual tokens after over before, all pages together; None when no page was read."""
        return self.visual_tokens_after / self.visual_tokens_before if self.visual_tokens_before else None

    def summary(self) -> Summary:
        """Totals as a record; means and shares are None when no page was read. The speed-ups are means over pages."""
        return {
            "pages": self.pages,
            "failed": self.failed,
            "warned": self.warned.count,
            "retried": self.retried,
            "visual_tokens_before": self.visual_tokens_before,
            "visual_tokens_after": self.visual_tokens_after,
            "retention": rounded(self.retention, 6),
            "kept": self.kept,
            "merged": self.merged,
            "output_tokens": self.output_tokens,
            "finish_reasons": dict(self._finish_reasons),
            "milliseconds": {name[:-3]: round(total, 3) for name, total in self._milliseconds.items()},
            **{name: rounded(mean.value, 6) for name, mean in self._means.items()},
        }


class _Mean:
    """Of the values that are there."""

    def __init__(self) -> None:
        self._total, self._count = 0.0, 0

    def add(self, value: float | None) -> None:
        if value is not None:
            self._total, self._count = self._total + value, self._count + 1

    @property
    def value(self) -> float | None:
        return self._total / self._count if self._count else None


def summarise(records: Iterable[PageRecord]) -> Summary:
    """:meth:`Totals.summary` of records at hand."""
    totals = Totals()
    for record in records:
        totals.add(record)
    return totals.summary()
