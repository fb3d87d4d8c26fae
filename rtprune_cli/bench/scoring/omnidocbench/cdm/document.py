"""Owns the TeX document of a formula: strings in, and out what XeLaTeX is given (latex2bbox_color.py).

What speaks for itself in it, and what does not: the page is A5 in landscape, larger for more tokens, and nothing breaks
lines, so what does not fit is not seen; mistakes in the LaTeX are passed over by TeX as it can.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rtprune_cli.bench.scoring.omnidocbench.cdm.colours import coloured
from rtprune_cli.bench.scoring.omnidocbench.cdm.lexer import LatexError
from rtprune_cli.bench.scoring.omnidocbench.cdm.rewriting import rewritten
from rtprune_cli.bench.scoring.omnidocbench.cdm.tokens import tokenised

_PAPERS = ((1300, 3), (600, 4))  # above so many tokens A3, A4
_PERCENT = "<PERCENTAGETOKEN>"
_PERCENT_PRINTED = "< P E R C E N T A G E T O K E N >"
_HEAD = r"""
\documentclass[12pt]{article}
\usepackage[landscape]{geometry}
\usepackage{geometry}
\geometry{a%dpaper,scale=0.98}
\pagestyle{empty}
\usepackage{amsmath}
\usepackage{upgreek}
\usepackage{amssymb}
\usepackage{xcolor}
"""
_CHINESE = r"""\usepackage{xeCJK}
\setCJKmainfont{%s}
\setCJKsansfont{%s}
\setCJKmonofont{%s}
\xeCJKsetup{CJKmath=true}
"""
_PLAIN = "\\usepackage{fontspec}\n"
_BODY = r"""\begin{document}
\makeatletter
\renewcommand*{\@textcolor}[3]{%%
  \protect\leavevmode
  \begingroup
    \color#1{#2}#3%%
  \endgroup
}
\makeatother
\begin{displaymath}
%s
\end{displaymath}
\end{document}
"""


@dataclass(frozen=True)
class FormulaDrawing:
    """One side of a pair, ready to be drawn: what stands between the document's head and its end, on which paper.

    ``parsed``: whether the tokeniser could read it. ``needs_font``: it holds characters beyond ASCII, for which the
    document loads xeCJK and a Chinese font. The others are drawn the same without, in nearly half the time; of what
    xeCJK loads fontspec alone matters to them, which takes other letters for upright and bold.
    """

    latex: str
    tokens: Sequence[str]
    paper: int
    parsed: bool

    @property
    def needs_font(self) -> bool:
        return not self.latex.isascii()

    def document(self, font: str | None) -> str:
        """The whole document; ``font`` is the name of the Chinese font, and None where none is needed."""
        return _HEAD % self.paper + (_CHINESE % (font, font, font) if font else _PLAIN) + _BODY % self.latex


def drawing(latex: str) -> FormulaDrawing | None:
    """How a formula is drawn, or None where that cannot be told: officially such a pair scores 0."""
    latex = latex.replace("\n", " ").replace(r"\%", _PERCENT)
    tokens = tokenised(latex) if latex else None
    try:
        found = coloured(rewritten((tokens or latex).replace(_PERCENT_PRINTED, r"\%")))
    except (LatexError, IndexError, RecursionError):
        return None
    paper = next((paper for above, paper in _PAPERS if len(found.tokens) > above), 5)
    return FormulaDrawing(found.latex, found.tokens, paper, tokens is not None)
