"""Owns the pictures of the decoder's depth: overlap of high norms and attention, and norms by layer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from rtprune_cli.analysis.depth import MAIN_ROW, MAIN_SIZE, ROWS, SIZES
from rtprune_cli.analysis.findings import WHO
from rtprune_cli.analysis.panels import HIGH, LOW, NULL, THIRD, Drawn, Key, Panel, band, draw, grid, line
from rtprune_cli.analysis.plots import CHANCE, MEASURED, SHIFTED, heading
from rtprune_cli.storage import Json

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_OVERLAP_KEYS = (
    Key("in this layer", HIGH),
    Key("in any layer up to it", LOW),
    Key("chance, of either", NULL, "dashed"),
    Key(f"{SHIFTED}, of either", NULL, "band"),
    Key("in any, if layers were independent", THIRD, "dotted"),
)
_NORM_KEYS = (Key(MEASURED, HIGH), Key(CHANCE, NULL, "dashed"), Key(SHIFTED, NULL, "band"))


def depth_pictures(groups: Sequence[Json]) -> dict[str, Drawn]:
    """By what they show: of the first group all rows and sizes, of the others those that were named before."""
    first, *others = groups

    def panel(group: Json, title: str, row: str, size: str) -> Panel:
        return Panel(title, lambda axes: _overlap(axes, group["depth"][row][size]))

    every = [panel(first, f"{size} of the tokens; {WHO[row]}", row, size) for row in ROWS for size in SIZES]
    found = {"overlap": draw("Overlap of high norm and attention by layer", every, _OVERLAP_KEYS, from_zero=True)}
    if others:
        found["overlap_groups"] = draw(
            f"Overlap by layer, {MAIN_SIZE} of the tokens, {WHO[MAIN_ROW]}",
            [panel(group, heading(group), MAIN_ROW, MAIN_SIZE) for group in others],
            _OVERLAP_KEYS,
            from_zero=True,
        )
    for name, title, label in (
        ("norm_ratio", "Norm of high tokens over that of low ones by layer", "ratio of mean norms"),
        ("rank_correlation", "Rank correlation of norms with those before the first layer", "rank correlation"),
    ):
        panels = [
            Panel(heading(group), lambda axes, group=group, name=name, label=label: _norms(axes, group, name, label))  # type: ignore[misc]
            for group in groups
        ]
        found[name] = draw(title, panels, _NORM_KEYS)
    return found


def _overlap(axes: Axes, found: Json) -> None:
    layers = np.arange(1, len(found["independent"]["value"]) + 1)
    for name, colour in (("overlap", HIGH), ("cumulated", LOW)):
        band(axes, layers, found[name]["null"]["shifted"])
        axes.plot(layers, 100 * np.array(found[name]["chance"]["value"]), color=NULL, linestyle="--", linewidth=1.2)
        line(axes, layers, found[name], colour, marker="o")
    axes.plot(layers, 100 * np.array(found["independent"]["value"]), color=THIRD, linestyle=":", linewidth=1.6)
    _over_layers(axes, layers[0], layers[-1], "% of the tokens of highest norm")
    axes.set_ylim(0, 104)


def _norms(axes: Axes, group: Json, name: str, label: str) -> None:
    found = group["depth"]["norms"][name]
    layers = np.arange(len(found["value"]))
    axes.plot(layers, found["null"]["shuffled"]["value"], color=NULL, linestyle="--", linewidth=1.2)
    band(axes, layers, found["null"]["shifted"], scale=1)
    line(axes, layers, found, HIGH, scale=1, marker="o")
    _over_layers(axes, 0, layers[-1], label)


def _over_layers(axes: Axes, first: int, last: int, y_label: str) -> None:
    grid(axes, "decoder layer (0: before the first)" if first == 0 else "decoder layer", y_label)
    axes.set_xticks(np.arange(first, last + 1, max(1, (last - first) // 6)))
