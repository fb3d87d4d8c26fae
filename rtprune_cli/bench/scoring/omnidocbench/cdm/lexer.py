"""Owns where one piece of LaTeX ends and the next begins, as the tokeniser's parser asks for them."""

from __future__ import annotations

import re
from typing import NamedTuple

from rtprune_cli.bench.scoring.omnidocbench.cdm.commands import ReadingMode

END = ""  # the text of the piece behind the last
# Blanks; or dashes that belong together, a character, or a command. No control characters, no lone backslash.
_PIECE = re.compile(
    r"([ \r\n\t]+)|(---?|[!-\[\]-\u2027\u202a-\ud7ff\uf900-\uffff\U00010000-\U0010ffff]"
    r"|\\(?:[a-zA-Z]+|[\x00-\ud7ff\ue000-\uffff]))"
)
_BLANKS = re.compile(r"\s*")
_COLOUR = re.compile(r"#[a-z0-9]+|[a-z]+", re.IGNORECASE)
_SIZE = re.compile(r"(-?)\s*(\d+(?:\.\d*)?|\.\d+)\s*([a-z]{2})")


class LatexError(Exception):
    """The tokeniser cannot read this LaTeX."""


class LatexPiece(NamedTuple):
    """A piece and the place behind it."""

    text: str
    end: int


def piece_at(latex: str, place: int, mode: ReadingMode) -> LatexPiece:
    """The piece of ``latex`` at ``place``; in text blanks are a piece, in mathematics they are passed over.

    Raises:
        LatexError: there is none.
    """
    if mode in ("size", "color"):
        return _special_at(latex, behind_blanks(latex, place), mode)
    while place < len(latex):
        found = _PIECE.match(latex, place)
        if found is None:
            raise LatexError(f"unexpected character {latex[place]!r}")
        if found[2]:
            return LatexPiece(found[2], found.end())
        if mode == "text":
            return LatexPiece(" ", found.end())
        place = found.end()
    return LatexPiece(END, place)


def _special_at(latex: str, place: int, mode: ReadingMode) -> LatexPiece:
    found = (_COLOUR if mode == "color" else _SIZE).match(latex, place)
    if found is None:
        raise LatexError(f"no {mode} at {latex[place : place + 10]!r}")
    return LatexPiece(found[0], found.end())


def behind_blanks(latex: str, place: int) -> int:
    """The place of the next character that is no blank."""
    found = _BLANKS.match(latex, place)
    return place if found is None else found.end()


def size_parts(piece: str) -> str:
    """A size as it is printed: its number, its unit.

    Raises:
        LatexError: it is none.
    """
    found = _SIZE.match(piece)
    if found is None:
        raise LatexError(f"{piece!r} is no size")
    number = float(found[1] + found[2])
    return f"{int(number) if number.is_integer() else number} {found[3]}"
