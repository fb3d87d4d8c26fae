"""The test math: a formula is on the page. Compared as LaTeX, not as it looks.

The official test draws both formulas with KaTeX in a browser and compares where the symbols stand. Here two formulas
are equal when their LaTeX is, or becomes so by what changes neither symbols nor their places: spacing, fonts, other
names of a command, braces that only group, the order of sub- and superscript. What passes here should pass there.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

from rapidfuzz import fuzz

from rtprune_cli.bench.scoring.olmocr.spans import take_out

MAX_DEGREE = 20  # tokens of a root's, with its brackets
MAX_DEPTH = 100  # of braces; what is nested deeper is compared as it is written

_TOKEN = re.compile(r"\\(?:[a-zA-Z]+|.)|[^\s\\]", re.DOTALL)
_SKIPPED = frozenset((
    r"\,", r"\;", r"\:", r"\!", "\\ ", "\\\n", "~", r"\quad", r"\qquad", r"\thinspace", r"\left", r"\right", r"\middle",
    r"\big", r"\Big", r"\bigl", r"\bigr", r"\Bigl", r"\Bigr", r"\displaystyle", r"\mathrm", r"\mathit", r"\mathbf",
    r"\boldsymbol", r"\bm", r"\text", r"\textrm", r"\textit", r"\textbf", r"\rm", r"\it", r"\bf",
))  # fmt: skip
_NAMES = {
    r"\le": r"\leq", r"\ge": r"\geq", r"\ne": r"\neq", r"\to": r"\rightarrow", r"\gets": r"\leftarrow",
    r"\dfrac": r"\frac", r"\lbrace": r"\{", r"\rbrace": r"\}", r"\vert": "|", r"\lvert": "|", r"\rvert": "|",
    r"\Vert": r"\|", r"\lVert": r"\|", r"\rVert": r"\|", r"\ast": "*", r"\lbrack": "[", r"\rbrack": "]",
    r"\land": r"\wedge", r"\lor": r"\vee", r"\lnot": r"\neg",
}  # fmt: skip
_UNSEEN = frozenset((r"\tag", r"\label", r"\notag", r"\nonumber"))
_ARGUMENTS = {
    r"\frac": 2, r"\tfrac": 2, r"\binom": 2, r"\sqrt": 1, r"\overline": 1, r"\underline": 1, r"\bar": 1,
    r"\hat": 1, r"\widehat": 1, r"\tilde": 1, r"\widetilde": 1, r"\vec": 1, r"\dot": 1, r"\ddot": 1, r"\mathbb": 1,
    r"\mathcal": 1, r"\mathfrak": 1, r"\mathscr": 1,
}  # fmt: skip


@dataclass(frozen=True)
class Formula:
    """``latex`` stands between ``\\(``, ``\\[``, and unless ``ignore_dollars`` ``$`` or ``$$``, and their partners."""

    latex: str
    ignore_dollars: bool = False

    def passes(self, markdown: str) -> bool:
        """By the LaTeX alone."""
        found = formulas(markdown, self.ignore_dollars)
        if self.latex in found:
            return True
        wanted = canonical(self.latex)
        return any(canonical(latex) == wanted for latex in found)

    def to_compare(self, markdown: str) -> list[str]:
        """The page's formulas whose drawings decide, those most like this one first; none where it is among them."""
        found = list(dict.fromkeys(formulas(markdown, self.ignore_dollars)))
        return [] if self.latex in found else sorted(found, key=lambda latex: -fuzz.ratio(latex, self.latex))


@lru_cache(8)  # tests of one page follow each other
def formulas(markdown: str, ignore_dollars: bool = False) -> Sequence[str]:
    r"""The LaTeX of all formulas: those in ``\(``, then ``\[``, ``$$``, ``$``, each out of what the last left."""
    found: list[str] = []
    marks = [(r"\(", r"\)"), (r"\[", r"\]")] + ([] if ignore_dollars else [("$$", "$$"), ("$", "$")])
    for opening, closing in marks:
        inside, markdown = take_out(markdown, opening, closing)
        found += [latex.strip() for latex in inside]
    return tuple(found)


def canonical(latex: str) -> str:
    """One spelling of a formula: its tokens with a space between, arguments in braces and nothing else."""
    tokens = list(_kept(_TOKEN.findall(latex)))
    depth = deepest = lowest = 0
    for token in tokens:
        depth += (token == "{") - (token == "}")
        deepest, lowest = max(deepest, depth), min(lowest, depth)
    if depth or lowest or deepest > MAX_DEPTH:
        return " ".join(tokens)
    return " ".join(_sequence(tokens, 0)[0])


def _kept(tokens: Sequence[str]) -> Iterator[str]:
    before = ""
    for token in tokens:
        invisible = token == "." and before in (r"\left", r"\right")
        if token not in _SKIPPED and not invisible:
            yield _NAMES.get(token, token)
        before = token


def _sequence(tokens: Sequence[str], place: int) -> tuple[list[str], int]:
    """What stands from ``place`` to the end of its group, and where that is."""
    out: list[str] = []
    while place < len(tokens) and tokens[place] != "}":
        base, place = _atom(tokens, place)
        scripts: dict[str, list[str]] = {"_": [], "^": []}
        start = place
        while place < len(tokens) and tokens[place] in ("_", "^", "'"):
            mark = tokens[place]
            added, place = ([r"\prime"], place + 1) if mark == "'" else _argument(tokens, place + 1)
            scripts["^" if mark == "'" else mark] += added
        if place > start and len(base) > 1 and tokens[start - 1] == "}":
            base = ["{", *base, "}"]  # of all of it, not of the last symbol
        out += base
        for mark, script in scripts.items():
            out += [mark, "{", *script, "}"] if script else []
    return out, place


def _atom(tokens: Sequence[str], place: int) -> tuple[list[str], int]:
    """A group without its braces, a symbol, or a command with its arguments; nothing where a script has no base."""
    token = tokens[place]
    if token in ("_", "^", "'"):
        return [], place
    if token == "{":
        return _argument(tokens, place)
    out, place = [token], place + 1
    degree = tokens[place : place + MAX_DEGREE]
    if token == r"\sqrt" and degree[:1] == ["["] and "]" in degree:
        end = place + degree.index("]") + 1
        out, place = [token, *tokens[place:end]], end
    for _ in range(_ARGUMENTS.get(token, 0)):
        argument, place = _argument(tokens, place)
        out += ["{", *argument, "}"]
    if token not in _ARGUMENTS and token[1:].isalpha():
        while tokens[place : place + 1] == ["{"]:  # of a command that is not known here
            argument, place = _argument(tokens, place)
            out += ["{", *argument, "}"]
    return ([], place) if token in _UNSEEN else (out, place)


def _argument(tokens: Sequence[str], place: int) -> tuple[list[str], int]:
    """A group or a single token, and where it ends."""
    if place >= len(tokens) or tokens[place] == "}":
        return [], place
    if tokens[place] != "{":
        return [tokens[place]], place + 1
    inner, end = _sequence(tokens, place + 1)
    return inner, end + 1
