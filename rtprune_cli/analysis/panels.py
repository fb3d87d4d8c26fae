"""Owns how an analysis is drawn: small pictures of one kind, on one scale, that share a legend."""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from rtprune_cli.outputs.webpage.svg import inline_svg
from rtprune_cli.storage import Json

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# Colours that color-blind people tell apart (Okabe and Ito); the page has lighter ones of the same names for the dark.
HIGH, LOW, THIRD, FOURTH, FIFTH = "#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00"
NULL, GRID = "#888888", "#e4e4e4"
COLOURS = {HIGH: "--high", LOW: "--low", THIRD: "--third", FOURTH: "--fourth", FIFTH: "--fifth", NULL: "--null",
           GRID: "--line"}  # fmt: skip
SIZE = (4.2, 3.1)  # inches: as wide as a phone
MARGINS = {"left": 0.15, "right": 0.97, "bottom": 0.155, "top": 0.96}


class Key(NamedTuple):
    """An entry of a legend; ``style`` is solid, dashed, dotted, dashdot or band."""

    label: str
    colour: str
    style: str = "solid"

    @property
    def paint(self) -> str:
        """The colour as the page knows it."""
        return f"var({COLOURS[self.colour]})"


class Panel(NamedTuple):
    """What one picture is of, and how it is drawn."""

    heading: str
    draw: Callable[[Axes], None]


class Drawn(NamedTuple):
    """Pictures of one kind, (heading, SVG), with their legend."""

    title: str
    keys: Sequence[Key]
    panels: Sequence[tuple[str, str]]


def draw(title: str, panels: Sequence[Panel], keys: Sequence[Key] = (), *, from_zero: bool = False) -> Drawn:
    """The pictures, of which all have one scale; ``title`` is unique in the page."""
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
    drawn = []
    with rc_context(settings):
        for panel in panels:
            figure = Figure(figsize=SIZE, facecolor="none")  # layouts that look at what is drawn take twice the time
            figure.subplots_adjust(**MARGINS)
            FigureCanvasSVG(figure)
            axes = figure.add_subplot(facecolor="none")
            axes.spines[["top", "right"]].set_visible(False)
            panel.draw(axes)
            drawn.append((figure, axes))
        ends = [axes.get_ylim() for _, axes in drawn]
        bottom, top = 0 if from_zero else min(low for low, _ in ends), max(high for _, high in ends)
        pictures = []
        for number, (panel, (figure, axes)) in enumerate(zip(panels, drawn, strict=True)):
            axes.set_ylim(bottom, top)
            buffer = io.StringIO()
            figure.savefig(buffer, format="svg", metadata={"Date": None})
            name = f"{re.sub(r'[^a-z0-9]+', '-', title.lower())}-{number}"
            words = "Its numbers are in the tables of this page, or in analysis.json."
            svg = inline_svg(
                buffer.getvalue(), name=name, title=f"{title}: {panel.heading}", words=words, colours=COLOURS
            )
            pictures.append((panel.heading, svg))
    return Drawn(title, keys, pictures)


def percent(values: Sequence[float | None]) -> Any:
    return 100 * np.array(values, dtype=np.float64)


def line(
    axes: Axes, x: Any, found: Json, colour: str, style: str = "-", *, scale: float = 100, marker: str = ""
) -> None:
    """An estimate over x with its interval, where there is one; ``scale`` 100: in per cent."""
    y, low, high = (scale * np.array(found[name], dtype=np.float64) for name in ("value", "low", "high"))
    axes.plot(x, y, color=colour, linestyle=style, linewidth=1.6, marker=marker, markersize=3.5)
    if np.isfinite(low).any():
        axes.fill_between(x, low, high, color=colour, alpha=0.2, linewidth=0)


def band(axes: Axes, x: Any, found: Json, *, scale: float = 100) -> None:
    """The range of a null."""
    low, high = (scale * np.array(found[name]) for name in ("low", "high"))
    axes.fill_between(x, low, high, color=NULL, alpha=0.25, linewidth=0)


def grid(axes: Axes, x_label: str, y_label: str) -> None:
    axes.grid(color=GRID, linewidth=0.8)
    axes.set_axisbelow(True)
    axes.set_xlabel(x_label)
    axes.set_ylabel(y_label)
