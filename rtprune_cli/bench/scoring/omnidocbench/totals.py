"""Owns the benchmark's own totals: all pages -> the structure of the official ``*_metric_result.json``."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from statistics import fmean
from typing import Any

from rtprune_cli.bench.scoring.omnidocbench.score import PageDetails, PageSample, edit_rate

# How a metric of an element is named there, and its value for the samples of one page.
_EDIT = {"Edit_dist": edit_rate}
_TABLE: Mapping[str, Callable[[Sequence[PageSample]], float]] = {
    "TEDS": lambda samples: fmean(sample.teds for sample in samples),
    "TEDS_structure_only": lambda samples: fmean(sample.teds_s for sample in samples),
    **_EDIT,
}
_FORMULA: Mapping[str, Callable[[Sequence[PageSample]], float]] = {
    "CDM": lambda samples: fmean(sample.cdm or 0.0 for sample in samples),
    **_EDIT,
}
_VALUES = {**_TABLE, **_FORMULA}
_NOT_DRAWN = "needs CDM, which draws formulas with LaTeX: what to install: rtprune docs accuracy"
_Pages = Sequence[tuple[PageDetails, Sequence[PageSample]]]


def totals(pages: Iterable[PageDetails | None]) -> dict[str, Any]:
    """The official totals, and ``overall``. Pages without a prediction (None) are left out, as they are officially.

    An average of nothing is None (the official file has the string NaN).
    """
    known = [page for page in pages if page is not None]
    drawn = [sample.cdm is not None for page in known for sample in page.formulas]
    # Officially formulas that moved to the text are lost where no page has a sample of text.
    any_text = any(page.text for page in known)
    elements: dict[str, Any] = {
        "text_block": _element([(page, [*page.text, *page.moved] if any_text else []) for page in known], _EDIT),
        "display_formula": _element(
            [(page, page.formulas) for page in known], _FORMULA if drawn and all(drawn) else _EDIT
        ),
        "table": _element([(page, page.tables) for page in known], _TABLE),
        "reading_order": _element([(page, page.order) for page in known], _EDIT),
    }
    return {**elements, "overall": {**_overall(elements, drawn), **_overall_v1_0(elements)}}


def _element(pages: _Pages, metrics: Mapping[str, Callable[[Sequence[PageSample]], float]]) -> dict[str, Any]:
    pages = [(page, samples) for page, samples in pages if samples]
    samples = [sample for _, each in pages for sample in each]
    by_label = _grouped((label, sample) for sample in samples for label in sample.labels)
    page_values = {}
    for name, value in metrics.items():
        values = _grouped((label, value(each)) for page, each in pages for label in ("ALL", *page.labels))
        page_values[name] = {label: fmean(values[label]) for label in sorted(values)}
    return {
        "all": {name: _all(name, pages, samples) for name in metrics},
        "group": {
            **{name: {label: _mean(name, by_label[label]) for label in sorted(by_label)} for name in metrics},
            "sample_count": {label: len(by_label[label]) for label in sorted(by_label)},
        },
        "page": page_values,
    }


def _grouped(pairs: Iterable[tuple[str, Any]]) -> dict[str, list[Any]]:
    groups: dict[str, list[Any]] = {}
    for label, value in pairs:
        groups.setdefault(label, []).append(value)
    return groups


def _all(name: str, pages: _Pages, samples: Sequence[PageSample]) -> dict[str, float | None]:
    if name != "Edit_dist":
        return {"all": _mean(name, samples) if samples else None}
    return {
        "ALL_page_avg": fmean(edit_rate(each) for _, each in pages) if samples else None,
        "edit_whole": edit_rate(samples) if samples else None,
        "edit_sample_avg": _mean(name, samples) if samples else None,
    }


def _mean(name: str, samples: Sequence[PageSample]) -> float:
    """The mean over samples, each on its own."""
    return fmean(_VALUES[name]([sample]) for sample in samples)


def _overall(elements: Mapping[str, Any], drawn: Sequence[bool]) -> dict[str, Any]:
    """v1.5's: of text, tables and formulas by page averages, from 0 to 100; None, with the reason, where one lacks."""
    text, tables, formulas = (
        elements[element]["page"].get(metric, {}).get("ALL")
        for element, metric in (("text_block", "Edit_dist"), ("table", "TEDS"), ("display_formula", "CDM"))
    )
    if text is not None and tables is not None and formulas is not None:
        return {"v1.5": ((1 - text) + tables + formulas) * 100 / 3, "v1.5_reason": None}
    if drawn and not any(drawn):
        return {"v1.5": None, "v1.5_reason": _NOT_DRAWN}
    if not all(drawn):
        return {"v1.5": None, "v1.5_reason": f"{drawn.count(False)} of {len(drawn)} formula pairs could not be drawn"}
    lacking = [name for name, value in (("text", text), ("tables", tables), ("formulas", formulas)) if value is None]
    return {"v1.5": None, "v1.5_reason": f"no page has {' or '.join(lacking)} to score"}


def _overall_v1_0(elements: Mapping[str, Any]) -> dict[str, Any]:
    """v1.0's: the mean of the four edit distances, of pages in one language."""
    languages = sorted(
        {
            label
            for element in elements.values()
            for label in element["page"]["Edit_dist"]
            if label.startswith("language: ")
        }
    )
    return {"v1.0": {label: _mean_edit(elements, label) for label in ("ALL", *languages)}}


def _mean_edit(elements: Mapping[str, Any], label: str) -> dict[str, Any]:
    """The mean where all four are there, and which are not."""
    values = {name: element["page"]["Edit_dist"].get(label) for name, element in elements.items()}
    missing = [name for name, value in values.items() if value is None]
    return {"Edit_dist": None if missing else fmean(values.values()), "missing": missing}
