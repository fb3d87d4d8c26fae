"""Owns the tables of the page, as text: figures with intervals, and what chance gives beside them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from rtprune_cli.analysis.depth import MAIN_ROW, MAIN_SIZE, ROWS, SIZES, STATISTICS
from rtprune_cli.analysis.depth_summary import CURVES
from rtprune_cli.analysis.findings import NOTHING, WHO, interval, number, p_text, percent, points, span
from rtprune_cli.analysis.recorder import GROUPS
from rtprune_cli.analysis.trajectory import BINS, NULLS
from rtprune_cli.storage import Json


class FigureCell(NamedTuple):
    """A figure; ``below`` in small letters what belongs to it; sorted by ``value``."""

    text: str
    below: str = ""
    value: float | None = None


class Figures(NamedTuple):
    """A table: headings, and rows whose first cell names them."""

    name: str
    headings: Sequence[str]
    rows: Sequence[Sequence[FigureCell]]


def overview(groups: Sequence[Json]) -> Figures:
    """A row a group: the main figures over depth and over time."""
    headings = [
        "group", "pages", "cut short", "steps", "overlap, mean over layers", "moved", "cumulated", "moved",
        "fall after layer", "fall", "moved", "share, first half", "second half", "drop", "moved", "pages that turn",
    ]  # fmt: skip
    return Figures("Groups of pages", headings, [_overview(group) for group in groups])


def _overview(group: Json) -> list[FigureCell]:
    main, drop = group["depth"][MAIN_ROW][MAIN_SIZE], group["statistics"]["drop"]
    mean, cumulated = main["statistics"]["mean"], main["statistics"]["cumulated"]
    return [
        FigureCell(group["name"]),
        _count(group["pages"]),
        _count(group["cut_short"]),
        _plain(group["steps"], digits=0),
        *(_share(mean), _null(mean)),
        *(_share(cumulated), _null(cumulated)),
        *_change(main),
        *_halves(group["share"]["value"]),
        *(_points(drop), _null(drop, sign=True)),
        _count(group["turned"]["pages"]),
    ]


def overlaps(group: Json) -> Figures:
    """A row for each size and whose attention: figures over all layers."""
    headings = [
        "attention of, size", "tokens", "mean", "moved", "highest layer", "highest", "moved", "cumulated", "by chance",
        "moved", "independent", "fall after layer", "fall", "moved", "pages' fall", "moved", "pages that turn",
    ]  # fmt: skip
    rows = []
    for row in ROWS:
        for size in SIZES:
            found = group["depth"][row][size]
            mean, peak, cumulated, fall = (found["statistics"][name] for name in STATISTICS)
            highest, turned = found["curve"]["peak_layer"], found["turned"]
            cells = [
                FigureCell(f"{WHO[row]}, {size}"),
                _plain(found["tokens"], digits=0),
                *(_share(mean), _null(mean)),
                _layer(highest),
                *(_share(peak), _null(peak)),
                _share(cumulated),
                _percent(found["cumulated"]["chance"]["value"][-1]),
                _null(cumulated),
                _percent(found["independent"]["value"][-1]),
                *_change(found),
                *(_points(fall), _null(fall, sign=True)),
                FigureCell(f"{turned['pages']:,}", _mean_layer(turned["layer"]), turned["pages"]),
            ]
            rows.append(cells)
    return Figures(f"Overlap over all layers: {group['name']}", headings, rows)


def layers(group: Json) -> Figures:
    """A row for each layer, size and whose attention."""
    headings = ["attention of, size, layer"]
    for name in CURVES:
        headings += [
            "in this layer" if name == CURVES[0] else "in any up to it", "by chance", "moved", "more than by chance",
            "more than moved",
        ]  # fmt: skip
    headings.append("independent")
    rows = []
    for row in ROWS:
        for size in SIZES:
            found = group["depth"][row][size]
            for layer in range(group["depth"]["layers"]):
                cells = [FigureCell(f"{WHO[row]}, {size}, {layer + 1}")]
                for name in CURVES:
                    curve = found[name]
                    chance = curve["chance"]["value"][layer]
                    cells += [_share(_at(curve, layer)), _percent(chance)]
                    cells.append(FigureCell(span(_at(curve["null"]["shifted"], layer))))
                    cells += [_points(_at(curve["excess"][null], layer)) for null in NULLS]
                rows.append([*cells, _share(_at(found["independent"], layer))])
    return Figures(f"Overlap layer by layer: {group['name']}", headings, rows)


def norms(group: Json) -> Figures:
    """A row for each layer."""
    found = group["depth"]["norms"]
    headings = [
        "after layer", "norm of high", "norm of low", "ratio", "other tokens", "moved", "rank correlation",
        "other tokens", "moved",
    ]  # fmt: skip
    rows = []
    for layer in range(len(found["high"]["value"])):
        cells = [FigureCell(str(layer) if layer else "0, before the first", value=layer)]
        cells += [_plain(_at(found[name], layer)) for name in ("high", "low")]
        for name in ("norm_ratio", "rank_correlation"):
            cells.append(_plain(_at(found[name], layer)))
            nulls = [_at(found[name]["null"][null], layer) for null in NULLS]
            cells += [FigureCell(f"{number(null['low'])} to {number(null['high'])}") for null in nulls]
        rows.append(cells)
    return Figures(f"Norms by layer: {group['name']}", headings, rows)


def statistics(group: Json) -> Figures:
    """A row for each statistic over time."""
    headings = ["statistic", "pages", "mean", "other tokens", "moved"]
    rows = []
    for name, found in group["statistics"].items():
        nulls = [_null(found, null, sign=True) for null in NULLS]
        rows.append([FigureCell(name), _count(found["pages"]), _points(found), *nulls])
    return Figures(f"Over time, in hundredths: {group['name']}", headings, rows)


def attention(groups: Sequence[Json]) -> Figures:
    """A row for each group: where all of the attention goes."""
    headings = [
        "group",
        *GROUPS,
        "a token of high",
        "a token of low",
        "preference",
        "high tokens",
        "low tokens",
        "read a step",
    ]
    rows = []
    for group in groups:
        each = [_small(group["mass_per_token"][name]) for name in GROUPS[:2]]
        counts = [_plain(group["tokens"][name], digits=0) for name in (*GROUPS[:2], "read_per_step")]
        masses = [_share(group["mass"][name]) for name in GROUPS]
        rows.append([FigureCell(group["name"]), *masses, *each, _plain(group["preference"]), *counts])
    return Figures("Where attention goes", headings, rows)  # fmt: skip


def drops(group: Json) -> Figures:
    """A row for each layer: the share of high norm over time in that layer alone."""
    rows = []
    for layer, shares in enumerate(group["share_by_layer"]["value"]):
        rows.append(
            [FigureCell(str(layer + 1), value=layer), *_halves(shares), _points(_at(group["drop_by_layer"], layer))]
        )
    return Figures(
        f"Share of high norm by layer: {group['name']}", ["layer", "first half", "second half", "drop"], rows
    )


# --- Cells


def _count(value: int) -> FigureCell:
    return FigureCell(f"{value:,}", value=value)


def _plain(found: Json, digits: int = 2) -> FigureCell:
    return FigureCell(number(found["value"], digits), interval(found, scale=1, digits=digits), found["value"])


def _small(found: Json) -> FigureCell:
    return FigureCell(percent(found["value"], 3), interval(found, digits=3), found["value"])


def _percent(share: float) -> FigureCell:
    return FigureCell(percent(share), value=share)


def _halves(shares: Sequence[float]) -> list[FigureCell]:
    """Means of a share over the first and the second half of the bins of time."""
    return [_percent(sum(part) / len(part)) for part in (shares[: BINS // 2], shares[BINS // 2 :])]


def _share(found: Json) -> FigureCell:
    return FigureCell(percent(found["value"]), interval(found), found["value"])


def _points(found: Json) -> FigureCell:
    return FigureCell(points(found["value"]), interval(found, sign=True), found["value"])


def _null(found: Json, null: str = "shifted", *, sign: bool = False) -> FigureCell:
    """What a null gives of a figure, and its p."""
    drawn = found["null"][null]
    return FigureCell(span(drawn, sign=sign, unit="" if sign else " %"), p_text(drawn["p"]), drawn["value"])


def _change(found: Json) -> list[FigureCell]:
    """After which layer the mean curve falls, by how much, and what the pattern that was moved gives."""
    curve = found["curve"]
    return [_layer(curve["change_layer"]), _points(curve["fall"]), _null(curve["fall"], sign=True)]


def _layer(found: Json) -> FigureCell:
    text = NOTHING if found["value"] is None else str(found["value"])
    return FigureCell(text, interval(found, scale=1, digits=0), found["value"])


def _mean_layer(found: Json) -> str:
    return "" if found["value"] is None else f"mean layer {number(found['value'])}{interval(found, scale=1, digits=2)}"


def _at(found: Json, index: int) -> Json:
    """One of an estimate's figures."""
    return {end: None if found[end] is None else found[end][index] for end in ("value", "low", "high")}
