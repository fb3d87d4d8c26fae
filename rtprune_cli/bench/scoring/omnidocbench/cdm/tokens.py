r"""Owns the tokeniser: a formula's LaTeX -> its tokens, with a blank between two (tokenize_latex.py, preprocess_*.js).

Officially a program in node; here its parts are functions, equal to it wherever it was tried (docs/accuracy.md).
"""

from __future__ import annotations

import re
from collections.abc import Callable

from rtprune_cli.bench.scoring.omnidocbench.cdm.lexer import LatexError
from rtprune_cli.bench.scoring.omnidocbench.cdm.parser import LatexParser
from rtprune_cli.bench.scoring.omnidocbench.cdm.printing import printed

TABULAR = "tabular"
_REPEATS = 300  # so many of each are replaced
_LINES = re.compile(r"\r\n|[\r\n\u2028\u2029]")
_ALIGNED = re.compile(
    r"\\begin{(split|align|alignedat|alignat|eqnarray)\*?}(.+?)\\end{\1\*?}", re.DOTALL
)  # one without a star ends one with it
_MATRIX = re.compile(r"\\begin{(smallmatrix)\*?}(.+?)\\end{\1\*?}", re.DOTALL)
_LABEL = re.compile(r"\\label\{[^\n\r\u2028\u2029]*?\}")
_PRINTED_LABEL = re.compile(r"\\label \{ [^\n\r\u2028\u2029]*? \}")
_UPRIGHT = (re.compile(r"\{\\rm"), re.compile(r"\{ \\rm"), re.compile(r"\\rm\{"))
_SKIP = re.compile(r"hskip(.*?)(cm|in|pt|mm|em)")
_NAMES = (
    "arccos|arcsin|arctan|arg|cos|cosh|cot|coth|csc|deg|det|dim|exp|gcd|hom|inf|injlim|ker|lg|lim|liminf|limsup|ln|log|"
    "max|min|Pr|projlim|sec|sin|sinh|sup|tan|tanh"
)
# Officially the optional blanks stand between all characters of the list of names, its bars included: so the first name
# may not have one before it, nor the last one behind, and both stay as they are.
_OPERATOR = re.compile(r"\\operatorname \{(" + r"\s?".join(_NAMES) + r")\}")


def tokenised(latex: str) -> str | None:
    """The tokens of a formula, or None where they cannot be told: then it is taken as it is."""
    if TABULAR in latex:
        return _last_line(_table_source(latex), _table_tokens)
    source = _MATRIX.sub(r"\\begin{matrix}\2\\end{matrix}", _ALIGNED.sub(r"\\begin{aligned}\2\\end{aligned}", latex))
    found = _last_line(source, _formula_tokens)
    return found and _OPERATOR.sub(lambda hit: "\\" + hit[1].replace(" ", ""), found).replace(
        r"\\ \end{array}", r"\end{array}"
    )


def _last_line(source: str, tokens: Callable[[str], str]) -> str | None:
    """What ``tokens`` makes of the source's last line; None where that is nothing, or it gives up."""
    lines = _LINES.split(source)
    line = lines[-1] or lines[-2] if len(lines) > 1 else source
    try:
        return " ".join(tokens(line).split()) or None
    except (LatexError, RecursionError):
        return None


def _formula_tokens(line: str) -> str:
    line = _prepared(line.removeprefix("%").split("%")[0])
    for _ in range(_REPEATS):
        before = line
        for pattern in _UPRIGHT:
            line = pattern.sub(lambda _: r"\mathrm{", line, count=1)
        if line == before:
            break
    found = printed(LatexParser(line).parse()).replace(" S S S S S S", "$", _REPEATS)
    return _PRINTED_LABEL.sub("", found, count=1)


def _table_source(latex: str) -> str:
    source = latex.replace(r"\\%", r"\\ %").replace(r"\%", "<PERCENTAGE_TOKEN>").split("%")[0]
    source = source.replace("<PERCENTAGE_TOKEN>", r"\%")
    source += "" if r"\end{tabular}" in source else r"\end{tabular}"
    return _SKIP.sub(r"hspace{\1\2}", source.replace("\r", " ").replace("\n", " "))


def _table_tokens(line: str) -> str:
    parser = LatexParser(_prepared(line.removeprefix("%"), dollars=False))
    parser.parse()
    return _PRINTED_LABEL.sub("", " ".join(parser.pieces), count=1)


def _prepared(line: str, *, dollars: bool = True) -> str:
    r"""A line as the parser gets it: without ``\~ \> $ \label{..}``, and with one kind of line break only in arrays."""
    line = line.replace(r"\~", " ")
    for _ in range(_REPEATS):
        before = line
        line = line.replace(r"\>", " ", 1)
        if dollars:
            line = line.replace("$", " ", 1)
        line = _LABEL.sub("", line, count=1)
        if line == before:
            break
    if not any(word in line for word in ("matrix", "cases", "array", "begin")):
        line = line.replace(r"\\", r"\,", _REPEATS)
    return line + " "
