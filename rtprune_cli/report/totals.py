"""The sums of a run: totals over pages as they come, and the summary of the reports."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, get_args

from rtprune_cli.records import TIMES, FinishReason, PageRecord
from rtprune_cli.report.speedups import SPEEDUPS

TABLE_PAGES = 20  # a longer run is summarised below its first pages

Summary = dict[str, Any]


def rounded(value: float | None, digits: int) -> float | None:
    """As the reports have it."""
    return None if value is None else round(float(value), digits)


class Totals:
    """The sums of a run, kept while it goes on; its size does not grow with the pages that were read."""

    def __init__(self) -> None:
        self.rows: list[PageRecord] = []  # the first ones, for the table
        self.failures: list[PageRecord] = []
        self.warned: list[PageRecord] = []
        self.stopped: str | None = None  # why the run ended early
        self.pages = self.retried = 0
        self.visual_tokens_before = self.visual_tokens_after = self.output_tokens = 0
        self._finish_reasons = dict.fromkeys(get_args(FinishReason), 0)
        self._milliseconds = dict.fromkeys(TIMES, 0.0)
        self._means = {name: _Mean() for name in (*(each.field for each in SPEEDUPS), "edit_distance_to_unpruned")}

    def add(self, page: PageRecord) -> None:
        """Count a page."""
        if len(self.rows) < TABLE_PAGES:
            self.rows.append(page)
        if page.warnings:
            self.warned.append(page)
        if page.failed:
            self.failures.append(page)
            return
        self.pages += 1
        self.retried += page.attempts is not None
        self.visual_tokens_before += page.visual_tokens_before or 0
        self.visual_tokens_after += page.visual_tokens_after or 0
        self.output_tokens += page.output_tokens or 0
        if page.finish_reason is not None:
            self._finish_reasons[page.finish_reason] += 1
        for name, milliseconds in page.milliseconds.items():
            self._milliseconds[name] += milliseconds
        if page.visual_tokens_before:  # else the model was not asked
            for name, mean in self._means.items():
                mean.add(getattr(page, name))

    @property
    def failed(self) -> int:
        """Pages, and documents as a whole, that failed."""
        return len(self.failures)

    @property
    def retention(self) -> float | None:
        """Visual tokens after over before, all pages together; None when no page was read."""
        return self.visual_tokens_after / self.visual_tokens_before if self.visual_tokens_before else None

    def summary(self) -> Summary:
        """Totals as a record; means and shares are None when no page was read. The speed-ups are means over pages."""
        return {
            "pages": self.pages,
            "failed": self.failed,
            "warned": len(self.warned),
            "retried": self.retried,
            "visual_tokens_before": self.visual_tokens_before,
            "visual_tokens_after": self.visual_tokens_after,
            "retention": rounded(self.retention, 6),
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
