"""Owns one predicted page as v1.6 reads it: markdown -> pieces with their places (extract.py).

Unlike v1.5's reading: images leave blanks, so that places stay; what looks like a formula in text, in cells of tables
and in the text of images competes with the formulas; display formulas lose their numbers and captions; names in
dollars are no formulas; ``<div>`` leaves its text.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from rtprune_cli.bench.scoring.omnidocbench.pipes import pipe_rows, pipes_to_html
from rtprune_cli.bench.scoring.omnidocbench.prediction import (
    FORMULA,
    HTML_TABLE,
    INLINE,
    LATEX_TABLE,
    MATH,
    PIPE_TABLE,
    TEXT,
    code_blocks,
    formula_of,
    html_tables_of,
    image_places,
    latex_tables_of,
    unwrapped,
    without_wrapping,
)
from rtprune_cli.bench.scoring.omnidocbench.spans import between, blanked, delimited
from rtprune_cli.bench.scoring.omnidocbench.teds import MOST_ELEMENTS
from rtprune_cli.bench.scoring.omnidocbench.v16.candidates import (
    as_latex,
    has_arrow,
    is_cell_formula,
    is_formula_like,
    is_label,
)
from rtprune_cli.bench.scoring.omnidocbench.v16.displays import split_display

RESCUE = "formula_rescue"
CELL_FORMULA = "table_formula_rescue"
TEXT_FORMULA = "text_formula"
IMAGE_FORMULA = "image_formula"
# What else is a formula where formulas are matched to formulas.
FORMULA_LABELS = (TEXT_FORMULA, IMAGE_FORMULA, RESCUE, CELL_FORMULA)

MOST_TAGS = 1_000  # in a paragraph; nested, more take minutes, and no page has them

_BLANK_LINES = re.compile(r"(\n\s*\n)")
_PICTURE = (
    "the image ", "the figure ", "the diagram ", "diagram:", "[diagram:", "[image:", "qr code ",
)  # fmt: skip
_DIVISION = re.compile(r"<(?:div|dir)\b", re.IGNORECASE)


@dataclass(frozen=True)
class PredictedPiece:
    """A piece of the page. ``kind`` says how it is normalised, ``label`` what it is called in a match.

    ``source`` is the number of the formula that this is a part of, among those that compete.
    """

    kind: str
    label: str
    start: int
    end: int
    content: str
    source: int = -1


@dataclass(frozen=True)
class PredictedPage:
    """``mixed``: text and formulas by kind, as they are matched to the truth; the tables apart.

    ``rescued``: text that looks like a formula, as one.
    """

    mixed: Sequence[PredictedPiece]
    rescued: Sequence[PredictedPiece]
    html_tables: Sequence[PredictedPiece]
    latex_tables: Sequence[PredictedPiece]


def read_markdown(markdown: str) -> PredictedPage:
    """Take a page apart as the official code does, in its order: what one step takes, the next does not see."""
    content, pieces = _images(markdown)
    content = _plain_descriptions(without_wrapping(content))
    for kind, find in ((LATEX_TABLE, latex_tables_of), (HTML_TABLE, html_tables_of)):
        spans = []
        for item in find(content):
            table = PredictedPiece(kind, kind, item.position, item.position + len(item.content), item.content)
            spans.append((table.start, table.end))
            pieces += [table, *(_cell_formulas(table) if kind == HTML_TABLE else ())]
        content = blanked(content, spans)
    content = _take_formulas(content, pieces)
    if sum(1 for _ in pipe_rows(content + "\n")) > 1:
        content = pipes_to_html(content)
        spans = [(span.start, span.end) for span in between(content, "<table", "</table>")]
        for start, end in spans:
            table = PredictedPiece(HTML_TABLE, PIPE_TABLE, start, end, content[start:end])
            pieces += [table, *_cell_formulas(table)]
        content = blanked(content, spans)
    code = list(code_blocks(content))
    pieces += [PredictedPiece(TEXT, item.label, start, end, item.content) for (start, end), item in code]
    content = blanked(content, [span for span, _ in code])
    for text in _paragraphs(unwrapped(content)):
        pieces += [text, *_rescued(text.content, text.start, text.end, TEXT_FORMULA)]
    return _sorted_out(pieces)


def _sorted_out(pieces: Sequence[PredictedPiece]) -> PredictedPage:
    ordered = [
        piece
        for piece in sorted(pieces, key=lambda piece: piece.start)
        if not (piece.kind == FORMULA and piece.label == INLINE and is_label(piece.content))
    ]
    mixed = [piece for piece in ordered if piece.kind in (TEXT, FORMULA)]
    return PredictedPage(
        # By kind, the one that the page begins with first: it decides between pieces at one place.
        sorted(mixed, key=lambda piece: piece.kind != mixed[0].kind),
        *([piece for piece in ordered if piece.kind == kind] for kind in (RESCUE, HTML_TABLE, LATEX_TABLE)),
    )


def _images(markdown: str) -> tuple[str, list[PredictedPiece]]:
    """The page with blanks in place of its images, and formulas that the text of an image holds."""
    pieces: list[PredictedPiece] = []
    lines, place = [], 0
    for line in markdown.split("\n"):
        spans = []
        for start, middle, end in image_places(line):
            spans.append((start, end))
            pieces += _rescued(line[start + 2 : middle].strip(), place + start, place + end, IMAGE_FORMULA)
        lines.append(blanked(line, spans))
        place += len(line) + 1
    return "\n".join(lines), pieces


def _rescued(text: str, start: int, end: int, label: str) -> Iterator[PredictedPiece]:
    if is_formula_like(text) and (latex := as_latex(text)):
        yield PredictedPiece(FORMULA if has_arrow(latex) else RESCUE, label, start, end, latex)


def _plain_descriptions(content: str) -> str:
    """Paragraphs that describe a picture, as some models do, lose the delimiters of their formulas."""
    blocks = _BLANK_LINES.split(content)
    for number in range(0, len(blocks), 2):
        compact = " ".join(blocks[number].split()).lower()
        if len(compact) >= 24 and compact.startswith(_PICTURE):
            for opening, closing in ((r"\(", r"\)"), ("$", "$")):
                blocks[number] = _undelimited(blocks[number], opening, closing)
    return "".join(blocks)


def _undelimited(text: str, opening: str, closing: str) -> str:
    parts, at = [], 0
    for span in between(text, opening, closing):
        parts += [text[at : span.start], text[span.start + len(opening) : span.end - len(closing)]]
        at = span.end
    return "".join([*parts, text[at:]])


def _cell_formulas(table: PredictedPiece) -> Iterator[PredictedPiece]:
    """Cells that count as formulas, at made-up places one after the other from the table's start."""
    from bs4 import BeautifulSoup
    from bs4.exceptions import ParserRejectedMarkup

    try:
        soup = BeautifulSoup(table.content, "html.parser")
    except ParserRejectedMarkup:
        return
    place = table.start
    cells = soup.find_all(["td", "th"])
    for cell in cells if len(cells) <= MOST_ELEMENTS else ():  # nested ones are read again for each that holds them
        text = " ".join(cell.get_text(separator=" ").split())
        if is_cell_formula(text) and (latex := as_latex(text)):
            end = place + max(len(text), 1)
            yield PredictedPiece(FORMULA, CELL_FORMULA, place, end, latex)
            place = end + 1


