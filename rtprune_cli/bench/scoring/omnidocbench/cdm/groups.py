"""Owns which commands take groups, and where a group ends, in a list of tokens."""

from __future__ import annotations

from collections.abc import Sequence

from rtprune_cli.bench.scoring.omnidocbench.cdm.commands import named
from rtprune_cli.bench.scoring.omnidocbench.cdm.lexer import LatexError

BRACES, BRACKETS, ROUND = ("{", "}"), ("[", "]"), ("(", ")")


# Drawn, with what stands in their groups: those of two, those of one, and those with an optional one in brackets.
FRACTIONS = frozenset(named("frac binom"))
ACCENTS = frozenset(
    named(
        "widetilde overline hat widehat tilde Tilde dot bar vec underline underbrace check breve Bar Vec mathring ddot"
    )
)
ROOTS = frozenset(named("xrightarrow xleftarrow sqrt"))
# Not drawn themselves, only what stands in their groups.
STACKS = frozenset(named("overset underset stackrel"))
FONTS = frozenset(
    named(
        "boldsymbol pmb textbf mathrm mathbf mathbb mathcal textmd texttt textnormal text textit textup mathop mathbin "
        "smash operatorname textrm mathfrak emph textsf textsc"
    )
)


def closing(tokens: Sequence[str], start: int, pair: tuple[str, str] = BRACES) -> int:
    """The place of the token that ends the first group from ``start`` on.

    Raises:
        LatexError: no group begins there, or none ends.
    """
    depth = 0
    for place in range(start, len(tokens)):
        if tokens[place] == pair[0]:
            depth += 1
        elif tokens[place] == pair[1]:
            depth -= 1
            if depth == 0:
                return place
    raise LatexError(f"{pair[0]} and {pair[1]} do not match")
