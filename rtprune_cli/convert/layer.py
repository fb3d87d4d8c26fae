"""The invisible text of a page, as a content stream."""

from __future__ import annotations

import itertools
import re
import unicodedata
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from rtprune_cli.convert.glyphless import ASCENT, DESCENT, WIDTH, GlyphlessFont
from rtprune_cli.convert.html_table import Grid, GridCell, parse_table
from rtprune_cli.convert.ink import find_lines, find_slope
from rtprune_cli.convert.lines import lay_lines
from rtprune_cli.convert.text import block_text
from rtprune_cli.convert.words import TextLine, match_words, spread, text_width
from rtprune_cli.records import Block

if TYPE_CHECKING:
    from rtprune_cli.convert.ink import Grey, InkLine

FONT = "RtpruneText"  # the name of the font in a page's resources
FOOT = 0.03  # of the page's height: where text stands whose place is not known
INVISIBLE = 3  # text render mode, ISO 32000-1, table 106

Matrix = tuple[float, float, float, float, float, float]

_RUN = re.compile(r"\d[\d.,:/-]*\d|\d|[A-Za-z]+")  # what is read from left to right inside a word of Hebrew or Arabic


def page_lines(blocks: Sequence[Block], size: tuple[int, int], grey: Grey | None) -> list[TextLine]:
    """The lines of all blocks, in pixels of a page of ``size`` (width, height), whose image ``grey`` may be smaller."""
    if grey is not None and grey.shape != (size[1], size[0]):
        across, down = grey.shape[1] / size[0], grey.shape[0] / size[1]
    else:
        across = down = 1.0
    slope = find_slope(grey) if grey is not None else 0.0
    lines: list[TextLine] = []
    lost: list[str] = []
    for block in blocks:
        if block.box is None:
            lost += block_text(block).splitlines()
            continue
        left, top, right, bottom = block.box
        box = (round(left * across), round(top * down), round(right * across), round(bottom * down))
        if block.html is not None:
            found = _table_lines(parse_table(block.html), box, grey, slope)
        else:
            found = lay_lines(block_text(block), box, grey, slope)
        lines += [_scaled(line, 1 / across, 1 / down) for line in found]
    words = " ".join(lost).split()
    if grey is not None and words and not lines:  # read without boxes: maybe all of the page
        whole = match_words(words, find_lines((0, 0, grey.shape[1], grey.shape[0]), grey, slope))
        if whole:
            return [_scaled(line, 1 / across, 1 / down) for line in whole]
    return lines + _foot([line for line in lost if line.strip()], size)


def _scaled(line: TextLine, across: float, down: float) -> TextLine:
    left, top, right, bottom = line.box
    words = tuple((start * across, end * across) for start, end in line.words)
    box = (left * across, top * down, right * across, bottom * down)
    return TextLine(line.text, box, words, line.slope * down / across)


def _foot(texts: Sequence[str], size: tuple[int, int]) -> list[TextLine]:
    width, height = size
    pitch = FOOT * height / max(1, len(texts))
    tops = [height * (1 - FOOT) + at * pitch for at in range(len(texts))]
    return [
        TextLine(" ".join(text.split()), (0, top, width, top + pitch)) for text, top in zip(texts, tops, strict=True)
    ]


def _table_lines(grid: Grid, box: tuple[int, int, int, int], grey: Grey | None, slope: float) -> list[TextLine]:
    """The words of a table by its rows, on the rows of ink if it has as many; else its cells where they may stand."""
    found = find_lines(box, grey, slope, ruled=grid.rows > 1) if grey is not None else []
    if len(found) != grid.rows:
        return _cell_lines(grid, grid.cells, box, None)
    lines: list[TextLine] = []
    for row, line in enumerate(found):
        cells = [cell for cell in grid.cells if cell.row == row]
        words = [word for cell in cells if cell.rows == 1 for word in cell.text.split()]
        matched = match_words(words, [line]) if words else []
        lines += matched
        lines += _cell_lines(grid, [cell for cell in cells if cell.rows > 1 or not matched], box, found)
    return lines


