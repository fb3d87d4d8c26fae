"""Owns the pictures of an analysis, as SVG: a panel for each group of pages."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from rtprune_cli.analysis.attention import GROUPS
from rtprune_cli.storage import Json

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Colours that color-blind people tell apart (Okabe and Ito).
HIGH, LOW, OTHERS = "#0072B2", "#D55E00", ("#009E73", "#CC79A7", "#E69F00")
NULL = "#888888"
TITLES = {
    "high": "high norm", "low": "low norm", "layout": "newlines, separator", "prompt": "prompt's text",
    "written": "text written",
}  # fmt: skip
MOST_PANELS = 9
COLUMNS = 3
PANEL = (4.2, 3.1)  # inches


def pictures(analysis: Json) -> dict[str, str]:
    """SVG by name; none where no page was read."""
    groups = analysis["groups"][:MOST_PANELS]
    if not groups:
        return {}
    edges = np.array(analysis["norm_edges"])
    shares = [_percent(group["share_by_layer"]["value"]) for group in groups]
    scale = min(map(np.min, shares)), max(map(np.max, shares))  # one for all panels
    return {
        "share": _draw("Attention on high-norm tokens, of that on visual tokens", groups, _share),
        "masses": _draw("Where attention goes", groups, _masses, from_zero=True),
        "layers": _draw(
            "Attention on high-norm tokens by layer", groups, lambda axes, group: _layers(axes, group, scale)
        ),
        "coverage": _draw("Visual tokens read so far", groups, _coverage, from_zero=True),
        "norms": _draw("Norms of visual tokens", groups, lambda axes, group: _norms(axes, group, edges)),
    }


def _draw(title: str, groups: Sequence[Json], panel: Callable[[Axes, Json], None], *, from_zero: bool = False) -> str:
    from matplotlib import rc_context
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    settings: Any = {
        "text.parse_math": False,
        "svg.fonttype": "none",
        "svg.hashsalt": "rtprune",
        "font.family": "sans-serif",
        "font.size": 10,
    }
    columns = min(COLUMNS, len(groups))
    rows = -(-len(groups) // columns)
    with rc_context(settings):
        width = PANEL[0] * columns + (1.8 if columns == 1 else 0)
        figure = Figure(figsize=(width, PANEL[1] * rows + 0.9), facecolor="white", layout="constrained")
        FigureCanvasSVG(figure)
        figure.suptitle(title)
        grid = figure.subplots(rows, columns, squeeze=False, sharey=True).flatten()
        for axes, group in zip(grid, groups, strict=False):
            axes.set_title(f"{group['name']}: {group['pages']} page{'s' * (group['pages'] != 1)}", fontsize=10)
            axes.spines[["top", "right"]].set_visible(False)
            panel(axes, group)
            if not axes.get_subplotspec().is_first_col():
                axes.set_ylabel("")
        if from_zero:  # once all panels, which share the axis, are drawn
            grid[0].set_ylim(bottom=0)
        for axes in grid[len(groups) :]:
            axes.set_visible(False)
        _legend(figure, grid[0])
        buffer = io.StringIO()
        figure.savefig(buffer, format="svg", metadata={"Date": None, "Title": title})
    return "\n".join(line.rstrip() for line in buffer.getvalue().splitlines()) + "\n"


def _legend(figure: Figure, axes: Axes) -> None:
    handles, labels = axes.get_legend_handles_labels()
    if handles:
        figure.legend(handles, labels, loc="outside lower center", ncols=3, frameon=False)


def _time(count: int) -> Any:
    """Middles of the bins, in % of the text's steps."""
    return 100 * (np.arange(count) + 0.5) / count


def _line(axes: Axes, estimate: Json, colour: str, label: str, style: str = "-") -> None:
    """Percentages over time with their interval, where there is one."""
    x = _time(len(estimate["value"]))
    axes.plot(x, _percent(estimate["value"]), color=colour, linestyle=style, linewidth=1.6, label=label)
    if np.isfinite(low := _percent(estimate["low"])).any():
        axes.fill_between(x, low, _percent(estimate["high"]), color=colour, alpha=0.2, linewidth=0)


def _percent(values: Sequence[float | None]) -> Any:
    return 100 * np.array(values, dtype=np.float64)


def _over_time(axes: Axes, y_label: str) -> None:
    axes.grid(color="#e4e4e4", linewidth=0.8)
    axes.set_axisbelow(True)
    axes.set_xlim(0, 100)
    axes.set_xlabel("time, % of the steps")
    axes.set_ylabel(y_label)


def _share(axes: Axes, group: Json) -> None:
    _line(axes, group["share"], HIGH, "measured, 95 % interval over pages")
    for null, style in (("shifted", ":"), ("shuffled", "--")):
        found = group["share_null"][null]
        x = _time(len(found["value"]))
        axes.plot(x, _percent(found["value"]), color=NULL, linestyle=style, linewidth=1.2, label=f"null, {null}")
        if null == "shifted":
            axes.fill_between(x, _percent(found["low"]), _percent(found["high"]), color=NULL, alpha=0.2, linewidth=0)
    if group["turned"]["time"]["value"] is not None:
        label = "mean turn, of pages that turn"
        axes.axvline(100 * group["turned"]["time"]["value"], color=LOW, linestyle="-.", linewidth=1.2, label=label)
    _over_time(axes, "share of high norm, %")


def _masses(axes: Axes, group: Json) -> None:
    for name, colour in zip(GROUPS, (HIGH, LOW, *OTHERS), strict=True):
        _line(axes, group["mass_over_time"][name], colour, TITLES[name])
    _over_time(axes, "attention, %")


def _layers(axes: Axes, group: Json, scale: tuple[float, float]) -> None:
    values = _percent(group["share_by_layer"]["value"])
    layers = len(values)
    figure = axes.get_figure()
    assert figure is not None
    time, places = np.linspace(0, 100, values.shape[1] + 1), np.arange(layers + 1) + 0.5
    image = axes.pcolormesh(time, places, values, cmap="cividis", vmin=scale[0], vmax=scale[1])
    axes.set_yticks(np.arange(1, layers + 1, max(1, layers // 6)))
    axes.set_xlabel("time, % of the steps")
    axes.set_ylabel("decoder layer")
    figure.colorbar(image, ax=axes, label="share of high norm, %")


def _coverage(axes: Axes, group: Json) -> None:
    _line(axes, group["coverage"]["high"], HIGH, TITLES["high"])
    _line(axes, group["coverage"]["low"], LOW, TITLES["low"], "--")
    _over_time(axes, "read, % of the tokens")


def _norms(axes: Axes, group: Json, edges: Any) -> None:
    for name, colour in (("low", LOW), ("high", HIGH)):
        counts = np.array(group["norms"][name]) / group["pages"]
        axes.stairs(counts, edges, color=colour, fill=True, alpha=0.55, label=TITLES[name])
    axes.set_xlabel("L2 norm")
    axes.set_ylabel("tokens a page")
