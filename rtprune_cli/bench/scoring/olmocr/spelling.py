r"""One spelling for LaTeX that KaTeX draws in one way: what is equal here is equal for the official test.

Alike are: blanks in mathematics, braces around an argument of one token, the order of sub- and superscript, a prime and
``^\prime``, and two names of one symbol. Nothing else is, though it may look alike: fonts, spacing, ``\left``, and
braces that only group make other MathML or put symbols elsewhere, and the official test can tell. What is no plain
formula (macros, comments, a missing argument) is alike only to itself.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

MAX_DEPTH = 100  # of braces; what is nested deeper is compared as it is written

_TOKEN = re.compile(r"[ \t\r\n]+|\\(?:[a-zA-Z@]+|.|$)|'+|.[\u0300-\u036f]*", re.DOTALL)
_BLANKS = " \t\r\n"
# Comments, macros, commands with a length or a text without braces; letters that are scripts by themselves
_OTHER = re.compile(
    r"[%#$\u00aa\u00b2\u00b3\u00b9\u00ba\u02b0-\u02ff\u1d2c-\u1d6a\u2070-\u209f]|\\(?:[gex]?def|let|futurelet|global|"
    r"long|(?:re)?newcommand|providecommand|expandafter|noexpand|csname|char|verb|m?kern|[hm]skip)(?![a-zA-Z@])"
)
_NAMES = {
    r"\le": r"\leq", r"\ge": r"\geq", r"\ne": r"\neq", r"\to": r"\rightarrow", r"\gets": r"\leftarrow",
    r"\lbrace": r"\{", r"\rbrace": r"\}", r"\Vert": r"\|", r"\land": r"\wedge", r"\lor": r"\vee", r"\lnot": r"\neg",
}  # fmt: skip
_ONE = (
    "sqrt overline underline overbrace underbrace overrightarrow bar hat widehat tilde widetilde vec dot ddot check "
    "breve acute grave mathrm mathit mathbf mathsf mathtt mathbb mathcal mathfrak mathscr boldsymbol mathop boxed"
)
_TWO = "frac dfrac tfrac binom overset underset stackrel"
_ARGUMENTS = {f"\\{name}": number for number, names in ((1, _ONE), (2, _TWO)) for name in names.split()}
_GREEK = (
    "alpha beta gamma delta epsilon varepsilon zeta eta theta vartheta iota kappa lambda mu nu xi pi rho sigma tau "
    "upsilon phi varphi chi psi omega Gamma Delta Theta Lambda Xi Pi Sigma Upsilon Phi Psi Omega"
)
_SYMBOLS = {f"\\{name}" for name in [*_GREEK.split(), "prime", "infty", "ell", "hbar", "partial", "circ", "dagger"]}
_BARE = re.compile(r"[a-zA-Z0-9*+-]")  # characters that are the same argument with and without braces
# Take something in brackets, or have a star before a length or a text
_OPTIONAL = re.compile(r"\\(?:cr|rule|includegraphics|smash|[hv]space|tag|x[a-zA-Z]+)")


def canonical(latex: str) -> tuple[str, ...]:
    """Equal for formulas only if KaTeX makes the same MathML of them, or puts the same symbols in the same places."""
    if not _OTHER.search(latex):
        try:
            return tuple(_Reading(_TOKEN.findall(latex)).formula())
        except _NoPlainFormula:
            pass
    return "as written", latex


class _NoPlainFormula(Exception):
    pass


class _Part(NamedTuple):
    """Tokens of one spelling; ``end`` is the place behind them."""

    tokens: list[str]
    end: int


class _Reading:
    """Tokens read from left to right. Methods take a place and give what stands there."""

    def __init__(self, tokens: Sequence[str]) -> None:
        self._tokens = tokens
        self._depth = 0

    def formula(self) -> list[str]:
        row = self._row(0)
        if row.end < len(self._tokens):
            raise _NoPlainFormula
        return row.tokens

    def _at(self, place: int) -> str:
        """The token there; empty behind the last."""
        return self._tokens[place] if place < len(self._tokens) else ""

    def _past_blanks(self, place: int) -> int:
        return place + (self._at(place)[:1] in (*_BLANKS,))

    def _row(self, place: int) -> _Part:
        """Up to the end of the group."""
        found: list[str] = []
        while (token := self._at(place)) not in ("", "}"):
            if token[0] in _BLANKS:
                place += 1
                if self._at(place) in ("[", "*"):  # no option, no star of the command before the blanks
                    found.append("~blank~")
                continue
            base = _Part([], place) if token[0] in "_^'" else self._atom(place)
            scripts = self._scripts(base.end)
            found += base.tokens + scripts.tokens
            place = scripts.end
        return _Part(found, place)

    def _group(self, place: int) -> _Part:
        """In braces, with them."""
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise _NoPlainFormula
        row = self._row(place + 1)
        self._depth -= 1
        if self._at(row.end) != "}":
            raise _NoPlainFormula
        return _Part(["{", *row.tokens, "}"], row.end + 1)

    def _atom(self, place: int) -> _Part:
        """A group, a character, or a command with its arguments."""
        token = self._at(place)
        if token == "{":
            return self._group(place)
        found, place = [_NAMES.get(token, token)], place + 1
        if _OPTIONAL.fullmatch(token) and self._at(self._past_blanks(place)) in ("[", "*"):
            raise _NoPlainFormula
        if token in (r"\sqrt", "\\\\") and self._at(place) == "[":
            end = self._closing(place, "[", "]")
            found.append("".join(self._tokens[place:end]))
            place = end
        if token not in _ARGUMENTS:
            return self._verbatim(found, place) if token[1:2].isalpha() else _Part(found, place)
        for _ in range(_ARGUMENTS[token]):
            argument = self._argument(place)
            found += argument.tokens
            place = argument.end
        return _Part(found, place)

    def _verbatim(self, found: list[str], place: int) -> _Part:
        """Groups behind a command of which nothing is known here: they may be text, or names."""
        while self._at(start := self._past_blanks(place)) == "{":
            place = self._closing(start, "{", "}")
            found.append("".join(self._tokens[start:place]))
        return _Part(found, place)

    def _closing(self, place: int, opening: str, closing: str) -> int:
        """The place behind the mark that closes the one there."""
        depth = 0
        for at in range(place, len(self._tokens)):
            depth += (self._tokens[at] == opening) - (self._tokens[at] == closing)
            if depth == 0:
                return at + 1
        raise _NoPlainFormula

    def _argument(self, place: int) -> _Part:
        """A group, or a token that stands for one."""
        place = self._past_blanks(place)
        token = self._at(place)
        if token == "{":
            return self._group(place)
        if not _BARE.fullmatch(token) and token not in _SYMBOLS:
            raise _NoPlainFormula
        return _Part(["{", token, "}"], place + 1)

    def _scripts(self, place: int) -> _Part:
        """Those of one base: the lower one, then primes and the upper one."""
        lower: list[str] = []
        upper: list[str] = []
        while (mark := self._at(start := self._past_blanks(place)))[:1] in ("_", "^", "'"):
            if mark == "_" and not lower:
                part = self._argument(start + 1)
                lower = ["_", *part.tokens]
            elif mark == "^" and not upper:
                part = self._argument(start + 1)
                upper = ["^", *part.tokens]
            elif mark[0] == "'" and not upper:
                part = self._primes(start)
                upper = ["^", "{", *part.tokens, "}"]
            else:  # TeX takes no second one
                raise _NoPlainFormula
            place = part.end
        return _Part(lower + upper, place)

    def _primes(self, place: int) -> _Part:
        primes = _Part([r"\prime"] * len(self._at(place)), place + 1)
        if self._at(primes.end) != "^":  # a blank between would end the script
            return primes
        upper = self._argument(primes.end + 1)
        return _Part(primes.tokens + upper.tokens, upper.end)
