"""Owns what text, formulas and table cells are reduced to before v1.6 compares them (data_preprocess.py)."""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache

from rtprune_cli.bench.scoring.omnidocbench.normalise import NO_FORMULA, words
from rtprune_cli.bench.scoring.omnidocbench.spans import DelimitedSpan, delimited, without_in_lines
from rtprune_cli.bench.scoring.omnidocbench.v16.latex import as_text, uncircled, undelimited, untagged, without_phantoms

ROUNDS = 1_000  # in which braces are taken off, innermost first; no real formula needs ten

_INLINE = (("$", "$"), (r"\(", r"\)"))
_ESCAPED = re.compile(r"\\[\\_&%^]")
_LONGEST_INLINE = 128
# Inline formulas with one of these stay LaTeX.
_NOT_INLINE = (*("\\" + name for name in ("begin{", "end{", "array", "matrix", "tabular", "cases", "align", "\\")), "&")

_SPACING = re.compile(r"\\[!,;:]")
_COLUMN_MARK = re.compile(r"(?<!\\)&")
_COLUMNS = re.compile(r"\{[lcr| ]+\}")
_SIMPLE_GROUP = re.compile(r"\{([A-Za-z0-9.+\-]+)\}")
_OPENED, _CLOSED = re.compile(r"\{\{+"), re.compile(r"\}\}+")
_SHORT_GROUP = re.compile(r"\{([^{}]{1,160})\}")
_OPERATORS = ("=", "+", "-", "\\\\", "^", "_", "[", "]", "(", ")")
_SPACE = re.compile(r"\s+")

# In this order: what one replaces, the next does not see. \gama is a misspelling that the evaluator knows.
_CELL_LATEX = tuple(("\\" + name, character) for name, character in (
    ("checkmark", "√"), ("checked", "√"), ("surd", "√"), ("times", "×"), ("xmark", "×"), ("crossmark", "×"),
    ("pm", "±"), ("mp", "∓"), ("alpha", "α"), ("beta", "β"), ("gamma", "γ"), ("gama", "γ"), ("mu", "μ"),
    ("lambda", "λ"), ("theta", "θ"), ("eta", "η"), ("pi", "π"), ("rho", "ρ"), ("sigma", "σ"), ("omega", "ω"),
    ("delta", "δ"), ("Delta", "Δ"), ("epsilon", "ε"), ("varepsilon", "ε"), ("phi", "φ"), ("varphi", "φ"), ("tau", "τ"),
    ("partial", "∂"), ("varnothing", "∅"), ("emptyset", "∅"), ("sim", "\uff5e"),
))  # fmt: skip
_CELL_CHARACTERS = str.maketrans(
    dict.fromkeys("✓✔☑✅🗸", "√") | dict.fromkeys("✗✘✕✖☒❌╳⨯", "×") | {"Ø": "∅"} | dict.fromkeys("∼\u301c", "\uff5e")
)
_CELL_ESCAPES = ((r"\%", "%"), (r"\#", "#"), (r"\&", "&"), (r"\_", "_"))
_DASHES = ("-", "\u2013", "\u2212", "\uff0d", "\u2014")  # a cell that holds one alone holds an em dash
_CELL_DELIMITERS = (("$$", "$$"), (r"\[", r"\]"), (r"\(", r"\)"), ("$", "$"))


def text(source: str) -> str:
    """Word characters only: circles opened, inline LaTeX as Unicode, then no blanks, punctuation or marks."""
    return words(uncircled(inline_as_unicode(source)))


def inline_as_unicode(source: str) -> str:
    """``source`` with its inline formulas, where they hold markup and are short, as a reader would write them."""
    return "\n".join(_line_as_unicode(line) for line in uncircled(source).split("\n"))


def _line_as_unicode(line: str) -> str:
    parts, at = [], 0
    for span in delimited(line, _INLINE):
        inside = _ESCAPED.sub("", _inside(line, span))
        if not any(mark in inside for mark in r"\^_"):
            continue
        inside += " " if inside.endswith("\\") else ""
        if _stays_latex(inside.strip()):
            continue
        parts += [line[at : span.start], as_text(inside, inside).strip()]
        at = span.end
    return "".join([*parts, line[at:]])


