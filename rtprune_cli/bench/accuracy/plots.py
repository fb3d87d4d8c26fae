"""Owns the pictures of a summary, as SVG: accuracy over what it costs.

Of one mode over the share of tokens that stays and over speed; of several over tokens, operations and seconds a page,
with the unpruned modes as a line and what was pruned beside it.
"""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any, NamedTuple

from rtprune_cli.bench.accuracy.costs import giga_flops
from rtprune_cli.bench.accuracy.plan import BASELINE
from rtprune_cli.bench.accuracy.table import interval
from rtprune_cli.options import DYNAMIC
from rtprune_cli.outputs.webpage.svg import can_draw, painted, told_svg
from rtprune_cli.report import SPEEDUPS
from rtprune_cli.storage import Json

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# Colours that color-blind people tell apart (Okabe and Ito), and markers for prints without colour.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "p", "<", ">", "h")
GROUND, INK, QUIET, GRID = "#ffffff", "#1c1e21", "#5a6068", "#d9dce1"
BASELINE_COLOUR = QUIET
SIZE = 5.0, 3.6  # inches without the legend: letters can be read at the width of a phone
LEGEND_ROW = 0.24  # inches
LEGEND_LETTERS = 42  # of one row, less what stands before them
DODGE = 0.012  # of the width between points at one place, so that their intervals can be told apart


class Picture(NamedTuple):
    """An SVG on a ground of its own, so that it can be read on light and dark pages, with what it shows in words."""

    title: str
    svg: str

    @property
    def themed(self) -> str:
        """To stand in a page whose variables --ground, --text, --quiet and --line have its colours."""
        return painted(self.svg, {GROUND: "--ground", INK: "--text", QUIET: "--quiet", GRID: "--line"})


class _Axis(NamedTuple):
    label: str
    find: Callable[[Json], Any]  # a number, or for y an estimate; None where there is none


class _Point(NamedTuple):
    row: Json
    series: str  # that have one colour
    line: str  # that are joined
    x: float
    y: Mapping[str, float]


def pictures(summary: Json) -> list[Picture]:
    """Accuracy, and each headline metric where there are several, over tokens; accuracy over work and time.

    Nothing where only unpruned pages have a retention: predictions from elsewhere do not say theirs; nor where there
    is no matplotlib.
    """
    rows = [row for row in summary["configurations"] if row["retention"] is not None]
    pruned = [row for row in rows if row["method"] != BASELINE]
    modes = modes_of(rows)
    if (not pruned and len(modes) < 2) or not can_draw():
        return []
    accuracy = _Axis("accuracy, %", lambda row: row["accuracy"])
    if len(modes) > 1:
        tokens = _Axis("visual tokens a page", lambda row: row["visual_tokens"])
        others = [
            _Axis("GFLOPs of prefill and prune step a page", giga_flops),
            _Axis("seconds a page", lambda row: row["seconds"]),
        ]
        speeds = [axis for axis in others if any(axis.find(row) is not None for row in rows)]
    else:
        tokens = _Axis("visual tokens kept, %", lambda row: 100 * row["retention"])
        counted, measured, _ = SPEEDUPS
        speeds = [_Axis(f"speed-up by {counted.title}", lambda row: row["flops_speedup"])]
        if all(row["prefill_speedup"] is not None for row in pruned):
            speeds = [_Axis(f"speed-up by {measured.title}", _measured_speedup)]
    headline = [metric for metric in summary["metrics"] if metric["headline"]]
    pairs = [(tokens, accuracy), *((tokens, _metric(each)) for each in headline if len(headline) > 1)]
    pairs += [(speed, accuracy) for speed in speeds]
    found = ((x, y, _points(x, y, rows, modes)) for x, y in pairs)
    return [_picture(x, y, points, modes) for x, y, points in found if points]


def modes_of(rows: Sequence[Json]) -> list[str]:
    """The modes of a summary's configurations, in their order; none of a summary that does not say."""
    return [mode for mode in dict.fromkeys(row.get("mode") for row in rows) if mode is not None]


def _measured_speedup(row: Json) -> float | None:
    return 1.0 if row["method"] == BASELINE else row["prefill_speedup"]["value"]


def _metric(metric: Json) -> _Axis:
    better = "less" if metric["lower"] else "more"
    return _Axis(f"{metric['title']}, % ({better} is better)", lambda row: row["metrics"][metric["name"]])


def _points(x: _Axis, y: _Axis, rows: Sequence[Json], modes: Sequence[str]) -> list[_Point]:
    """None where no page has a value, such as of formulas where no page has one."""
    return [
        _Point(row, *_series(row, modes), x.find(row), y.find(row))
        for row in rows
        if x.find(row) is not None and y.find(row)["value"] is not None
    ]


def _picture(x: _Axis, y: _Axis, points: Sequence[_Point], modes: Sequence[str]) -> Picture:
    title = f"{y.label.partition(',')[0]} over {x.label.partition(',')[0]}"
    words = "; ".join(f"{point.row['name']} at {point.x:.4g}: {interval(point.y)}" for point in points)
    drawn = _draw(x.label, y.label, points, modes)
    return Picture(
        title[:1].upper() + title[1:], told_svg(drawn, name=re.sub(r"\W+", "-", title), title=title, words=words)
    )


