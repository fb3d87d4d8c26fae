"""Owns the pictures of a summary: accuracy over retention and over speed, as SVG."""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Mapping, Sequence
from html import escape
from itertools import pairwise
from typing import TYPE_CHECKING, Any, NamedTuple

from rtprune_cli.bench.accuracy.plan import BASELINE
from rtprune_cli.bench.accuracy.table import interval
from rtprune_cli.options import DYNAMIC
from rtprune_cli.storage import Json

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# Colours that color-blind people tell apart (Okabe and Ito), and markers for prints without colour.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "p", "<", ">", "h")
BASELINE_COLOUR = "#444444"
DODGE = 0.012  # of the width between points at one place, so that their intervals can be told apart


class Picture(NamedTuple):
    """An SVG on a ground of its own, so that it can be read on light and dark pages, with what it shows in words."""

    title: str
    svg: str


class _Axis(NamedTuple):
    label: str
    find: Callable[[Json], Any]  # a number, or for y an estimate; None where there is none


class _Point(NamedTuple):
    row: Json
    series: str
    x: float
    y: Mapping[str, float]


def pictures(summary: Json) -> list[Picture]:
    """Accuracy, and each headline metric where there are several, over retention; accuracy over speed.

    Nothing where only unpruned pages have a retention: predictions from elsewhere do not say theirs.
    """
    rows = [row for row in summary["configurations"] if row["retention"] is not None]
    pruned = [row for row in rows if row["method"] != BASELINE]
    if not pruned:
        return []
    retention = _Axis("visual tokens kept, %", lambda row: 100 * row["retention"])
    speed = _Axis("prefill speed-up from FLOPs", lambda row: row["flops_speedup"])
    if all(row["prefill_speedup"] is not None for row in pruned):
        speed = _Axis(
            "measured prefill speed-up",
            lambda row: 1.0 if row["method"] == BASELINE else row["prefill_speedup"]["value"],
        )
    accuracy = _Axis("accuracy, %", lambda row: row["accuracy"])
    headline = [metric for metric in summary["metrics"] if metric["headline"]]
    pairs = [(retention, accuracy), *((retention, _metric(each)) for each in headline if len(headline) > 1)]
    return [_picture(x, y, rows) for x, y in [*pairs, (speed, accuracy)]]


def _metric(metric: Json) -> _Axis:
    better = "less" if metric["lower"] else "more"
    return _Axis(f"{metric['title']}, % ({better} is better)", lambda row: row["metrics"][metric["name"]])


def _picture(x: _Axis, y: _Axis, rows: Sequence[Json]) -> Picture:
    points = [
        _Point(row, _series(row), x.find(row), y.find(row))
        for row in rows
        if x.find(row) is not None and y.find(row)["value"] is not None
    ]
    title = f"{y.label.partition(',')[0]} over {x.label.partition(',')[0]}"
    words = "; ".join(f"{point.row['name']} at {point.x:.2f}: {interval(point.y)}" for point in points)
    return Picture(title[:1].upper() + title[1:], _finish(_draw(x.label, y.label, points), title, words))


def _series(row: Json) -> str:
    """The configuration's name less its ratio: what one line is drawn through."""
    return " ".join(word for word in row["name"].split(" ") if word != row["ratio"])


def _draw(x_label: str, y_label: str, points: Sequence[_Point]) -> str:
    from matplotlib import rc_context
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    settings: Any = {
        "text.parse_math": False,
        "svg.fonttype": "none",
        "svg.hashsalt": "rtprune",
        "font.family": "sans-serif",
        "font.size": 11,
    }
    with rc_context(settings):
        figure = Figure(figsize=(8.5, 4.6), facecolor="white", layout="constrained")
        FigureCanvasSVG(figure)
        axes = figure.add_subplot()
        axes.set_axisbelow(True)
        axes.grid(color="#e4e4e4", linewidth=0.8)
        axes.spines[["top", "right"]].set_visible(False)
        axes.set_xlabel(x_label)
        axes.set_ylabel(y_label)
        places = _dodged(points)
        names = dict.fromkeys(point.series for point in points)
        looks = {name: number for number, name in enumerate(name for name in names if name != BASELINE)}
        for name in names:
            some = [(place, point) for place, point in zip(places, points, strict=True) if point.series == name]
            if name == BASELINE:
                _draw_baseline(axes, some)
            else:
                _draw_series(axes, name, some, looks[name])
        if any(point.row["ratio"] == DYNAMIC for point in points):
            axes.plot(
                [], [], "o", markerfacecolor="white", color=BASELINE_COLOUR, markersize=8, label="hollow: dynamic"
            )
        figure.legend(loc="outside right upper", frameon=False)
        buffer = io.StringIO()
        figure.savefig(buffer, format="svg", metadata={"Date": None})
    return buffer.getvalue()


