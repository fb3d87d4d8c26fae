"""Owns where each character of a synthetic page is printed: the box of its ink, in pixels of the page's image."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

import numpy as np
import pymupdf

from rtprune_cli.bench.accuracy.synthetic.drawing import DPI, Drawing
from rtprune_cli.tiny.pages import advances

if TYPE_CHECKING:
    from numpy.typing import NDArray


def glyph_boxes(drawing: Drawing, dpi: float = DPI) -> NDArray[np.float64]:
    """(G, 4): x1, y1, x2, y2 of the ink of every character but the spaces, in the order of the page's text.

    Pixels of the page drawn at ``dpi``; the edges of anti-aliased ink lie up to a pixel beyond.
    """
    found: list[tuple[float, float, float, float]] = []
    for run in (run for line in drawing.lines for run in line):
        left = run.left
        for character in run.text:
            if not character.isspace():
                x1, y1, x2, y2 = ink(run.font, character)
                size, baseline = run.size, run.baseline
                found.append((left + size * x1, baseline - size * y2, left + size * x2, baseline - size * y1))
            left += run.size * advances(run.font)[character]
    return np.array(found, dtype=np.float64).reshape(-1, 4) * dpi / 72


@cache
def ink(font: str, character: str) -> tuple[float, float, float, float]:
    """Left, bottom, right and top of a character's ink at size 1, from its origin, up is positive."""
    box = pymupdf.Font(font).glyph_bbox(ord(character))
    return float(box.x0), float(box.y0), float(box.x1), float(box.y1)
