"""Owns what stands beside a predicted display formula: its number, its caption, a second formula (extract.py)."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

from rtprune_cli.bench.scoring.omnidocbench.v16.candidates import plain
from rtprune_cli.bench.scoring.omnidocbench.v16.latex import DELIMITERS

_NUMBER = re.compile(r"\\left\(\s*[0-9IVXivx]+\s*\\right\)|\(\s*[0-9IVXivx]+\s*\)")
_GAP_NAMES = (r"\qquad", r"\quad", r"\enspace", r"\,", r"\;", r"\:")
_GAP = f"(?:{'|'.join(map(re.escape, _GAP_NAMES))})"
_GAPS = re.compile(rf"\s*(?:{_GAP}\s*)*")
_GAP_END = re.compile(rf"{_GAP}$")
_GAP_BRACKET = re.compile(rf"{_GAP}\s*\(")
_MATH = re.compile(r"\\[A-Za-z]+|[=<>≤≥÷×±∑∫√_^{}]")
_NUMERAL = re.compile(r"[0-9IVXivx]+")
_QUADS = re.compile(r"\s*(?:\\qquad|\\quad)\s*")
_NO_ARITHMETIC = re.compile(
    r"\\begin\{|\\end\{|\\(?:mathbf|left|right|cdot|lambda|Gamma|varGamma|text|matrix|pmatrix|bmatrix)"
)
_RELATIONS = ("=", r"\approx", "≈", r"\neq", "≠", r"\leq", "≤", r"\geq", "≥")
_FRACTION = re.compile(r"\d+\s*/\s*\d+")


class Caption(NamedTuple):
    """Text beside a formula, and how many characters it took at the formula's end, or at its beginning."""

    text: str
    width: int
    at_end: bool


class SplitDisplay(NamedTuple):
    """A display formula: one or several, each in the delimiters of the whole, and the text that stood beside."""

    formulas: list[str]
    captions: list[Caption]


def split_display(line: str) -> SplitDisplay:
    """What a display formula, on one line, holds."""
    compact = " ".join(line.split())
    opening, closing, inside = _envelope(compact)
    rest, captions = _without_margins(inside)
    if rest == inside and not captions:
        rest, whole = inside, line
    elif rest:
        whole = f"{opening} {rest} {closing}" if opening else rest
    else:
        rest, whole, captions = inside, compact, []
    parts = [part for part in _QUADS.split(rest) if part] if r"\quad" in rest or r"\qquad" in rest else []
    if len(parts) > 1 and all(map(_is_arithmetic, parts)):
        return SplitDisplay([f"{opening} {part} {closing}" if opening else part for part in parts], captions)
    return SplitDisplay([whole], captions)


def _envelope(compact: str) -> tuple[str, str, str]:
    for opening, closing in (DELIMITERS[1], DELIMITERS[2], DELIMITERS[0], DELIMITERS[3]):
        width = len(opening)
        if len(compact) >= 2 * width and compact.startswith(opening) and compact.endswith(closing):
            return opening, closing, compact[width : len(compact) - width].strip()
    return "", "", compact


def _without_margins(inside: str) -> tuple[str, list[Caption]]:
    """A formula without its number in front and captions behind, and these; unchanged where there are none."""
    number = _NUMBER.match(inside)
    if not number and not any(_is_caption(caption) for _, caption in _tails(inside)):
        return inside, []
    captions = []
    rest = inside
    if number:
        captions.append(Caption(plain(number[0]), len(number[0]), at_end=False))
        gaps = _GAPS.match(rest, number.end())
        rest = rest[gaps.end() if gaps else number.end() :].strip()
    again = True
    while rest and again:
        again = False
        for find in (_text_tail, _bracket_tail):
            tail = find(rest)
            if tail and _is_caption(tail[1]):
                captions.append(Caption(plain(tail[1]), len(tail[1]), at_end=True))
                rest = rest[: tail[0]].rstrip()
                again = True
    return _without_gaps(rest).strip(), [caption for caption in captions if caption.text]


def _without_gaps(rest: str) -> str:
    """``rest`` without the blanks, of LaTeX or not, that it ends with."""
    end = len(rest.rstrip())
    while gap := next((each for each in _GAP_NAMES if rest.endswith(each, 0, end)), ""):
        end -= len(gap)
        while end and rest[end - 1].isspace():
            end -= 1
    return rest[:end]


def _tails(inside: str) -> Iterator[tuple[int, str]]:
    yield from (tail for find in (_text_tail, _bracket_tail) if (tail := find(inside)))


def _text_tail(inside: str) -> tuple[int, str] | None:
    r"""(place of the gap, caption) of ``\quad \text{...}`` at the end. Sought from the end: hostile LaTeX is long."""
    source = inside.rstrip()
    body = source.removesuffix(".")
    opening = body.rfind("{")
    if not body.endswith("}") or opening < 0 or "}" in body[opening:-1]:
        return None
    head = body[:opening].rstrip()
    if not head.endswith(r"\text"):
        return None
    head = head.removesuffix(r"\text")
    gap = _GAP_END.search(head.rstrip(), max(0, len(head.rstrip()) - 8))
    return (gap.start(), source[len(head) :].strip()) if gap else None


def _bracket_tail(inside: str) -> tuple[int, str] | None:
    r"""(place of the gap, caption) of ``\quad (...)`` with a letter at the end."""
    source = inside.rstrip()
    body = source.removesuffix(".")
    if not body.endswith(")"):
        return None
    gap = _GAP_BRACKET.search(body, body.rfind(")", 0, len(body) - 1) + 1)
    if not gap or not re.search(r"[A-Za-z]", body[gap.end() :]):
        return None
    return gap.start(), source[gap.end() - 1 :]


def _is_caption(latex: str) -> bool:
    text = plain(latex)
    if not text:
        return False
    letters, words = len(re.findall(r"[A-Za-z]", text)), len(re.findall(r"[A-Za-z]{2,}", text))
    math = len(_MATH.findall(latex))
    core = text[1:-1].strip() if text.startswith("(") and text.endswith(")") else text
    if _NUMERAL.fullmatch(core.replace(" ", "")):
        return False
    return (letters >= 10 and words >= 2 and math <= 6) or (
        letters >= 14 and math <= 3 and not any(character.isdecimal() for character in text)
    )


def _is_arithmetic(part: str) -> bool:
    if len(part) > 160 or _NO_ARITHMETIC.search(part) or not any(each in part for each in _RELATIONS):
        return False
    return len(re.findall(r"\d", part)) >= 2 or r"\frac" in part or _FRACTION.search(part) is not None