def inline_as_formula(source: str) -> str:
    """``source`` with each of its inline formulas as :func:`formula` leaves it."""
    lines = []
    for line in source.split("\n"):
        parts, at = [], 0
        for span in delimited(line, _INLINE):
            parts += [line[at : span.start], formula(_inside(line, span))]
            at = span.end
        lines.append("".join([*parts, line[at:]]))
    return "\n".join(lines)


def _inside(line: str, span: DelimitedSpan) -> str:
    width = len(span.opening)
    return line[span.start + width : span.end - width]


def _stays_latex(formula: str) -> bool:
    if len(formula) > _LONGEST_INLINE or any(mark in formula for mark in _NOT_INLINE):
        return True
    return formula.count("{") != formula.count("}")


@lru_cache(maxsize=4096)  # each way to match formulas asks again
def formula(source: str) -> str:
    """LaTeX without delimiters, tags, fonts, spaces, environments and most braces, in lower case."""
    latex = untagged(undelimited(uncircled(source)))
    inside = _bracketed(latex)
    latex = without_phantoms(latex if inside is None else inside.strip())
    latex = _COLUMN_MARK.sub("", _SPACING.sub("", latex))
    for name, plain in ((r"\mid", "|"), (r"\vert", "|"), (r"\{", ""), (r"\}", ""), ("~", "")):
        latex = latex.replace(name, plain)
    for opening in (r"\hspace{", r"\begin{", r"\end{", r"\arraycolsep"):
        latex = without_in_lines(latex, opening, "}")
    latex = _COLUMNS.sub("", latex).strip(".")
    for name in NO_FORMULA:
        latex = latex.replace(name, "")
    return _SPACE.sub("", _without_braces(latex).lower())


def _bracketed(latex: str) -> str | None:
    r"""What stands in the first ``\[...\]`` or ``\(...\)`` of one line, at least one character."""
    for line in latex.split("\n"):
        found = [
            place for opening, closing in (("\\[", "\\]"), ("\\(", "\\)")) if (place := _first(line, opening, closing))
        ]
        if found:
            start, end = min(found)
            return line[start + 2 : end]
    return None


def _first(line: str, opening: str, closing: str) -> tuple[int, int] | None:
    start = line.find(opening)
    close = line.find(closing, start + 3)
    while start >= 0 and close >= 0:
        if line[close - 1] != "\\":
            return start, close
        close = line.find(closing, close + 1)
    return None


def _without_braces(latex: str) -> str:
    """Braces round simple or short groups go, doubled ones become one, until nothing changes."""
    for _ in range(ROUNDS):
        before = latex
        latex = _SIMPLE_GROUP.sub(r"\1", latex).replace("{}", "")
        latex = _CLOSED.sub("}", _OPENED.sub("{", latex))
        latex = _SHORT_GROUP.sub(lambda hit: hit[1] if any(mark in hit[1] for mark in _OPERATORS) else hit[0], latex)
        if latex == before:
            break
    return latex


def cell(source: str) -> str:
    """A string of a table cell: NFKC, ticks, crosses, dashes and Greek LaTeX unified, short formulas bare."""
    plain = unicodedata.normalize("NFKC", source).replace("\xa0", " ").replace("\u200b", "")
    plain = _with_symbols(_bare(_with_symbols(plain)))
    if plain.strip() in _DASHES:
        plain = "\u2014"
    return _SPACE.sub(" ", plain).strip()


def _with_symbols(source: str) -> str:
    for name, character in _CELL_LATEX:
        source = source.replace(name, character)
    source = source.translate(_CELL_CHARACTERS)
    for escape, character in _CELL_ESCAPES:
        source = source.replace(escape, character)
    return source


def _bare(source: str) -> str:
    """Without math delimiters round the whole, if it is short and no markup or dollar is inside."""
    source = source.strip()
    while source:
        inside = next(
            (
                within
                for opening, closing in _CELL_DELIMITERS
                if source.startswith(opening)
                and source.endswith(closing)
                and len(source) >= len(opening) + len(closing)
                and (within := source[len(opening) : len(source) - len(closing)].strip())
                and len(within) <= _LONGEST_INLINE
                and not any(mark in within for mark in "<>$")
            ),
            None,
        )
        if inside is None:
            break
        source = inside
    return source