def _draw_baseline(axes: Axes, points: Sequence[tuple[float, _Point]]) -> None:
    for place, point in points:
        axes.axhline(100 * point.y["value"], color=BASELINE_COLOUR, linestyle="--", linewidth=1.2, label=BASELINE)
        _draw_interval(axes, place, point, BASELINE_COLOUR)
        axes.plot(place, 100 * point.y["value"], "o", color=BASELINE_COLOUR, markersize=6)


def _draw_series(axes: Axes, name: str, points: Sequence[tuple[float, _Point]], number: int) -> None:
    colour, marker = COLOURS[number % len(COLOURS)], MARKERS[number % len(MARKERS)]
    given = sorted((place, 100 * point.y["value"]) for place, point in points if point.row["ratio"] != DYNAMIC)
    axes.plot([place for place, _ in given], [height for _, height in given], color=colour, linewidth=1.4)
    for place, point in points:
        _draw_interval(axes, place, point, colour)
        face = "white" if point.row["ratio"] == DYNAMIC else colour
        look: Any = {"color": colour, "markerfacecolor": face, "markersize": 8, "markeredgewidth": 1.6}
        axes.plot(place, 100 * point.y["value"], marker, **look)
    # For the legend: a method of which there is one ratio has a line in it too.
    axes.plot([], [], marker=marker, color=colour, markersize=8, linewidth=1.4, label=name)


def _draw_interval(axes: Axes, place: float, point: _Point, colour: str) -> None:
    if point.y["low"] is not None:
        axes.vlines(place, 100 * point.y["low"], 100 * point.y["high"], color=colour, linewidth=1.4, alpha=0.75)


def _dodged(points: Sequence[_Point]) -> list[float]:
    """Where points are drawn: those that would cover each other stand beside each other, around their middle."""
    if not points:
        return []
    width = (max(point.x for point in points) - min(point.x for point in points)) or 1.0
    order = sorted(range(len(points)), key=lambda index: points[index].x)
    clusters = [[order[0]]]
    for before, index in pairwise(order):
        if points[index].x - points[before].x < DODGE * width:
            clusters[-1].append(index)
        else:
            clusters.append([index])
    places = [0.0] * len(points)
    for cluster in clusters:
        middle = sum(points[index].x for index in cluster) / len(cluster)
        for number, index in enumerate(sorted(cluster)):
            places[index] = middle + (number - (len(cluster) - 1) / 2) * DODGE * width
    return places


def _finish(svg: str, title: str, words: str) -> str:
    """Ready to stand in a page beside others: words for those who cannot see it, names of its own, no metadata."""
    prefix = re.sub(r"\W+", "-", title)
    svg = svg[svg.index("<svg ") :]
    svg = re.sub(r"<metadata>.*?</metadata>|<style .*?</style>", "", svg, flags=re.DOTALL)
    svg = re.sub(r'( id="|(?:href="|url\()#)', rf"\g<1>{prefix}-", svg)
    head = f' style="stroke-linejoin: round; stroke-linecap: butt" role="img">\n<title>{escape(title)}</title>'
    svg = re.sub(r"(<svg [^>]*)>", lambda match: f"{match[1]}{head}<desc>{escape(words)}</desc>", svg, count=1)
    return "\n".join(line.rstrip() for line in svg.splitlines() if line.strip()) + "\n"