def _cell_lines(
    grid: Grid, cells: Sequence[GridCell], box: tuple[int, int, int, int], found: Sequence[InkLine] | None
) -> list[TextLine]:
    """Cells in columns that are as wide as what stands in them, and in the rows that were ``found``, or rows of one
    height."""
    left, top, right, bottom = box
    if found is not None:
        rows = [(line.box[1], line.box[3]) for line in found]
    else:
        pitch = (bottom - top) / max(1, grid.rows)
        rows = [(top + (at + 0.15) * pitch, top + (at + 0.85) * pitch) for at in range(grid.rows)]
    widths = [1.0] * grid.columns
    for cell in grid.cells:
        if cell.columns == 1:
            widths[cell.column] = max(widths[cell.column], text_width(cell.text))
    edges = [left + (right - left) * part / sum(widths) for part in itertools.accumulate(widths, initial=0.0)]
    lines = []
    for cell in cells:
        if cell.text:
            start, end = edges[cell.column], edges[cell.column + cell.columns]
            upper, lower = rows[cell.row][0], rows[cell.row + cell.rows - 1][1]
            if cell.rows == 1:
                lines.append(TextLine(cell.text, (start, upper, end - 0.05 * (end - start), lower)))
            else:
                lines += lay_lines(cell.text, (round(start), round(upper), round(end), round(lower)), None)
    return lines


def content(lines: Sequence[TextLine], to_page: Matrix, font: GlyphlessFont) -> bytes:
    """The stream that writes the lines, a word at a time, each as wide as its share of the line.

    ``to_page`` takes pixels of the upright page to the page's own coordinates.
    """
    parts = ["q", "BT", f"{INVISIBLE} Tr", f"/{FONT} 1 Tf"]
    for line in lines:
        parts += _written(line, to_page, font)
    return "\n".join([*parts, "ET", "Q", ""]).encode("ascii")


def _written(line: TextLine, to_page: Matrix, font: GlyphlessFont) -> Iterator[str]:
    left, top, right, bottom = line.box
    size = (bottom - top) / (ASCENT - DESCENT)
    words = visual_order(line.text)
    if size <= 0 or right <= left or not words:
        return
    places = line.words if len(line.words) == len(words) else spread(words, left, right)
    first = places[0][0]
    baseline = bottom + DESCENT * size + line.slope * (first - left)
    matrix = multiplied((size, line.slope * size, 0, -size, first, baseline), to_page)
    yield f"{' '.join(map(_number, matrix))} Tm"
    for word, (start, end), following in zip(words, places, [*places[1:], None], strict=True):
        yield f"{_number(100 * (end - start) / (size * WIDTH * len(word)))} Tz {font.codes(word)} Tj"
        if following is not None:
            yield f"{_number(100 * (following[0] - end) / (size * WIDTH))} Tz {font.codes(' ')} Tj"


def _number(value: float) -> str:
    return f"{value:.4f}".rstrip("0").rstrip(".")


def multiplied(first: Matrix, second: Matrix) -> Matrix:
    """The matrix that does one, then the other (ISO 32000-1, 8.3.4)."""
    a, b, c, d, e, f = first
    g, h, i, j, k, m = second
    return a * g + b * i, a * h + b * j, c * g + d * i, c * h + d * j, e * g + f * i + k, e * h + f * j + m


def visual_order(text: str) -> list[str]:
    """The words of a line from left to right. Those of Hebrew and Arabic are turned, as they stand on the page: readers
    of PDF turn them back."""
    words = text.split()
    turned = [any(unicodedata.bidirectional(char) in ("R", "AL") for char in word) for word in words]
    if not any(turned):
        return words
    first = next(
        (kind for char in text if (kind := unicodedata.bidirectional(char)) in ("L", "R", "AL")), "L"
    )  # of the paragraph: what its first letter says (Unicode Standard Annex 9, P2)
    runs = [
        (right_to_left, [word for word, _ in run])
        for right_to_left, run in itertools.groupby(zip(words, turned, strict=True), key=lambda each: each[1])
    ]
    ordered: list[str] = []
    for right_to_left, run in reversed(runs) if first != "L" else runs:
        ordered += [_turned(word) for word in reversed(run)] if right_to_left else run
    return ordered


def _turned(word: str) -> str:
    return _RUN.sub(lambda run: run[0][::-1], word)[::-1]
