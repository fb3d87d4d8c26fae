"""Owns the benchmark's own totals by the rules of v1.6: v1.5's structure, and the subsets of the leaderboard."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from statistics import fmean
from typing import Any

from rtprune_cli.bench.scoring.omnidocbench import totals as v15
from rtprune_cli.bench.scoring.omnidocbench.v16.score import ScoredPage, page_values

BASE = "subset: v1.5"  # the label of pages that v1.5 had; the 296 others of v1.6 are in three subsets, the hard ones
_NO_OVERALL = "needs the CDM of v1.6, another programme than that of v1.5, which is not computed"
_TEDS = {"TEDS": "teds", "TEDS_structure_only": "teds_s"}
_Pages = Sequence[tuple[Sequence[str], Mapping[str, float]]]  # labels of a page, its figures


def totals(pages: Iterable[ScoredPage | None]) -> dict[str, Any]:
    """The official totals, ``overall``, and the components of Overall for each of the ``subsets`` that are there.

    In ``page``, TEDS of a page that has a table, but nothing of one to compare, is 0.
    """
    known = [page for page in pages if page is not None]
    values = [(page.labels, page_values(page)) for page in known]
    found = v15.totals(known)
    for title, name in _TEDS.items():
        labels = sorted({label for labels, figures in values if name in figures for label in ("ALL", *labels)})
        found["table"]["page"][title] = {
            label: _mean([each for each in values if label in ("ALL", *each[0])], name) for label in labels
        }
    return {**found, "overall": {"v1.6": None, "v1.6_reason": _NO_OVERALL}, "subsets": _subsets(values)}


def _mean(pages: _Pages, name: str) -> float | None:
    having = [figures[name] for _, figures in pages if name in figures]
    return fmean(having) if having else None


def _subsets(pages: _Pages) -> dict[str, Any]:
    """Base and Hard, where pages say which they are of, and Full: each figure's mean over the pages that have it."""
    base = [page for page in pages if BASE in page[0]]
    hard = [page for page in pages if BASE not in page[0] and any(label.startswith("subset: ") for label in page[0])]
    names = sorted({name for _, figures in pages for name in figures})
    return {
        subset: {"pages": len(members), **{name: _mean(members, name) for name in names}}
        for subset, members in (("Base", base), ("Hard", hard), ("Full", pages))
        if members
    }
