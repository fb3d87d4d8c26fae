r"""Owns which strings of a pair are compared: raw forms without their outer ``$``; ``\[ \]`` stay."""

from __future__ import annotations

from collections.abc import Sequence


def joined(lines: Sequence[str]) -> str:
    r"""Lines that were matched together as one formula, each a row of it; a single one as it is."""
    if len(lines) == 1:
        return lines[0]
    rows = r" \\ ".join("{" + line.strip("$").strip("\n") + "}" for line in lines)
    return rf"\begin{{array}}{{l}} {rows} \end{{array}}"


def bare_truth(latex: str) -> str:
    """The truth as it is drawn."""
    return latex.strip("$").strip().strip("$").strip()


def bare_prediction(latex: str) -> str:
    """The prediction as it is drawn: of several fenced pieces the last."""
    return bare_truth(latex.split("```latex")[-1].split("```")[0])
