r"""Formulas: between ``\(`` and ``\)``, ``\[`` and ``\]`` as the model writes them, or between dollars as readers of
markdown render them (GitHub, VS Code, Obsidian)."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator

from rtprune_cli.markdown.regions import LIKE_A_TAG

Change = Callable[[str], str]

# Code first: what stands in it is no formula. Bounded or ended by what cannot be within, so that scans stay linear.
_SPANS = re.compile(
    r"(?P<fence>^(?P<marks>```|~~~)[^\n]*\n(?:(?!(?P=marks))[^\n]*\n)*(?:(?P=marks)[^\n]*|\Z))"
    r"|(?P<code>(?<!`)(?P<ticks>`{1,3})(?!`)[^`\n]{1,2000}(?P=ticks)(?!`))"
    r"|(?<!\\)\\\((?P<inline>(?:[^\\]|\\[^()]){0,4000})\\\)"
    r"|(?<!\\)\\\[(?P<display>(?:[^\\]|\\[^\[\]]){0,9000})\\\]"
    r"|\$\$(?P<double>[^$]{1,9000})\$\$"
    r"|(?<![\\$\w])\$(?P<single>(?=[^\s$])[^$`\n]{0,300}[^\s$`\\]|[^\s$`\\])\$(?![\d$])",
    re.M,
)
_LOOKS_LIKE_A_FORMULA = re.compile(r"[\\^_={}]|\A[a-zA-Z](?:'|\([a-zA-Z]\))?\Z")
# \quad (18), \qquad \text{(A.3)}: the number of an equation at its end
_NUMBERED = re.compile(
    r"(?:\\q?quad|\\hfill|\\hspace\*?\{[^{}]{0,20}\})(?:\s|\\q?quad|\\hfill|~|\\[,;:!])*"
    r"(?:\\(?:text|mathrm|tag)\*?\{\s*)?\(\s*(?:\\(?:text|mathrm)\{)?"
    r"(?P<number>(?:[A-Z]\.?)?\d{1,4}(?:[.\-–:]\d{1,4}){0,3}[a-z]?'{0,2})\}?\s*\)\}?\s*\Z"
)
_NUMBER_BEHIND = re.compile(r"\s*\((?P<number>(?:[A-Z]\.?)?\d{1,4}(?:[.\-–]\d{1,4}){0,3}[a-z]?)\)\Z")
_MARKS = re.compile(r"\\[()\[\]]|\$|```")
_COMMAND = re.compile(r"\\[a-zA-Z]+")
LONGEST_NUMBER = 200  # characters, with the spaces before it
# Environments that number their own lines take no \tag behind them.
_OWN_LINES = re.compile(r"\\begin\{(?:align|gather|equation|multline|eqnarray|flalign|alignat)\*?\}|\\tag\b")
_LITERAL = re.compile(r"(?<!\\)\$")


def tagged_number(latex: str) -> str:
    r"""A displayed formula whose number at the end, ``\quad (18)``, is the ``\tag{18}`` that renderers set right."""
    found = None if _OWN_LINES.search(latex) else _NUMBERED.search(latex, max(0, len(latex) - LONGEST_NUMBER))
    return latex if found is None else f"{latex[: found.start()].rstrip()} \\tag{{{found['number']}}}"


def single(text: str) -> str | None:
    """The LaTeX of a text that is one displayed formula and nothing else, its number as a tag; None for any other."""
    found = _SPANS.fullmatch(text.strip())
    if found is None or (found["display"] is None and found["double"] is None):
        return None
    return tagged_number((found["display"] or found["double"] or "").strip())


def displayed(text: str) -> str:
    """The text of a region that is said to be a formula, as a displayed one where it is no other yet: inline, without
    marks, or with its number behind them."""
    text = text.strip()
    if numbered := _NUMBER_BEHIND.search(text):
        inner = single(text[: numbered.start()])
        if inner is not None and not _OWN_LINES.search(inner):
            return f"\\[{inner} \\tag{{{numbered['number']}}}\\]"
    inline = _SPANS.fullmatch(text)
    if inline is not None and inline["inline"]:
        return f"\\[{inline['inline'].strip()}\\]"
    if not _MARKS.search(text) and _COMMAND.search(text):
        return f"\\[{text}\\]"
    return text


_Parts = Iterable[tuple[str, str, str]]


def _pieces(text: str) -> Iterator[tuple[str, str, str]]:
    """(kind, source, LaTeX) of the parts of a text: ``text``, ``code``, ``inline``, ``display``. The first two have no
    LaTeX."""
    end = 0
    for found in _SPANS.finditer(text):
        latex = found["inline"] or found["single"]
        shown = found["display"] or found["double"]
        if found["single"] is not None and not _LOOKS_LIKE_A_FORMULA.search(found["single"]):
            continue  # prices: the text between them goes with what is around it
        yield "text", text[end : found.start()], ""
        if latex is not None:
            yield "inline", found[0], latex
        elif shown is not None:
            yield "display", found[0], shown
        else:
            yield ("code" if found["fence"] or found["code"] else "inline"), found[0], ""  # \(\) is an empty formula
        end = found.end()
    yield "text", text[end:], ""


def outside(text: str, change: Change) -> str:
    """A text in which ``change`` is done to all that is neither formula nor code; formulas as they are."""
    return _whole(_pieces(text), change, lambda _, source, __: _no_tags(source))


def between_dollars(text: str, change: Change = str, *, in_cell: bool = False) -> str:
    """:func:`outside`, and formulas between dollars.

    A dollar sign that is none of a formula is escaped where another one could take it for its partner. ``in_cell``: of
    a pipe table, where a bar ends the cell and formulas take no line of their own.
    """
    pieces = list(_pieces(text))
    literal = sum(len(_LITERAL.findall(source)) for kind, source, _ in pieces if kind == "text")
    formulas = any(latex.strip() for _, _, latex in pieces)
    if literal > 1 or (literal and formulas):
        plain, change = change, lambda piece: _LITERAL.sub(r"\\$", plain(piece))
    return _whole(pieces, change, lambda kind, _, latex: _dollars(kind, latex, in_cell))


def _whole(pieces: _Parts, change: Change, formula: Callable[[str, str, str], str]) -> str:
    """The parts of a text together again: text changed, code as it is, and each formula as ``formula`` has it."""
    return "".join(
        change(source) if kind == "text" else source if kind == "code" else formula(kind, source, latex)
        for kind, source, latex in pieces
    )


def _dollars(kind: str, latex: str, in_cell: bool) -> str:
    latex = latex.replace("&lt;", "<").replace("&gt;", ">")  # as in text, where it would be a column and words
    latex = "\n".join(line.rstrip() for line in _no_tags(latex).strip().splitlines() if line.strip())
    if not latex:
        return ""
    if in_cell:
        latex = latex.replace("\\|", "\\Vert ").replace("|", "\\vert ")
    if kind == "inline" or in_cell:
        return f"${' '.join(latex.split())}$"
    latex = tagged_number(latex)
    return f"$$\n{latex}\n$$" if "\n" in latex else f"$${latex}$$"


def _no_tags(latex: str) -> str:
    """LaTeX in which a sign of less begins no tag; a space there is none to LaTeX."""
    return LIKE_A_TAG.sub("< ", latex)
