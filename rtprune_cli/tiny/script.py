"""What the model should write for a page and a prompt, token by token, and where each token is read."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from rtprune_cli.markdown import GRID
from rtprune_cli.tiny.charset import EOS, NEWLINE, encode, encode_tagged
from rtprune_cli.tiny.drawing import Point, on_page, on_view
from rtprune_cli.tiny.pages import Line, PrintedBlock, Rectangle, SyntheticPage, advances


@dataclass(frozen=True)
class Glyph:
    """A character of the page's text: its id and centre on the view (px), its line and its index there.

    A line ends in a newline, the last one in the end of text; they stand on the last character. So does the space
    between the cells of a row on the cell before it.
    """

    id: int
    at: Point
    line: int
    column: int


@dataclass(frozen=True)
class Token:
    """One token to write: where to look for it (px), the line and column to go on with, and which glyph it is.

    ``glyph`` is an index into `glyphs`, None for tags.
    """

    id: int
    at: Point
    line: int
    column: int
    glyph: int | None = None


def glyphs(page: SyntheticPage) -> list[Glyph]:
    """The text of the page for the free-OCR prompt, in reading order, with the end of text."""
    found: list[Glyph] = []
    lines = page.lines
    for number, line in enumerate(lines):
        column = 0
        for order, run in enumerate(line):
            if order:
                found.append(Glyph(encode(" ")[0], found[-1].at, number, column))
                column += 1
            x, widths = run.left, advances(run.font)
            for character in run.text:
                width = widths[character] * run.size
                at = on_view(page, x + width / 2, run.baseline - 0.36 * run.size)
                found.append(Glyph(encode(character)[0], at, number, column))
                x, column = x + width, column + 1
        found.append(Glyph(EOS if number == len(lines) - 1 else NEWLINE, found[-1].at, number, column))
    return found


def script(page: SyntheticPage, prompt: str, text: list[Glyph]) -> list[Token]:
    """The tokens for the prompt ``free`` or ``markdown``, the end of text last; ``text`` are the page's `glyphs`."""
    if prompt == "markdown" and page.blocks:
        tokens = list(_markdown(page, text))
        return [*tokens, Token(EOS, tokens[-1].at, tokens[-1].line, tokens[-1].column)]
    if text:
        return [Token(g.id, g.at, g.line, g.column, index) for index, g in enumerate(text)]
    return [Token(EOS, on_view(page, 0.0, 0.0), 0, 0)]


def box_999(page: SyntheticPage, box: Rectangle) -> tuple[int, int, int, int]:
    """The box of a block as the model writes it: 0 to 999 of the page image, around the skewed block."""
    left, top, right, bottom = box
    corners = [on_page(page, x, y) for x in (left, right) for y in (top, bottom)]
    xs, ys = [x / page.width for x, _ in corners], [y / page.height for _, y in corners]
    edges = (min(xs), min(ys), max(xs), max(ys))
    x0, y0, x1, y1 = (min(max(round(GRID * edge), 0), GRID) for edge in edges)
    return x0, y0, x1, y1


def _markdown(page: SyntheticPage, text: list[Glyph]) -> Iterator[Token]:
    """Each block: label and box in tags, then its text as markdown; a blank line between."""
    line = start = 0
    for order, block in enumerate(page.blocks):
        rows = len(block.lines)
        end = start
        while end < len(text) and text[end].line < line + rows:
            end += 1
        part = range(start, end)
        corner = on_view(page, block.box[0], block.box[1])
        first = text[start].at if rows else corner
        if order:
            yield from _tags("\n\n", first, line)
        yield from _tags(f"<|ref|>{block.kind}<|/ref|><|det|>[[", first, line)
        yield from _coordinates(page, block, text, part, line)
        yield from _tags("]]<|/det|>\n" if rows else "]]<|/det|>", first, line)
        if block.kind == "title":
            yield from _tags("# ", first, line)
        if block.kind == "table":
            yield from _table(block.lines, text, start, line)
        else:
            for index in part[:-1]:
                g = text[index]
                yield Token(g.id, g.at, g.line, g.column, index)
        line, start = line + rows, end


def _tags(tagged: str, at: Point, line: int, column: int = 0) -> Iterator[Token]:
    for i in encode_tagged(tagged):
        yield Token(i, at, line, column)


def _coordinates(
    page: SyntheticPage, block: PrintedBlock, text: list[Glyph], part: range, line: int
) -> Iterator[Token]:
    """Four numbers; the first two are read at the block's beginning, the others at its right and lower end."""
    if part:
        points = [text[index].at for index in part]
        where = [
            min(points, key=lambda p: p[0]),
            points[0],
            max(points, key=lambda p: p[0]),
            points[-1],
        ]
    else:
        left, top, right, bottom = block.box
        inset = 0.1 * (bottom - top)
        where = [on_view(page, left + inset, top + inset)] * 2 + [on_view(page, right - inset, bottom - inset)] * 2
    for order, (value, at) in enumerate(zip(box_999(page, block.box), where, strict=True)):
        yield from _tags(f", {value}" if order else str(value), at, line)


def _table(lines: tuple[Line, ...], text: list[Glyph], start: int, line: int) -> Iterator[Token]:
    """Rows and cells in the official tokens."""
    index = start
    yield from _tags("<table>", text[start].at, line)
    for row in lines:
        for order, run in enumerate(row):
            g = text[index]
            yield from _tags("<td>" if order else "<tr><td>", g.at, g.line, g.column)
            for _ in run.text:
                g = text[index]
                yield Token(g.id, g.at, g.line, g.column, index)
                index += 1
            g = text[index]
            yield from _tags("</td>", g.at, g.line, g.column)
            index += 1  # the space between cells, or the end of the line
        yield from _tags("</tr>", g.at, g.line, g.column)
    yield from _tags("</table>", text[index - 1].at, text[index - 1].line)
