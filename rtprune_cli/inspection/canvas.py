"""Owns how pictures of a page are drawn: the page at its size, marks upon it, and the legend below it.

Every picture is at most :data:`LARGEST` pixels a side: the page, a margin at its right, and a legend below it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont

if TYPE_CHECKING:
    from numpy.typing import NDArray

LARGEST = 1600
PAGE_SIDE = 1240  # of the longer side of the page in a picture; the legend has the rest
NARROWEST = 560  # of a picture: the legend's words need room
MARGIN = 40  # at the right of the page, for newlines
PADDING = 12
FONT = 20
BEND = 0.18  # of a line: how far its middle is from straight, as a share of half its length
# Blue and orange are told apart by everyone; hatching and frames by those who see or print in gray.
KEPT, MERGED, DROPPED = (0, 114, 178), (230, 97, 0), (150, 0, 90)
COVER, HATCH, HATCH_STEP = 0.45, 3, 14
INK, PAPER = (20, 20, 20), (255, 255, 255)
HEAT = 0.62  # of a heat map, over the page in gray
# Ten equally spaced colours of the map viridis: even to the eye, in gray too
VIRIDIS = (
    (68, 1, 84), (72, 40, 120), (62, 74, 137), (49, 104, 142), (38, 130, 142),
    (31, 158, 137), (53, 183, 121), (109, 205, 89), (180, 222, 44), (253, 231, 37),
)  # fmt: skip


class Sheet:
    """A page at the size at which it is drawn upon."""

    def __init__(self, page: Image.Image, *, gray: bool = False) -> None:
        # The picture is no wider and no higher than LARGEST with its margin and legend.
        scale = PAGE_SIDE / max(page.size)
        self.size = max(1, round(page.width * scale)), max(1, round(page.height * scale))
        self.scale = self.size[0] / page.width, self.size[1] / page.height
        self.image = page.convert("RGB").resize(self.size, Image.Resampling.LANCZOS)
        if gray:
            self.image = self.image.convert("L").convert("RGB")
        self.width, self.height = self.size
        self._marks: list[tuple[int, int]] = []

    @property
    def draw(self) -> Any:
        return ImageDraw.Draw(self.image)

    @property
    def marks(self) -> Sequence[tuple[int, int]]:
        """Middles of the crosses in the margin."""
        return self._marks

    def cell(self, box: NDArray[np.float64]) -> tuple[int, int, int, int]:
        """A box of page pixels on the sheet, its end not included."""
        x1, y1, x2, y2 = (round(float(edge) * self.scale[at % 2]) for at, edge in enumerate(box))
        return x1, y1, x2, y2

    def middle(self, box: NDArray[np.float64]) -> tuple[int, int]:
        x1, y1, x2, y2 = self.cell(box)
        return (x1 + x2) // 2, (y1 + y2) // 2

    def cover(self, cell: tuple[int, int, int, int]) -> None:
        """Translucent colour and hatching."""
        if cell[2] - cell[0] < 1 or cell[3] - cell[1] < 1:
            return
        part = np.asarray(self.image.crop(cell), dtype=np.float64)
        part = part * (1 - COVER) + np.array(MERGED) * COVER
        y, x = np.indices(part.shape[:2])
        part[(x + cell[0] + y + cell[1]) % HATCH_STEP < HATCH] = MERGED
        self.image.paste(Image.fromarray(part.round().astype(np.uint8)), cell[:2])

    def frame(self, cell: tuple[int, int, int, int], colour: tuple[int, int, int]) -> None:
        if cell[2] - cell[0] > 3 and cell[3] - cell[1] > 3:
            self.draw.rectangle((cell[0] + 1, cell[1] + 1, cell[2] - 2, cell[3] - 2), outline=colour, width=2)

    def cross(self, x: int, y: int) -> None:
        """In the margin, which the legend adds."""
        self._marks.append((x, y))

    def heat(
        self, boxes: NDArray[np.float64], values: NDArray[np.float64], span: tuple[float, float], form: str
    ) -> None:
        """Cells in the colours of their values from ``span[0]`` to ``span[1]``, and their numbers where they fit."""
        font = _font(FONT)
        for box, value in zip(boxes, values, strict=True):
            cell = self.cell(box)
            if cell[2] - cell[0] < 1 or cell[3] - cell[1] < 1:
                continue
            colour = viridis(_place(float(value), span))
            part = self.image.crop(cell)
            self.image.paste(Image.blend(part, Image.new("RGB", part.size, colour), HEAT), cell[:2])
            text = form.format(value)
            if font.getlength(text) + 8 <= cell[2] - cell[0] and cell[3] - cell[1] >= FONT + 4:
                self.draw.text((cell[0] + 4, cell[1] + 2), text, font=font, fill=INK, stroke_width=3, stroke_fill=PAPER)

    def fade(self, share: float) -> None:
        self.image = Image.blend(self.image, Image.new("RGB", self.image.size, PAPER), share)

    def line(self, start: tuple[int, int], end: tuple[int, int], width: int, colour: tuple[int, int, int]) -> None:
        """Bent a little: cells lie in rows, and straight lines between them would lie on one another."""
        (x1, y1), (x2, y2) = start, end
        at = np.linspace(0, 1, 25)
        bow = BEND * 2 * at * (1 - at)
        xs, ys = x1 + at * (x2 - x1) - bow * (y2 - y1), y1 + at * (y2 - y1) + bow * (x2 - x1)
        points = [(float(x), float(y)) for x, y in zip(xs, ys, strict=True)]
        self.draw.line(points, fill=colour, width=width, joint="curve")

    def square(self, middle: tuple[int, int], radius: int) -> None:
        x, y = middle
        self.draw.rectangle((x - radius, y - radius, x + radius, y + radius), fill=KEPT, outline=PAPER, width=1)

    def dot(self, middle: tuple[int, int], radius: int, strength: float) -> None:
        _dot(self.draw, middle, radius, strength)


class Legend:
    """What stands below a sheet, line by line."""

    def __init__(self, sheet: Sheet) -> None:
        self._sheet = sheet
        self._width = max(sheet.width + MARGIN, NARROWEST)
        self._font = _font(FONT)
        self._y = PADDING
        self._image = Image.new("RGB", (self._width, LARGEST), PAPER)
        self._draw = ImageDraw.Draw(self._image)

    def text(self, text: str, left: int = PADDING) -> None:
        """Lines as wide as the picture."""
        line = ""
        for word in text.split():
            longer = f"{line} {word}".strip()
            if line and self._font.getlength(longer) > self._width - left - PADDING:
                self._write(line, left)
                longer = word
            line = longer
        self._write(line, left)

    def _write(self, line: str, left: int) -> None:
        self._draw.text((left, self._y), line, font=self._font, fill=INK)
        self._y += FONT + 8

    def swatch(self, what: str, text: str) -> None:
        """A sample of a mark, and what it means."""
        x, y, side = PADDING, self._y, FONT + 4
        sample = Sheet(Image.new("RGB", (PAGE_SIDE, PAGE_SIDE), PAPER)) if what == "merged" else None
        middle = x + side // 2, y + side // 2
        if sample is not None:
            sample.cover((0, 0, side, side))
            self._image.paste(sample.image.crop((0, 0, side, side)), (x, y))
        elif what == "kept":
            self._draw.rectangle((x, y, x + side - 1, y + side - 1), outline=KEPT, width=2)
        elif what == "dropped":
            _cross(self._draw, *middle)
        elif what == "start":
            _dot(self._draw, middle, 9, 1.0)
        elif what == "end":
            self._draw.rectangle((middle[0] - 6, middle[1] - 6, middle[0] + 6, middle[1] + 6), fill=KEPT)
        else:
            self._draw.line((x, middle[1], x + side, middle[1]), fill=viridis(0.0), width=6)
        self.text(text, PADDING + side + 10)

    def bar(self, span: tuple[float, float], form: str, marked: float, meaning: str) -> None:
        """A colour bar with numbers, and a mark at one of them."""
        left, right, height = PADDING, min(self._width - PADDING, PADDING + 900), 24
        self._y += 14
        ramp = np.array([viridis(at / (right - left - 1)) for at in range(right - left)])
        seen = (HEAT * ramp + (1 - HEAT) * np.array(PAPER)).round().astype(np.uint8)  # as it is over white paper
        bar = np.broadcast_to(seen, (height, right - left, 3))
        self._image.paste(Image.fromarray(np.ascontiguousarray(bar)), (left, self._y))
        x = left + round(_place(marked, span) * (right - left - 1))
        self._draw.polygon([(x - 9, self._y - 14), (x + 9, self._y - 14), (x, self._y - 1)], fill=DROPPED)
        self._draw.line((x, self._y, x, self._y + height - 1), fill=PAPER, width=3)
        self._draw.line((x, self._y, x, self._y + height - 1), fill=DROPPED, width=1)
        self._y += height + 4
        for at in (0.0, 0.5, 1.0):
            text = form.format(span[0] + at * (span[1] - span[0]))
            length = self._font.getlength(text)
            self._draw.text((left + at * (right - left - length), self._y), text, font=self._font, fill=INK)
        self._y += FONT + 8
        self._draw.polygon(
            [(PADDING, self._y + 5), (PADDING + 18, self._y + 5), (PADDING + 9, self._y + 18)], fill=DROPPED
        )
        self.text(f"{meaning}: {form.format(marked)}", PADDING + 28)

    def picture(self) -> Image.Image:
        """The sheet with its margin, and the legend below it."""
        sheet = self._sheet
        whole = Image.new("RGB", (self._width, sheet.height + self._y + PADDING), PAPER)
        whole.paste(sheet.image, (0, 0))
        whole.paste(self._image.crop((0, 0, self._width, self._y + PADDING)), (0, sheet.height))
        draw = ImageDraw.Draw(whole)
        draw.rectangle((0, 0, sheet.width, sheet.height), outline=(190, 190, 190))
        for x, y in sheet.marks:
            _cross(draw, x, y)
        whole.thumbnail((LARGEST, LARGEST))
        return whole


def _cross(draw: Any, x: int, y: int) -> None:
    for sign in (1, -1):
        draw.line((x - 8, y - 8 * sign, x + 8, y + 8 * sign), fill=DROPPED, width=4)


def _dot(draw: Any, middle: tuple[int, int], radius: int, strength: float) -> None:
    """A merged token's; at a ``strength`` of 0 only its rim is left."""
    x, y = middle
    strength = _place(strength, (0.0, 1.0))
    fill = tuple(round(strength * own + (1 - strength) * paper) for own, paper in zip(MERGED, PAPER, strict=True))
    draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=fill, outline=MERGED, width=2)


def _font(size: int) -> Any:
    return ImageFont.load_default(size)


def _place(value: float, span: tuple[float, float]) -> float:
    """Where a value stands in a span, 0 to 1; a span of one value, or no number, is at 0."""
    low, high = span
    at = (value - low) / (high - low) if high > low else 0.0
    return min(1.0, max(0.0, at)) if np.isfinite(at) else 0.0


def viridis(at: float) -> tuple[int, int, int]:
    stops = np.linspace(0, 1, len(VIRIDIS))
    red, green, blue = (round(float(np.interp(at, stops, channel))) for channel in zip(*VIRIDIS, strict=True))
    return red, green, blue


def visible(box: NDArray[np.float64]) -> bool:
    """Whether any of a cell is on the page."""
    return bool(box[2] - box[0] >= 1 and box[3] - box[1] >= 1)