def _series(row: Json, modes: Sequence[str]) -> tuple[str, str]:
    """The configuration's name less its mode and ratio, which have one colour; and less its ratio alone, which one line
    is drawn through. All unpruned modes are one."""
    line = " ".join(word for word in row["name"].split(" ") if word != row["ratio"])
    if len(modes) < 2:
        return line, line
    series = line.removeprefix(f"{row['mode']} ")
    return series, series if row["method"] == BASELINE else line


def _draw(x_label: str, y_label: str, points: Sequence[_Point], modes: Sequence[str]) -> str:
    from matplotlib import rc_context
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    settings: Any = {
        "text.parse_math": False,
        "text.color": INK,
        "axes.labelcolor": INK,
        "axes.edgecolor": QUIET,
        "axes.facecolor": GROUND,
        "xtick.color": INK,
        "ytick.color": INK,
        "svg.fonttype": "none",
        "svg.hashsalt": "rtprune",
        "font.family": "sans-serif",
        "font.size": 10.5,
    }
    with rc_context(settings):
        figure = Figure(figsize=SIZE, facecolor=GROUND, layout="constrained")
        FigureCanvasSVG(figure)
        axes = figure.add_subplot()
        axes.set_axisbelow(True)
        axes.grid(color=GRID, linewidth=0.8)
        axes.spines[["top", "right"]].set_visible(False)
        axes.set_xlabel(x_label)
        axes.set_ylabel(y_label)
        places = dict(zip(map(id, points), _dodged(points), strict=True))
        names = [name for name in dict.fromkeys(point.series for point in points) if name != BASELINE]
        marks = {mode: MARKERS[number % len(MARKERS)] for number, mode in enumerate(modes)} if len(modes) > 1 else {}
        _draw_baseline(axes, [(places[id(point)], point) for point in points if point.series == BASELINE], marks)
        for number, name in enumerate(names):
            some = [(places[id(point)], point) for point in points if point.series == name]
            _draw_series(axes, name, some, COLOURS[number % len(COLOURS)], MARKERS[number % len(MARKERS)], marks)
        grey: Any = {"color": BASELINE_COLOUR, "linestyle": "", "markersize": 7}
        for mode, mark in marks.items():
            axes.plot([], [], marker=mark, label=mode, **grey)
        if any(point.row["ratio"] == DYNAMIC for point in points):
            axes.plot([], [], marker="o", markerfacecolor=GROUND, label="hollow: dynamic", **grey)
        _, labels = axes.get_legend_handles_labels()
        columns = max(1, min(3, LEGEND_LETTERS // max(map(len, labels))))
        figure.set_size_inches(SIZE[0], SIZE[1] + LEGEND_ROW * -(-len(labels) // columns))
        figure.legend(loc="outside lower center", ncols=columns, frameon=False)
        buffer = io.StringIO()
        figure.savefig(buffer, format="svg", metadata={"Date": None})
    return buffer.getvalue()


def _draw_baseline(axes: Axes, points: Sequence[tuple[float, _Point]], marks: Mapping[str, str]) -> None:
    """The unpruned pages of one mode as a level, of several as a line through their points."""
    heights = [100 * point.y["value"] for _, point in points]
    if marks:
        line = sorted((place, height) for (place, _), height in zip(points, heights, strict=True))
        look: Any = {"color": BASELINE_COLOUR, "linewidth": 1.4, "label": "unpruned modes"}
        axes.plot([place for place, _ in line], [height for _, height in line], **look)
    for (place, point), height in zip(points, heights, strict=True):
        if not marks:
            axes.axhline(height, color=BASELINE_COLOUR, linestyle="--", linewidth=1.2, label=BASELINE)
        _draw_interval(axes, place, point, BASELINE_COLOUR)
        axes.plot(place, height, marks.get(str(point.row.get("mode")), "o"), color=BASELINE_COLOUR, markersize=7)


def _draw_series(
    axes: Axes,
    name: str,
    points: Sequence[tuple[float, _Point]],
    colour: str,
    marker: str,
    marks: Mapping[str, str],
) -> None:
    """Points of one colour; those of given ratios in one mode are joined."""
    for line in dict.fromkeys(point.line for _, point in points):
        own = [(place, 100 * point.y["value"]) for place, point in points
               if point.line == line and point.row["ratio"] != DYNAMIC]  # fmt: skip
        own.sort()
        axes.plot([place for place, _ in own], [height for _, height in own], color=colour, linewidth=1.4)
    for place, point in points:
        _draw_interval(axes, place, point, colour)
        face = GROUND if point.row["ratio"] == DYNAMIC else colour
        look: Any = {"color": colour, "markerfacecolor": face, "markersize": 7, "markeredgewidth": 1.6}
        axes.plot(place, 100 * point.y["value"], marker=marks.get(str(point.row.get("mode")), marker), **look)
    # For the legend: a method of which there is one ratio has a line in it too.
    axes.plot([], [], marker="" if marks else marker, color=colour, markersize=7, linewidth=1.4, label=name)


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
