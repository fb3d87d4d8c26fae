"""Owns a synthetic page as it is set: text where it stands, rules around it, its truth; drawn as PDF and as PNG."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pymupdf

from rtprune_cli.tiny.pages import Line, line_text

DPI = 200  # `rtprune ocr` rasterises at it by default

Rule = tuple[float, float, float, float]
"""A straight line on the page: x and y of its ends, pt."""


@dataclass(frozen=True)
class Drawing:
    """A page: lines in reading order, and the rules. ``ink`` and ``paper`` are gray levels, 0 is black."""

    width: float
    height: float
    lines: tuple[Line, ...]
    rules: tuple[Rule, ...] = ()
    rule_width: float = 0.7
    ink: float = 0.0
    paper: float = 1.0

    @property
    def text(self) -> str:
        """The truth: runs of a line with a space between."""
        return "\n".join(map(line_text, self.lines))


def box(left: float, top: float, right: float, bottom: float) -> list[Rule]:
    """The four sides."""
    return [
        (left, top, right, top),
        (right, top, right, bottom),
        (right, bottom, left, bottom),
        (left, bottom, left, top),
    ]


def document(drawing: Drawing) -> Any:
    """The page as a one-page PyMuPDF document."""
    pdf = pymupdf.open()
    page = pdf.new_page(width=drawing.width, height=drawing.height)
    shape = page.new_shape()  # one content stream: a stream for each line would take longer to write than to draw
    shape.draw_rect(page.rect)
    shape.finish(color=None, fill=(drawing.paper,) * 3)
    ink = (drawing.ink,) * 3
    for x0, y0, x1, y1 in drawing.rules:
        shape.draw_line((x0, y0), (x1, y1))
    if drawing.rules:
        shape.finish(color=ink, width=drawing.rule_width, lineCap=2)
    for run in (run for line in drawing.lines for run in line):
        shape.insert_text((run.left, run.baseline), run.text, fontname=run.font, fontsize=run.size, color=ink)
    shape.commit()
    return pdf


def to_png(drawing: Drawing) -> bytes:
    """The page in gray at DPI."""
    with document(drawing) as pdf:
        return pdf[0].get_pixmap(dpi=DPI, colorspace=pymupdf.csGRAY).tobytes("png")
