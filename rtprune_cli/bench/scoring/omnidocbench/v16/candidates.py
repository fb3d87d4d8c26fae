"""Owns formulas that a prediction wrote as text: how they are told, and the LaTeX they become (extract.py).

They may be matched to a display formula of the truth; so v1.6 forgives a formula that was not marked as one.
"""

from __future__ import annotations

import re

from rtprune_cli.bench.scoring.omnidocbench.spans import between, delimited
from rtprune_cli.bench.scoring.omnidocbench.v16.latex import DELIMITERS, as_text

_TOKENS = re.compile(
    r"\\frac|\\sqrt|\\sum|\\int|\\prod|\\times|\\div|\\square|\\cdots|\\left|\\right|\\approx|\\xrightarrow|"
    r"\\rightarrow|\\longrightarrow|[=<>≤≥≈÷×±∑∫√→^_□△…%/+\-]"
)
_CHINESE = re.compile(r"[\u4e00-\u9fff]")
_LONG_WORD = re.compile(r"[A-Za-z]{4,}")
_NO_PROSE = re.compile(r"\\[A-Za-z]+|[=<>≤≥÷×±∑∫√^_□△…%/()+\-]|\d|\s")
_FRACTION = re.compile(r"\d+\s*/\s*\d+")
_CELL_OPERATORS = ("=", "+", "-", "×", "÷", "/", "≈", r"\times", r"\div", r"\approx")
_ARROWS = (r"\xrightarrow", r"\longrightarrow")

_AS_LATEX = (
    ("……", r" \cdots \cdots "), ("…", r" \cdots "), ("×", r" \times "), ("÷", r" \div "), ("≤", r" \leq "),
    ("≥", r" \geq "), ("≠", r" \neq "), ("≈", r" \approx "), ("□", r" \square "), ("△", r" \triangle "),
    ("\uff08", "("), ("\uff09", ")"), ("\uff3b", "["), ("\uff3d", "]"), ("\uff5b", "{"), ("\uff5d", "}"),
)  # fmt: skip
_ARROW = re.compile(r"\\xrightarrow\s*\{([^{}]+)\}")
_REDOX = "氧化还原反应"  # written under the arrow, by a rule of the evaluator
_UNESCAPED = re.compile(r"(?<!\\)([%&])")

_STRONG = (
    *"=<>≤≥≈≠^+-/",
    *("\\" + name for name in (
        "cdot", "frac", "sqrt", "sum", "int", "times", "div", "approx", "neq", "leq", "geq", "xrightarrow",
        "longrightarrow",
    )),
)  # fmt: skip
_LABEL = re.compile(r"[A-Za-z0-9._,-]+|[A-Za-z][A-Za-z0-9_.,-]*|[A-Za-z0-9]+Oy|[ΓγλμνxyzuvwMNOabcABC0-9._,-]+")


def undelimited_within(text: str) -> str:
    """``text`` with every formula in it bare, a blank on either side."""
    for opening, closing in (*DELIMITERS[:2], DELIMITERS[2], DELIMITERS[3]):
        parts, at = [], 0
        for span in between(text, opening, closing):
            parts += [text[at : span.start], f" {text[span.start + len(opening) : span.end - len(closing)]} "]
            at = span.end
        text = "".join([*parts, text[at:]])
    return text


def is_formula_like(text: str) -> bool:
    """Whether a paragraph, a cell or the text of an image is rather a formula."""
    text = " ".join(text.split())
    if not text or len(text) > 220:
        return False
    bare = undelimited_within(text)
    length = len(re.sub(r"\s+", "", bare))
    if not length:
        return False
    operators, chinese, words = (len(each.findall(bare)) for each in (_TOKENS, _CHINESE, _LONG_WORD))
    if operators >= 1 and _has_formula(text) and len(_NO_PROSE.sub("", bare)) <= 18:
        return True
    if operators >= 1 and words <= 1 and length <= 80 and ("□" in bare or r"\square" in bare):
        return True
    if chinese <= 24 and length <= 120 and any(arrow in bare for arrow in (*_ARROWS, "→")):
        return True
    if operators >= 2 and words <= 2 and chinese <= 12 and length <= 100 and re.search(r"\d", bare):
        return True
    return operators >= 3 and words == 0 and chinese <= 18 and length <= 80


def _has_formula(text: str) -> bool:
    return next(delimited(text, (("$", "$"), (r"\(", r"\)"), (r"\[", r"\]"))), None) is not None


def is_cell_formula(text: str) -> bool:
    """Whether the text of a table's cell, blanks collapsed, counts as a formula."""
    if not text or len(text) > 120 or not is_formula_like(text):
        return False
    if not any(operator in text for operator in _CELL_OPERATORS):
        return False
    return len(re.findall(r"\d", text)) >= 2 or r"\frac" in text or _FRACTION.search(text) is not None


def as_latex(text: str) -> str:
    """What looked like a formula as LaTeX, or "" where nothing is left."""
    latex = undelimited_within(" ".join(text.replace("\u3000", " ").split()))
    for character, macro in _AS_LATEX:
        latex = latex.replace(character, macro)
    latex = _UNESCAPED.sub(r"\\\1", _with_arrow(latex))
    latex = " ".join(latex.split())
    if not latex or latex.startswith((r"\begin{", "$$", r"\[")):
        return latex
    return rf"\[ {latex} \]"


def _with_arrow(latex: str) -> str:
    r"""The label of the first ``\xrightarrow`` as text."""
    arrow = _ARROW.search(latex)
    if not arrow:
        return latex
    before, label, after = latex[: arrow.start()].strip(), arrow[1].strip(), latex[arrow.end() :].strip()
    if label and "\\" not in label:
        label = rf"\text{{{label}}}"
    if after.endswith(_REDOX):
        return rf"{before} \underset{{{_REDOX}}}{{\xrightarrow{{{label}}}}} {after[: -len(_REDOX)].strip()}".strip()
    return rf"{before} \xrightarrow{{{label}}} {after}".strip()


def has_arrow(latex: str) -> bool:
    """Whether it is a reaction, which is a display formula wherever it stands."""
    return any(arrow in latex for arrow in _ARROWS)


def is_label(inline: str) -> bool:
    """Whether an inline formula is a mere name or an arrow: such a one competes for nothing."""
    core = undelimited_within(inline.strip())
    compact = re.sub(r"\s+", "", core)
    if compact.startswith(_ARROWS):
        return True
    if not compact or len(compact) > 24 or any(mark in core for mark in _STRONG):
        return False
    return _LABEL.fullmatch(compact) is not None


def plain(latex: str) -> str:
    """A piece of LaTeX as text on one line."""
    latex = latex.strip()
    return " ".join(as_text(latex, latex).split())
