"""Owns what becomes of a token string before it is coloured: tokens that belong together, missing braces, no colours.

latex_processor.py of the evaluator, in its order. A table (``tabular``) is treated otherwise in places.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

from rtprune_cli.bench.scoring.omnidocbench.cdm.groups import (
    ACCENTS,
    BRACKETS,
    FONTS,
    FRACTIONS,
    ROOTS,
    ROUND,
    STACKS,
    closing,
)
from rtprune_cli.bench.scoring.omnidocbench.cdm.tokens import TABULAR

# Written as their letters, so that those are compared one by one; other operators are not.
_DOTS = ("ldots", "cdots", "dots", "dotsb")
_OPERATORS = ("log", "exp", "sin", "cos", "tan", "tanh", "cosh", "sinh")
_BIG = r"\\[Bb]ig[g]?[glrm]?"
_ARRAY = r"\begin{array} "
_COLOURED = "|".join(
    rf"\\{name}[ \[\]RGBrgb]+{{ [A-Za-z 0-9,!]+ }} " for name in ("colorbox", "color", "textcolor", "cellcolor")
)


def rewritten(latex: str) -> str:
    """The token string as it is coloured.

    Raises:
        LatexError: braces do not match.
        IndexError: a command at the end lacks its argument.
    """
    table = TABULAR in latex
    latex = latex.strip().replace(r"\pmatrix", r"\mypmatrix").replace(r"\matrix", r"\mymatrix")
    for name in (r"\raggedright", r"\arraybackslash", r"\lowercase", r"\uppercase"):
        latex = latex.replace(name, "")
    latex = _each(latex, r"\\[hv]space { [.0-9a-z ]+ }", lambda joined: "" if table else joined)
    if table:
        latex = _table_rules(latex)
    latex = _each(latex, r"\\begin{array} { [lrc ]+ }", lambda joined: joined.replace(_ARRAY.strip(), _ARRAY))
    latex = _each(latex, r"\\not [<>+=-]")
    latex = f" {latex} "
    for name in _DOTS:
        latex = latex.replace(rf" \{name} ", " . . . ")
    for name in _OPERATORS:
        latex = latex.replace(rf" \{name} ", rf" \mathrm {{ {' '.join(name)} }} ")
    latex = _each(latex, _BIG + r" [(){}|\[\]] ", _apart)
    latex = _each(latex, _BIG + r" \\.*? ", _apart)
    latex = latex.replace(r"\operatorname *", r"\operatorname").replace(r"\lefteqn", "").replace(r"\footnote ", "^ ")
    latex = _each(latex, r"\\' [^{] ", _apart)
    if table:
        latex = _each(latex, r"\[ [\-.0-9 ]+[exptcm ]+ \]")
    latex = _each(latex, r"\\parbox {[^{]+}")
    latex = _each(latex, r"\\raisebox {[^{]+} [\[\]0-9 exptcm]+{", lambda joined: joined[:-1] + " {")
    latex = _each(latex, r"{ \\char[0-9' ]+}", lambda joined: f"{{ {joined[1:-1]} }}")
    latex = _each(latex, r"\\not [\\=<>][^ ]+ ", _apart)
    latex = _each(latex, r"\\specialrule {[ .0-9a-z]+} {[ .0-9a-z]+} {[ .0-9a-z]+}")
    for coloured in re.findall(_COLOURED, latex):
        latex = latex.replace(coloured, "")
    return " ".join(_braced(latex.split(" ")))


def _apart(joined: str) -> str:
    return joined + " "


def _each(latex: str, pattern: str, form: Callable[[str], str] = str) -> str:
    """``latex`` where every text that the pattern finds is made one token: ``form`` of it without blanks."""
    for found in re.findall(pattern, latex, re.DOTALL):
        latex = latex.replace(found, form(found.replace(" ", "")))
    return latex


def _table_rules(latex: str) -> str:
    r"""``\begin{tabular}`` with its columns, and partial lines with their ranges, as one token each."""
    for name in ("tabular", "array"):
        for end in ("begin", "end"):
            latex = latex.replace(rf"\{end} {{{name}}}", rf"\{end}{{{name}}}")
    tokens = latex.split(" ")
    if (begin := r"\begin{tabular}") in tokens:
        place = tokens.index(begin)
        _join(tokens, place, closing(tokens, place + 1))
    for place, token in enumerate(tokens):  # grows shorter on the way
        if token in (r"\cmidrule", r"\cline"):
            start = place + 1
            if tokens[start] == "(":
                start = closing(tokens, start, ROUND) + 1
            _join(tokens, place, closing(tokens, start))
    return " ".join(tokens)


def _join(tokens: list[str], start: int, end: int) -> None:
    tokens[start : end + 1] = ["".join(tokens[start : end + 1])]


def _braced(tokens: list[str]) -> list[str]:
    r"""With the braces that commands may leave out: ``\hat x``, ``\frac 1 2``, ``\sqrt x``."""
    place = 0
    while place < len(tokens):
        token = tokens[place]
        if token in ACCENTS or token in FONTS:
            _brace_chain(tokens, place)
        elif token in ROOTS:
            start = place + 1
            if tokens[start] == "[":
                start = closing(tokens, start, BRACKETS) + 1
            _brace(tokens, start)
        elif token in FRACTIONS or token in STACKS:
            _brace(tokens, place + 1)
            _brace(tokens, closing(tokens, place + 1) + 1)
        place += 1
    return tokens


def _brace(tokens: list[str], place: int) -> None:
    if tokens[place] != "{":
        tokens[place : place + 1] = ["{", tokens[place], "}"]


def _brace_chain(tokens: list[str], place: int) -> None:
    r"""``\mathbf \hat x`` as ``\mathbf { \hat { x } }``."""
    end = place + 1
    while end < len(tokens) and (tokens[end] in ACCENTS or tokens[end] in FONTS):
        end += 1
    last = closing(tokens, end) if tokens[end] == "{" else end
    inside: Sequence[str] = tokens[end + 1 : last] if tokens[end] == "{" else [tokens[end]]
    opened = [part for command in tokens[place:end] for part in (command, "{")]
    tokens[place : last + 1] = [*opened, *inside, *"}" * (end - place)]