def _take_formulas(content: str, pieces: list[PredictedPiece]) -> str:
    """Add the formulas to ``pieces``; ``content`` without the displayed ones, inline ones stay in their text."""
    displayed = []
    for span in delimited(content, MATH):
        formula = formula_of(content[span.start : span.end], span.start)
        if formula.label != INLINE:
            displayed.append((span.start, span.end))
        pieces += _formulas(formula.content, formula.label, span.start, span.end)
    return blanked(content, displayed)


def _formulas(line: str, label: str, start: int, end: int) -> Iterator[PredictedPiece]:
    formulas, captions = split_display(line)
    width = max(max(end - start, len(formulas)) // len(formulas), 1)
    for number, formula in enumerate(formulas):
        begin = start + number * width
        last = number == len(formulas) - 1
        yield PredictedPiece(FORMULA, label, begin, end if last else min(end, begin + width), formula)
    for caption in captions:
        places = (max(start, end - caption.width), end) if caption.at_end else (start, min(end, start + caption.width))
        yield PredictedPiece(TEXT, "equation_caption", *places, caption.text)


def _paragraphs(content: str) -> Iterator[PredictedPiece]:
    """Paragraphs at the sum of the lengths before them, separators left out: so they drift against the formulas."""
    pieces = content.split("\n\n")
    if len(pieces) == 1:
        pieces = content.split("\n")
    place = 0
    for piece in pieces:
        text = _without_divisions("\n".join(stripped for line in piece.split("\n") if (stripped := line.strip())))
        if text:
            yield PredictedPiece(TEXT, "text_block", place, place + len(piece), text)
        place += len(piece)


def _without_divisions(text: str) -> str:
    """What begins with ``<div>`` or ``<dir>`` as the text that it shows; all else as it is."""
    from bs4 import BeautifulSoup
    from bs4.exceptions import ParserRejectedMarkup

    if "<table" in text.lower() or not _DIVISION.match(text) or text.count("<") > MOST_TAGS:
        return text
    try:
        soup = BeautifulSoup(text, "html.parser")
    except ParserRejectedMarkup:
        return text
    for tag in soup.find_all(["style", "script"]):
        tag.decompose()
    for tag in reversed(soup.find_all(["span", "font", "b", "strong", "i", "em", "u", "a", "sup", "sub"])):
        tag.unwrap()
    for tag in soup.find_all("br"):
        tag.replace_with("\n")
    for tag in soup.find_all(["div", "dir", "p", "li"]):
        if not tag.contents or str(tag.contents[-1]) != "\n":
            tag.append("\n")
    lines = soup.get_text(separator="").replace("\xa0", " ").split("\n")
    return "\n".join(stripped for line in lines if (stripped := line.strip())) or text
