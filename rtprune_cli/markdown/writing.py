"""How a piece of a page is written as markdown, and as a block."""

from __future__ import annotations

import html
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial

from rtprune_cli.markdown import formulas, tables
from rtprune_cli.markdown.pieces import HEADING, Piece
from rtprune_cli.markdown.regions import Coordinates
from rtprune_cli.markdown.repairs import with_items_apart, without_hyphen_spaces
from rtprune_cli.options import Math, OutputOptions, Tables
from rtprune_cli.outputs.layout import IMAGES
from rtprune_cli.records import Block

_TWICE_ESCAPED = re.compile(r"&amp;(?=(?:lt|gt|amp|quot|apos|nbsp|#\d{1,6});)")
_HEADING_MARK = re.compile(r"^( {0,3})(?=#{1,6}[ \t])", re.M)
_TOKEN_LIKE = re.compile(r"<(?=\|/?\w|｜|!--)")


@dataclass(frozen=True)
class MarkdownStyle:
    """How blocks are written: ``math`` and ``tables`` as the options of these names, and which habits are undone."""

    tables: Tables = "html"
    math: Math = "dollars"
    repair_hyphens: bool = False
    repair_lists: bool = False

    @classmethod
    def of(cls, options: OutputOptions) -> MarkdownStyle:
        """As the options ask."""
        return cls(options.tables, options.math, options.repair_hyphens, options.repair_lists)


def written(piece: Piece, style: MarkdownStyle) -> str:
    """The markdown of a piece, whose ``content`` becomes what its block has."""
    if piece.kind == "picture":
        if piece.crop is None:
            return f"<!-- picture not kept: {', '.join(map(str, piece.box or ()))} -->"
        return f"![]({IMAGES}/{piece.crop})"
    piece.content = _TWICE_ESCAPED.sub("&", plain_colons(piece.content))
    if piece.kind == "table":
        # A blank line would end the HTML, and what follows it would be markdown.
        piece.content = tables.with_letters(re.sub(r"\n\s*\n", "\n", piece.content))
        if style.tables == "markdown" and (table := tables.pipe_table(piece.content, _cell(style))):
            return table
        return piece.content
    piece.content = re.sub(r"\n{3,}", "\n\n", _repaired(piece.content, style)).strip()
    text = piece.content
    if piece.kind == "heading":
        assert piece.level is not None
        piece.content = text = HEADING.sub("", text, count=1).strip()
        text = f"{'#' * piece.level} {text}" if text else ""
    elif piece.named and "```" not in text:
        text = _HEADING_MARK.sub(r"\1\\", text)  # a comment of code: what is a heading has the label of one
    write = formulas.between_dollars if style.math == "dollars" else formulas.outside
    return _TOKEN_LIKE.sub("&lt;", _fenced(write(text, tables.with_letters)))


def _cell(style: MarkdownStyle) -> Callable[[str], str]:
    return partial(formulas.between_dollars, in_cell=True) if style.math == "dollars" else str


def _repaired(text: str, style: MarkdownStyle) -> str:
    if style.repair_lists:
        text = with_items_apart(text)
    return without_hyphen_spaces(text) if style.repair_hyphens else text


def _fenced(text: str) -> str:
    """A fence that the token limit left open is closed, or it would take in the pages that follow."""
    lines = [line for line in text.split("\n") if line.lstrip(" ").startswith("```")]
    return f"{text}\n```" if len(lines) % 2 else text


def plain_colons(text: str) -> str:
    """Two commands that few renderers know, as the official code writes them."""
    return text.replace("\\coloneqq", ":=").replace("\\eqqcolon", "=:")


def block_of(piece: Piece, size: tuple[int, int], confidences: Sequence[float | None]) -> Block:
    """A piece that is written, as data; ``size`` is (width, height) of the page."""
    confidence = confidences[piece.number] if piece.number < len(confidences) else None
    block = Block(
        label=piece.label,
        box=piece.box,
        box_relative=piece.box and _relative(piece.box, size),
        level=piece.level,
        crop=piece.crop and f"{IMAGES}/{piece.crop}",
        confidence=None if confidence is None else round(confidence, 4),
    )
    if piece.kind == "table":
        return replace(block, html=piece.content)
    if piece.kind == "formula":
        return replace(block, latex=formulas.single(piece.content))
    return block if piece.kind == "picture" else replace(block, text=html.unescape(piece.content))


def _relative(box: Coordinates, size: tuple[int, int]) -> tuple[float, float, float, float]:
    left, top, right, bottom = (round(each / size[at % 2], 4) for at, each in enumerate(box))
    return left, top, right, bottom
