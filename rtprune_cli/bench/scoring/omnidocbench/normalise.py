"""Owns what text and formulas are reduced to before they are compared (utils/data_preprocess.py)."""

from __future__ import annotations

import logging
import re
from functools import lru_cache

from rtprune_cli.bench.scoring.omnidocbench.spans import delimited, without_in_lines

_INLINE = (("$", "$"), (r"\(", r"\)"))
_ESCAPED = re.compile(r"\\[\\_&%^]")
_NO_TEXT = re.compile(r"[^\w\u4e00-\u9fff]")
# Deleted one after the other wherever they stand, even within a longer name: \leftarrow becomes "arrow".
NO_FORMULA = (
    *("\\" + name for name in (
        "mathbf", "mathrm", "mathnormal", "mathit", "mathbb", "mathcal", "mathscr", "mathfrak", "mathsf", "mathtt",
        "textbf", "text", "boldmath", "boldsymbol", "operatorname", "bm", "symbfit", "mathbfcal", "symbf",
        "scriptscriptstyle", "notag", "setlength", "coloneqq", "space", "thickspace", "thinspace", "medspace",
        "nobreakspace", "negmedspace", "quad", "qquad", "enspace", "substackw",
    )),
    " ", "$$", r"\left", r"\right", r"\displaystyle", r"\text",
)  # fmt: skip


def text(source: str) -> str:
    """Word characters only: inline LaTeX as Unicode, then no blanks, punctuation or marks; case stays."""
    return words(inline_as_unicode(source))


def words(source: str) -> str:
    """``source`` less everything that is no word character, and less the escapes of tab and newline."""
    for escape in (r"\t", r"\n", "\t", "\n", "/t", "/n"):
        source = source.replace(escape, "")
    return _NO_TEXT.sub("", source)


def inline_as_unicode(source: str) -> str:
    """``source`` with its inline formulas, where they hold markup, as a reader would write them."""
    return "\n".join(_line_as_unicode(line) for line in source.split("\n"))


def _line_as_unicode(line: str) -> str:
    parts, at = [], 0
    for span in delimited(line, _INLINE):
        width = len(span.opening)
        inside = _ESCAPED.sub("", line[span.start + width : span.end - width])
        if not any(mark in inside for mark in r"\^_"):
            continue
        unicode = latex_to_text(inside + " " if inside.endswith("\\") else inside)
        if unicode is not None:
            parts += [line[at : span.start], unicode.strip()]
            at = span.end
    return "".join([*parts, line[at:]])


@lru_cache(maxsize=1024)  # formulas repeat on a page, and a model in a loop repeats one for ever
def latex_to_text(source: str) -> str | None:
    """Unicode text of LaTeX, or None where the parser gives up. Reads no file, whatever ``source`` says."""
    from pylatexenc.latex2text import LatexNodes2Text

    logging.getLogger("pylatexenc").setLevel(logging.CRITICAL)  # it reports a model's broken LaTeX as its own fault
    try:
        return str(LatexNodes2Text().latex_to_text(source))
    except Exception:  # hostile LaTeX: whatever it raises means "leave it as it is", RecursionError included
        return None


def formula(source: str) -> str:
    """LaTeX without its delimiters, fonts, spaces and environments, in lower case."""
    latex = source.strip().strip("$").strip("\n")
    inside = _bracketed(latex)
    latex = latex if inside is None else inside.strip()
    for opening in (r"\tag{", r"\hspace{", r"\begin{", r"\end{", r"\arraycolsep"):
        latex = without_in_lines(latex, opening, "}")
    latex = latex.strip(".")
    for name in NO_FORMULA:
        latex = latex.replace(name, "")
    return latex.lower()


def _bracketed(latex: str) -> str | None:
    r"""What stands between the first ``\[`` and an unescaped ``\]`` of one line, at least one character."""
    for line in latex.split("\n"):
        start = line.find(r"\[")
        close = line.find(r"\]", start + 3)
        while start >= 0 and close >= 0:
            if line[close - 1] != "\\":
                return line[start + 2 : close]
            close = line.find(r"\]", close + 1)
    return None
