"""Owns pictures of tokens that have no place on the page: their numbers in the decoder's order, left to right."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from rtprune_cli.inspection.canvas import DROPPED, PAGE_SIDE, PAPER, Legend, Sheet
from rtprune_cli.inspection.leave_one_out import LeaveOneOut
from rtprune_cli.inspection.measure import Inspection
from rtprune_cli.views.grid import NEWLINE, TILE_CELL

if TYPE_CHECKING:
    from numpy.typing import NDArray

HEIGHT = 420
EDGE = 16  # pixels around the points
RADIUS = 3
GRID = (205, 205, 205)


class Points:
    """A blank sheet on which each of N tokens has its column, and a value its height."""

    def __init__(self, found: Inspection, values: NDArray[np.float64]) -> None:
        finite = values[np.isfinite(values)]
        self.low, self.high = (float(finite.min()), float(finite.max())) if len(finite) else (0.0, 0.0)
        self.sheet = Sheet(Image.new("RGB", (PAGE_SIDE, HEIGHT), PAPER))
        self._count = len(found.tokens.kind)
        tiles = np.flatnonzero(found.tokens.kind == TILE_CELL)
        if len(tiles):  # where the global view's tokens begin
            x = (self._x(tiles[-1]) + self._x(tiles[-1] + 1)) // 2
            self.sheet.draw.line((x, 0, x, HEIGHT), fill=GRID, width=2)
        for value in (self.low, self.high):
            self.across(value, GRID)

    def _x(self, index: int) -> int:
        return EDGE + round((index + 0.5) / self._count * (PAGE_SIDE - 2 * EDGE))

    def _y(self, value: float) -> int:
        share = (value - self.low) / (self.high - self.low) if self.high > self.low else 0.0
        return HEIGHT - EDGE - round(share * (HEIGHT - 2 * EDGE))

    def across(self, value: float, colour: tuple[int, int, int]) -> None:
        """A line at a value."""
        if np.isfinite(value):
            y = self._y(value)
            self.sheet.draw.line((0, y, PAGE_SIDE, y), fill=colour, width=2)

    def put(self, index: int, value: float, square: bool) -> None:
        """A token: a square or a dot. A value that is no number is not drawn."""
        if np.isfinite(value):
            place = self._x(index), self._y(value)
            if square:
                self.sheet.square(place, RADIUS)
            else:
                self.sheet.dot(place, RADIUS, 1.0)


def draw_norms_in_order(found: Inspection) -> Image.Image:
    """Norms of the prunable tokens, which of them were kept, and the lowest norm that was."""
    own = np.flatnonzero(found.tokens.kind < NEWLINE)
    norms = found.tokens.norms.astype(np.float64)
    points = Points(found, norms[own])
    points.across(found.threshold, DROPPED)
    for index in own.tolist():
        points.put(index, norms[index], square=bool(found.tokens.stays[index]))
    kept, count = len(found.plan.kept), len(own)
    legend = Legend(points.sheet)
    legend.text(f"mode {found.mode}: {kept} of {count} tokens kept (ratio {found.ratio:.3f})")
    legend.text(
        f"L2 norm of each token, {points.low:.4g} (bottom) to {points.high:.4g} (top), in the decoder's order; the "
        f"line is the lowest norm kept, {found.threshold:.4g}{_views(found)}"
    )
    legend.swatch("end", "kept")
    legend.swatch("start", f"merged into the kept ones ({count - kept})")
    return legend.picture()


def draw_left_out_in_order(found: Inspection, left_out: LeaveOneOut) -> Image.Image:
    """How much of the text changes without each token."""
    edits = left_out.edits.astype(np.float64)
    points = Points(found, np.append(edits, 0.0))
    for index, value in zip(left_out.tried.tolist(), edits.tolist(), strict=True):
        points.put(index, value, square=value == 0)
    legend = Legend(points.sheet)
    legend.text(left_out.sentence)
    legend.text(
        f"edits of the text without each token, in characters, 0 (bottom) to {points.high:.0f} (top), in the decoder's "
        f"order{_views(found)}"
    )
    legend.swatch("end", "the text stays the same without this token")
    legend.swatch("start", "the text changes")
    return legend.picture()


def _views(found: Inspection) -> str:
    return "" if found.grid is None else "; tiles at the left, the global view at the right"
