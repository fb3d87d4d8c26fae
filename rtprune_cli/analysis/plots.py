"""Owns the pictures of where the decoder looks over time, one for each group of pages."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from rtprune_cli.analysis.panels import (
    FIFTH,
    FOURTH,
    HIGH,
    LOW,
    NULL,
    THIRD,
    Drawn,
    Key,
    Panel,
    band,
    draw,
    grid,
    line,
    percent,
)
from rtprune_cli.analysis.recorder import GROUPS
from rtprune_cli.storage import Json

if TYPE_CHECKING:
    from matplotlib.axes import Axes

TITLES = {
    "high": "high norm", "low": "low norm", "layout": "newlines, separator", "prompt": "prompt's text",
    "written": "text written",
}  # fmt: skip
MEASURED = "measured, band: 95 % interval over pages"
CHANCE = "other tokens anywhere"
SHIFTED = "the same pattern moved, 95 % range"


def heading(group: Json) -> str:
    return f"{group['name']}: {group['pages']} page{'s' * (group['pages'] != 1)}"


def time_pictures(groups: Sequence[Json], norm_edges: Sequence[float]) -> dict[str, Drawn]:
    """By what they show."""
    shares = [percent(group["share_by_layer"]["value"]) for group in groups]
    scale = min(map(np.min, shares)), max(map(np.max, shares))  # one for all panels
    edges = np.array(norm_edges)

    def panels(show: Callable[[Axes, Json], None]) -> list[Panel]:
        return [Panel(heading(group), lambda axes, group=group: show(axes, group)) for group in groups]  # type: ignore[misc]

    high_low = [Key(TITLES["high"], HIGH), Key(TITLES["low"], LOW)]
    return {
        "share": draw(
            "Share of high norm over time",
            panels(_share),
            [
                Key(MEASURED, HIGH),
                Key(CHANCE, NULL, "dashed"),
                Key(SHIFTED, NULL, "band"),
                Key("mean turn, of pages that turn", LOW, "dashdot"),
            ],
        ),
        "layers": draw(
            "Share of high norm over time, by layer", panels(lambda axes, group: _layers(axes, group, scale))
        ),
        "masses": draw(
            "Where attention goes",
            panels(_masses),
            [*(Key(TITLES[name], colour) for name, colour in zip(GROUPS, _MASSES, strict=True))],
            from_zero=True,
        ),
        "coverage": draw("Visual tokens read so far", panels(_coverage), high_low, from_zero=True),
        "norms": draw(
            "Norms of visual tokens", panels(lambda axes, group: _norms(axes, group, edges)), high_low, from_zero=True
        ),
    }


_MASSES = (HIGH, LOW, THIRD, FOURTH, FIFTH)


def _time(count: int) -> Any:
    """Middles of the bins, in % of the text's steps."""
    return 100 * (np.arange(count) + 0.5) / count


def _over_time(axes: Axes, y_label: str) -> None:
    grid(axes, "time, % of the steps", y_label)
    axes.set_xlim(0, 100)


def _share(axes: Axes, group: Json) -> None:
    x = _time(len(group["share"]["value"]))
    line(axes, x, group["share"], HIGH)
    axes.plot(x, percent(group["share_null"]["shuffled"]["value"]), color=NULL, linestyle="--", linewidth=1.2)
    band(axes, x, group["share_null"]["shifted"])
    if group["turned"]["time"]["value"] is not None:
        axes.axvline(100 * group["turned"]["time"]["value"], color=LOW, linestyle="-.", linewidth=1.2)
    _over_time(axes, "share of high norm, %")


def _masses(axes: Axes, group: Json) -> None:
    for name, colour in zip(GROUPS, _MASSES, strict=True):
        found = group["mass_over_time"][name]
        line(axes, _time(len(found["value"])), found, colour)
    _over_time(axes, "attention, %")


def _layers(axes: Axes, group: Json, scale: tuple[float, float]) -> None:
    values = percent(group["share_by_layer"]["value"])
    layers = len(values)
    figure = axes.get_figure()
    assert figure is not None
    image = axes.imshow(
        values, cmap="cividis", vmin=scale[0], vmax=scale[1], aspect="auto", origin="lower", interpolation="none",
        extent=(0, 100, 0.5, layers + 0.5),
    )  # fmt: skip
    axes.set_yticks(np.arange(1, layers + 1, max(1, layers // 6)))
    axes.set_xlabel("time, % of the steps")
    axes.set_ylabel("decoder layer")
    figure.subplots_adjust(right=0.9)  # the numbers of the bar
    figure.colorbar(image, ax=axes, label="share of high norm, %").ax.set_facecolor("none")


def _coverage(axes: Axes, group: Json) -> None:
    for name, colour in (("high", HIGH), ("low", LOW)):
        found = group["coverage"][name]
        line(axes, _time(len(found["value"])), found, colour)
    _over_time(axes, "read, % of the tokens")


def _norms(axes: Axes, group: Json, edges: Any) -> None:
    for name, colour in (("low", LOW), ("high", HIGH)):
        counts = np.array(group["norms"][name]) / group["pages"]
        axes.stairs(counts, edges, color=colour, fill=True, alpha=0.55)
    grid(axes, "L2 norm", "tokens a page")
