"""What every scorer returns: a page's marks, as sums that add up over pages."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Metric:
    """A figure from 0 to about 1. ``lower`` says that less is better; a page's accuracy is then 1 less the value."""

    name: str  # of the figure in results and in --fail-above: cer, text_edit, teds
    title: str  # in tables
    lower: bool


@dataclass(frozen=True)
class Part:
    """A page's share of a metric; over pages that is the mean over strata of the sum of totals over the sum of weights.

    A mean over pages has weight 1 a page; a pooled character error rate has edits over characters. ``stratum`` is
    empty but where a benchmark averages over groups of different size (olmOCR-bench: its files of tests).
    """

    total: float
    weight: float = 1.0
    stratum: str = ""


@dataclass(frozen=True)
class Marks:
    """What a page scored. A metric that says nothing of this page (no table on it) is absent from ``scores``.

    ``notes``: counts that the metrics hide, summed over pages (characters that matched nothing). ``details``: what
    the benchmark's own totals need besides; picklable.
    """

    scores: Mapping[str, Sequence[Part]]
    notes: Mapping[str, float] = field(default_factory=dict)
    details: Any = None
