"""Owns the marks of one page by the rules of OmniDocBench v1.6 (end2end_dataset.py, cal_metric.py).

Nothing falls out of these figures as it does out of v1.5's: a page without a prediction is an empty page, and display
formulas stay formulas. So there are no strict twins. CDM is left to whoever draws the pairs of formulas.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import fmean

from rapidfuzz.distance import Levenshtein

from rtprune_cli.bench.scoring.omnidocbench.matching import assign, costs
from rtprune_cli.bench.scoring.omnidocbench.prediction import INLINE
from rtprune_cli.bench.scoring.omnidocbench.score import (
    OFFICIAL,
    FormulaPair,
    PageDetails,
    PageSample,
    edit_rate,
    page_labels,
)
from rtprune_cli.bench.scoring.omnidocbench.teds import teds
from rtprune_cli.bench.scoring.omnidocbench.truth import FORMULA, TABLE, TEXT, TruthBlock
from rtprune_cli.bench.scoring.omnidocbench.v16 import normalise
from rtprune_cli.bench.scoring.omnidocbench.v16.formulas import pair_formulas
from rtprune_cli.bench.scoring.omnidocbench.v16.matching import (
    FORMULAS,
    Candidate,
    Pairing,
    by_place,
    candidates,
    distance,
    pair,
    truth_lines,
    with_rows,
)
from rtprune_cli.bench.scoring.omnidocbench.v16.prediction import (
    CELL_FORMULA,
    PredictedPage,
    PredictedPiece,
    read_markdown,
)
from rtprune_cli.bench.scoring.omnidocbench.v16.tables import comparable, normal_table
from rtprune_cli.bench.scoring.omnidocbench.v16.truth import AnnotatedPage
from rtprune_cli.bench.scoring.omnidocbench.v16.windows import rendered, with_windows
from rtprune_cli.bench.scoring.records import Marks, Part

METRICS = OFFICIAL


@dataclass(frozen=True)
class ScoredPage(PageDetails):
    """What the official totals need of a page. ``owes``: categories in which a page without a sample counts as 0;
    ``moved`` is empty."""

    owes: frozenset[str] = frozenset()


def score_page(truth: AnnotatedPage, prediction: str | None) -> Marks:
    """Score one page of markdown; without one the page counts as empty."""
    page = read_markdown(prediction or "")
    lines = truth_lines(truth.blocks)
    pool = by_place(page.mixed)
    predicted = candidates(with_rows(pool))
    mixed = [_as_text(each) for each in pair(lines, predicted)]
    found = with_windows(mixed, pool)
    text = [each for each in found if each.category in TEXT]
    formulas = pair_formulas(
        truth_lines([block for block in truth.blocks if block.category == FORMULA]),
        page,
        [each for each in found if each.category == FORMULA],
    )
    tables, table_places = _tables(truth.tables, page)
    details = ScoredPage(
        labels=page_labels(truth.attributes),
        text=[_sample(each) for each in text],
        moved=[],
        formulas=[replace(_sample(each), pair=FormulaPair(each.raw_truth, each.raw_prediction)) for each in formulas],
        tables=tables,
        order=_order([*((each.orders, each.place) for each in (*text, *formulas)), *table_places]),
        owes=truth.owes,
    )
    notes = _notes(page, predicted, mixed) | {"missing_pages": float(prediction is None)}
    return Marks({name: [Part(value)] for name, value in page_values(details).items()}, notes, details)


def page_values(details: ScoredPage) -> dict[str, float]:
    """The page's figures; one of whose kind it has nothing is absent, but for TEDS of a table that it owes."""
    edits = {
        "text_edit": details.text,
        "formula_edit": details.formulas,
        "table_edit": details.tables,
        "order_edit": details.order,
    }
    values = {name: edit_rate(samples) for name, samples in edits.items() if any(sample.length for sample in samples)}
    if details.tables:
        values["teds"] = fmean(sample.teds for sample in details.tables)
        values["teds_s"] = fmean(sample.teds_s for sample in details.tables)
    elif TABLE in details.owes:
        values["teds"] = values["teds_s"] = 0.0
    return values


def _as_text(each: Pairing) -> Pairing:
    """A formula and text that stand for each other, both as text."""
    if not each.label or (each.category == FORMULA) == (each.label in FORMULAS):
        return each
    truth, prediction = rendered(each.category, each.raw_truth), rendered(each.label, each.raw_prediction)
    one, other = normalise.text(truth), normalise.text(prediction)
    return replace(
        each,
        raw_truth=truth,
        raw_prediction=prediction,
        normal_truth=one,
        normal_prediction=other,
        edit=distance(one, other),
    )


def _sample(each: Pairing) -> PageSample:
    """Officially an empty normal form gives way to the text as it is."""
    truth, prediction = each.normal_truth or each.raw_truth, each.normal_prediction or each.raw_prediction
    return _compared(truth, prediction, each.attributes)


def _compared(truth: str, prediction: str, attributes: Sequence[Mapping[str, object]]) -> PageSample:
    labels = sorted({f"{name}: {value}" for each in attributes for name, value in each.items()})
    return PageSample(Levenshtein.distance(truth, prediction), max(len(truth), len(prediction)), labels)


_Placed = tuple[Sequence[float | None], int | None]


def _tables(truth: Sequence[TruthBlock], page: PredictedPage) -> tuple[list[PageSample], list[_Placed]]:
    """The page's tables, and where they stand on both sides.

    A LaTeX table is officially turned into HTML by LaTeXML (see ``latex_tables``); without it, it stands for nothing.
    The prediction that comes first on the page has no place officially, since its number is 0.
    """
    wanted = [(each.content, form) for each in truth if each.content and (form := comparable(each.content))]
    offered = [(each.content, form) for each in page.html_tables if each.content and (form := comparable(each.content))]
    pairs = assign(costs([form for _, form in wanted], [form for _, form in offered]))
    samples: list[PageSample] = []
    places: list[_Placed] = []
    for row, (content, _) in enumerate(wanted):
        column = pairs.get(row)
        source = offered[column][0] if column is not None else ""
        one, other = normal_table(content) or content, normal_table(source) or source
        sample = _compared(one, other, [truth[row].attributes])
        samples.append(replace(sample, teds=teds(other, one), teds_s=teds(other, one, structure_only=True)))
        places.append(([truth[row].order], page.html_tables[column].start if column else None))
    return samples, places


def _order(found: Sequence[_Placed]) -> list[PageSample]:
    """Reading order of text, formulas and tables: numbers of the truth, and the same by place of their predictions."""
    placed = sorted((each for each in found if each[1] is not None), key=lambda each: each[1] or 0)
    truth = sorted(order for orders, _ in found for order in orders if order)
    prediction = [order for orders, _ in placed for order in orders if order]
    return [PageSample(Levenshtein.distance(truth, prediction), len(truth))] if truth else []


def _notes(page: PredictedPage, predicted: Sequence[Candidate], mixed: Sequence[Pairing]) -> dict[str, float]:
    """Characters are those that are compared, outside tables; inline formulas count in their text."""
    used = {number for each in mixed for number in each.predictions}
    counted = [(number, len(each.normal)) for number, each in enumerate(predicted) if _counts(each.piece)]
    return {
        "predicted_characters": float(sum(length for _, length in counted)),
        "unmatched_characters": float(sum(length for number, length in counted if number not in used)),
        "latex_tables": float(len(page.latex_tables)),
    }


def _counts(piece: PredictedPiece) -> bool:
    return piece.label not in (INLINE, CELL_FORMULA)
