"""The ink of a page: rows of it, which are lines of text, and how far they are askew."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Grey = NDArray[np.uint8]  # (height, width)

Rows = tuple[float, float, float, float]  # left, top, right, bottom in pixels of the page

LEAST_CONTRAST = 48  # levels of 255 between paper and ink; what is on either side of their middle is one or the other
LEAST_ROW = 0.004  # share of the box's width that is ink in a row of a line, beyond what dirt has
RULE = 0.6  # share of a table's width or height that is ink in a rule
DIRTY = 3  # times as much ink as in the emptiest tenth of the rows is still dirt, where that is little
LOW_LINE = 12  # pixels: in lower lines a dot may be a single one
# Slopes of pages that lie askew, pixels a pixel: two degrees to either side
MOST_SLOPE, SLOPE_STEP = 0.035, 0.0025
SLOPE_SIDE = 900  # pixels of the longer side, about, where they are looked for
PLAINLY = 1.1  # times as sharp as without
LEAST_HEIGHT = 0.45  # of the usual line's: less is an accent, a rule or the dots of letters


@dataclass(frozen=True)
class InkLine:
    """A row of ink, and the gaps in it: from where to where there is none.

    ``box`` is that of its left end, from which it sinks by ``slope`` pixels a pixel.
    """

    box: Rows
    gaps: tuple[tuple[float, float], ...] = ()
    slope: float = 0.0

    @property
    def room(self) -> float:
        """Its width."""
        return self.box[2] - self.box[0]


def find_lines(box: tuple[int, int, int, int], grey: Grey, slope: float = 0.0, *, ruled: bool = False) -> list[InkLine]:
    """The rows of ink in a box, from the top, on a page whose lines sink by ``slope``; ``ruled``: rules are no ink."""
    left, top = max(0, box[0]), max(0, box[1])
    part = grey[top : box[3], left : box[2]].astype(np.int16)
    if not part.size:
        return []
    paper = int(np.bincount(part.ravel()).argmax())
    contrast = abs(part - paper)
    darkest = float(np.percentile(contrast, 99.5))
    if darkest < LEAST_CONTRAST:
        return []
    ink: NDArray[np.bool_] = _levelled(contrast > darkest / 2, slope)
    if ruled:
        ink[:, ink.mean(axis=0) > RULE] = False
        ink[ink.mean(axis=1) > RULE] = False
    profile = ink.sum(axis=1)
    least = LEAST_ROW * part.shape[1]
    lines = []
    for start, end in _joined(_runs(profile > max(1.0, least) + min(least, DIRTY * float(np.percentile(profile, 10))))):
        columns = ink[start:end].sum(axis=0) > (end - start >= LOW_LINE)
        runs = [(left + first, left + last) for first, last in _runs(columns)]
        gaps = tuple((float(before[1]), float(after[0])) for before, after in pairwise(runs))
        if runs:
            first, last = runs[0][0], runs[-1][1]
            upper = top + start + slope * (first - left - part.shape[1] / 2)
            lines.append(InkLine((float(first), upper, float(last), upper + end - start), gaps, slope))
    return lines


def find_slope(grey: Grey) -> float:
    """How many pixels the lines of a page sink a pixel to the right; 0 where no slope is plainly better.

    Under the right one, rows of pixels are full of ink or empty (Baird, The skew angle of printed documents, 1987).
    """
    step = max(1, round(max(grey.shape) / SLOPE_SIDE))
    small = grey[::step, ::step].astype(np.int16)
    ink = (abs(small - int(np.bincount(small.ravel()).argmax())) > LEAST_CONTRAST).astype(np.int32)
    slopes = np.arange(-MOST_SLOPE, MOST_SLOPE + SLOPE_STEP / 2, SLOPE_STEP)
    sharpness = [float((np.diff(_levelled(ink, slope).sum(axis=1)) ** 2).sum()) for slope in slopes]
    best = int(np.argmax(sharpness))
    return float(slopes[best]) if sharpness[best] > PLAINLY * sharpness[len(slopes) // 2] else 0.0


def _levelled(pixels: NDArray[Any], slope: float) -> NDArray[Any]:
    """The columns moved up or down so that lines that sink by ``slope`` are level, as high as they are midway."""
    height, width = pixels.shape
    shifts = np.round(slope * (np.arange(width) - width / 2)).astype(int)
    level = np.empty_like(pixels)
    for start, end in pairwise([0, *(np.flatnonzero(np.diff(shifts)) + 1), width]):
        rows = np.clip(np.arange(height) + shifts[start], 0, height - 1)
        level[:, start:end] = pixels[rows, start:end]
    return level


def _runs(there: NDArray[np.bool_]) -> list[tuple[int, int]]:
    """From where to where something is."""
    edges = np.flatnonzero(np.diff(np.concatenate(([False], there, [False])).astype(np.int8)))
    return [(int(start), int(end)) for start, end in edges.reshape(-1, 2)]


def _joined(spans: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """Low spans, of accents and of dots, become part of the nearer neighbour, if that is near; else they are none."""
    if not spans:
        return []
    highest = max(map(_height, spans))
    usual = float(np.median([height for height in map(_height, spans) if height >= highest / 4]))
    kept = [span for span in spans if _height(span) >= LEAST_HEIGHT * usual]
    low = [span for span in spans if _height(span) < LEAST_HEIGHT * usual]
    for start, end in low:
        at, gap = min(
            ((at, max(other[0] - end, start - other[1])) for at, other in enumerate(kept)), key=lambda each: each[1]
        )
        if gap <= 0.3 * usual:
            kept[at] = (min(start, kept[at][0]), max(end, kept[at][1]))
    return kept


def _height(span: tuple[int, int]) -> int:
    return span[1] - span[0]
