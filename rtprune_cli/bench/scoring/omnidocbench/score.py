"""Owns the marks of one page: the official v1.5 figures, and twins that count what the official ones leave out.

``text_edit``, ``formula_edit``, ``table_edit``, ``teds``, ``teds_s``, ``order_edit`` are the official page values
(end2end_dataset.py, cal_metric.py); a page without a sample of one has no such figure. Three things fall out of them:
a page without a prediction, a kind of block of which nothing is left to compare, and a display formula that is matched
to plain text (it moves to the text). The ``_strict`` twins count the first two as worst (edit 1, TEDS 0), and the third
as a formula that is missing; elsewhere they are equal. What was predicted and matches nothing costs nothing officially;
the notes count it. ``cdm`` comes later, when the formulas are drawn: :func:`with_cdm`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import fmean
from typing import Any

from rapidfuzz.distance import Levenshtein

from rtprune_cli.bench.scoring.omnidocbench import normalise
from rtprune_cli.bench.scoring.omnidocbench.arrays import array_rows
from rtprune_cli.bench.scoring.omnidocbench.cdm import joined
from rtprune_cli.bench.scoring.omnidocbench.matching import Match, PredictedLine, TruthLine, assign, costs, match
from rtprune_cli.bench.scoring.omnidocbench.prediction import FORMULA as PREDICTED_FORMULA
from rtprune_cli.bench.scoring.omnidocbench.prediction import INLINE, PIPE_TABLE, Item, ParsedPrediction, read_markdown
from rtprune_cli.bench.scoring.omnidocbench.prediction import TEXT as PREDICTED_TEXT
from rtprune_cli.bench.scoring.omnidocbench.tables import cell_texts, normal_table
from rtprune_cli.bench.scoring.omnidocbench.teds import teds
from rtprune_cli.bench.scoring.omnidocbench.truth import FORMULA, TEXT, Truth, TruthBlock
from rtprune_cli.bench.scoring.records import Marks, Metric, Part

FORMULA_EDIT = "formula_edit"
OFFICIAL = (
    Metric("text_edit", "text edit", lower=True),
    Metric(FORMULA_EDIT, "formula edit", lower=True),
    Metric("table_edit", "table edit", lower=True),
    Metric("teds", "TEDS", lower=False),
    Metric("teds_s", "TEDS-S", lower=False),
    Metric("order_edit", "order edit", lower=True),
)
CDM = Metric("cdm", "CDM", lower=False)


def metrics(*, drawn: bool) -> tuple[Metric, ...]:
    """Those of a page, and their strict twins; ``drawn``: CDM too."""
    official = (*OFFICIAL, CDM) if drawn else OFFICIAL
    return *official, *(Metric(f"{each.name}_strict", f"{each.title}, strict", each.lower) for each in official)


METRICS = metrics(drawn=False)


@dataclass(frozen=True)
class FormulaPair:
    """A display formula of the truth and what was predicted for it, or "", as they are."""

    truth: str = ""
    prediction: str = ""


@dataclass(frozen=True)
class PageSample:
    """A pair that was compared: ``edits`` of ``length``, the longer side's. ``labels``: attributes of its blocks.

    ``pair``: a formula's two sides; ``cdm`` is None until they are drawn, and after that where they cannot be.
    """

    edits: int
    length: int
    labels: Sequence[str] = ()
    teds: float = 0.0
    teds_s: float = 0.0
    pair: FormulaPair = FormulaPair()
    cdm: float | None = None


@dataclass(frozen=True)
class PageDetails:
    """What the official totals need of a page. ``moved``: display formulas that were matched to plain text."""

    labels: Sequence[str]
    text: Sequence[PageSample]
    moved: Sequence[PageSample]
    formulas: Sequence[PageSample]
    tables: Sequence[PageSample]
    order: Sequence[PageSample]


def score_page(truth: Truth, prediction: str | None) -> Marks:
    """Score one page of markdown, or its absence, which the official code skips: then ``details`` is None."""
    lines = _truth_lines(truth.blocks)
    if prediction is None:
        return Marks(_parts({}, _worst(truth, lines)), {"missing_pages": 1.0})
    page = read_markdown(prediction)
    tables, cells = _tables(truth.tables, page)
    predicted = _predicted_lines([*page.pool, *cells])
    found = match(lines, predicted)
    text, formulas, missed, moved = [], [], [], []
    for each in found.matches:
        if each.category != FORMULA:
            text.append(each)
        elif each.label in ("", INLINE, PREDICTED_FORMULA):
            formulas.append(replace(_sample(each), pair=_pair(each)))
        else:
            moved.append(_as_text(each))
            missed.append(sum(len(line.normal) for line in each.truth))
    details = PageDetails(
        page_labels(truth.attributes), [_sample(each) for each in text], moved, formulas, tables, _order(text)
    )
    official = _page_values(details)
    strict = _worst(truth, lines) | official
    if missed:
        edits = sum(missed) + sum(sample.edits for sample in formulas)
        strict[FORMULA_EDIT] = edits / (sum(missed) + sum(sample.length for sample in formulas))
    return Marks(_parts(official, strict), _notes(truth, page, predicted, found.surplus), details)


def with_cdm(marks: Marks, values: Sequence[float | None]) -> Marks:
    """The marks of a page with CDM, of which ``values`` has one for each of its formulas that were compared.

    A page of whose formulas one could not be drawn has none. The strict twin counts as 0 what a display formula of the
    truth has no formula for: the page is missing, or it was matched to plain text.
    """
    details = marks.details
    if not isinstance(details, PageDetails):
        found, count = [], 0
    else:
        details = replace(
            details, formulas=[replace(each, cdm=value) for each, value in zip(details.formulas, values, strict=True)]
        )
        found, count = list(values), len(values) + len(details.moved)
    known = [value for value in found if value is not None]
    scores = dict(marks.scores)
    if len(known) == len(found) and f"{FORMULA_EDIT}_strict" in scores:
        if known:
            scores[CDM.name] = [Part(fmean(known))]
        scores[f"{CDM.name}_strict"] = [Part(sum(known) / count if count else 0.0)]
    return Marks(scores, marks.notes, details)


def page_labels(attributes: Mapping[str, Any]) -> list[str]:
    """The groups a page is in, each once: ``name: value``, and every issue that is not one of its tables."""
    labels: list[str] = []
    for name, value in attributes.items():
        if isinstance(value, list):
            labels += [str(issue) for issue in value if "table" not in str(issue)]
        else:
            labels.append(f"{name}: {value}")
    return list(dict.fromkeys(labels))


def edit_rate(samples: Sequence[PageSample]) -> float:
    """Edits over lengths."""
    return sum(sample.edits for sample in samples) / sum(sample.length for sample in samples)


# --- Samples -----------------------------------------------------------------------------------------------------


def _truth_lines(blocks: Sequence[TruthBlock]) -> list[TruthLine]:
    """Blocks that are not empty. Order and attributes are those of the block at the same number among all blocks.

    So behind an empty block they belong to an earlier one: the official code looks them up in the unfiltered list.
    """
    kept = [(block, normal) for block in blocks if (normal := _normal(block))]
    return [
        TruthLine(block.content, normal, block.category, blocks[number].order, blocks[number].attributes)
        for number, (block, normal) in enumerate(kept)
    ]


def _normal(block: TruthBlock) -> str:
    return normalise.formula(block.content) if block.category == FORMULA else normalise.text(block.content)


def _predicted_lines(pool: Sequence[Item]) -> list[PredictedLine]:
    """By place, inline formulas last. Labels and places shift behind empty pieces as in :func:`_truth_lines`."""
    items: list[Item] = []
    for item in sorted(pool, key=lambda item: (item.label == INLINE, item.position)):
        rows = array_rows(item.content) if item.kind == PREDICTED_FORMULA else None
        if rows is None:
            items.append(item)
        else:
            items += [replace(item, content=row.formula, position=item.position + row.place) for row in rows]
    normal = [
        normalise.formula(item.content) if item.kind == PREDICTED_FORMULA else normalise.text(item.content)
        for item in items
    ]
    kept = [(each, item.content) for each, item in zip(normal, items, strict=True) if each]
    return [
        PredictedLine(each, items[number].label, items[number].position, raw) for number, (each, raw) in enumerate(kept)
    ]


def _sample(found: Match) -> PageSample:
    truth = "".join(line.normal for line in found.truth)
    return _compared(truth, _predicted(found), [line.attributes for line in found.truth])


def _pair(found: Match) -> FormulaPair:
    sides = ([line.raw for line in side] for side in (found.truth, found.predictions))
    truth, prediction = (joined(side) if side else "" for side in sides)
    return FormulaPair(truth, prediction)


def _as_text(found: Match) -> PageSample:
    """A display formula that was matched to plain text, as text."""
    latex = joined([line.raw for line in found.truth])
    unicode = normalise.latex_to_text(latex)
    text = latex if unicode is None else unicode
    return _compared(normalise.words(text) or text, _predicted(found), [line.attributes for line in found.truth])


def _predicted(found: Match) -> str:
    return "".join(line.normal for line in found.predictions)


def _compared(truth: str, prediction: str, attributes: Sequence[Mapping[str, Any]]) -> PageSample:
    labels = sorted({f"{name}: {value}" for each in attributes for name, value in each.items()})
    return PageSample(Levenshtein.distance(truth, prediction), max(len(truth), len(prediction)), labels)


def _tables(truth: Sequence[TruthBlock], page: ParsedPrediction) -> tuple[list[PageSample], list[Item]]:
    """The page's tables, and the cells of surplus predictions: they join the text. All is dropped without truth.

    Where a page has more LaTeX tables than HTML ones, all of its tables count as missing: the official code blanks
    them.
    """
    contents = [block.content for block in truth if block.content]
    if not contents:
        return [], []
    predicted = [] if len(page.latex_tables) > len(page.html_tables) else page.html_tables
    pairs = assign(costs(contents, [item.content for item in predicted]))
    samples = []
    for row, content in enumerate(contents):
        source = predicted[pairs[row]].content if row in pairs else ""
        one, other = normal_table(content) or content, normal_table(source) or source
        sample = _compared(one, other, [truth[row].attributes])
        samples.append(replace(sample, teds=teds(other, one), teds_s=teds(other, one, structure_only=True)))
    surplus = [item for column, item in enumerate(predicted) if column not in pairs.values()]
    return samples, [
        Item(PREDICTED_TEXT, item.label if item.label == PIPE_TABLE else PREDICTED_TEXT, item.position, text)
        for item in surplus
        for text in cell_texts(item.content)
    ]


def _order(found: Sequence[Match]) -> list[PageSample]:
    """The reading order of text: numbers of the truth, against the same in the order of their predictions."""
    placed = sorted((each for each in found if each.predictions), key=lambda each: each.predictions[0].position)
    truth = sorted(line.order for each in found for line in each.truth if line.order)
    prediction = [line.order for each in placed for line in each.truth if line.order]
    return [PageSample(Levenshtein.distance(truth, prediction), len(truth))] if truth else []


# --- Page values -------------------------------------------------------------------------------------------------


def _page_values(details: PageDetails) -> dict[str, float]:
    edits = {
        "text_edit": [*details.text, *details.moved],
        FORMULA_EDIT: details.formulas,
        "table_edit": details.tables,
        "order_edit": details.order,
    }
    values = {name: edit_rate(samples) for name, samples in edits.items() if samples}
    if details.tables:
        values["teds"] = fmean(sample.teds for sample in details.tables)
        values["teds_s"] = fmean(sample.teds_s for sample in details.tables)
    return values


def _worst(truth: Truth, lines: Sequence[TruthLine]) -> dict[str, float]:
    """The worst value of each metric that the page's truth has something for."""
    text = [line for line in lines if line.category in TEXT]
    has = {
        "text_edit": bool(text),
        FORMULA_EDIT: any(line.category == FORMULA for line in lines),
        "order_edit": any(line.order for line in text),
        **dict.fromkeys(("table_edit", "teds", "teds_s"), any(block.content for block in truth.tables)),
    }
    return {metric.name: float(metric.lower) for metric in OFFICIAL if has[metric.name]}


def _parts(official: Mapping[str, float], strict: Mapping[str, float]) -> dict[str, list[Part]]:
    named = {**official, **{f"{name}_strict": value for name, value in strict.items()}}
    return {metric.name: [Part(named[metric.name])] for metric in METRICS if metric.name in named}


def _notes(
    truth: Truth, page: ParsedPrediction, lines: Sequence[PredictedLine], surplus: Sequence[PredictedLine]
) -> dict[str, float]:
    """Characters are those that are compared, of text and formulas outside tables; inline formulas count in their text.

    A table is surplus where the page's truth has none left for it.
    """
    in_play = max(len(page.latex_tables), len(page.html_tables))
    paired = min(in_play, sum(1 for block in truth.tables if block.content))
    return {
        "predicted_characters": float(sum(len(line.normal) for line in lines if line.label != INLINE)),
        "unmatched_characters": float(sum(len(line.normal) for line in surplus if line.label != INLINE)),
        "missing_pages": 0.0,
        "latex_tables": float(len(page.latex_tables)),
        "surplus_tables": float(len(page.latex_tables) + len(page.html_tables) - paired),
    }
