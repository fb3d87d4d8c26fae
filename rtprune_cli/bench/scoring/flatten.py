"""Owns markdown -> the text a person reads on the page. The markdown is hostile: every scan is linear in its length."""

from __future__ import annotations

import html
import re
from collections.abc import Callable

# Every repeat below is bounded or runs over characters that cannot start the match: no text makes a scan quadratic.
_INLINE = frozenset((
    "a", "abbr", "b", "big", "cite", "code", "del", "em", "font", "i", "img", "ins", "kbd", "mark", "q", "s", "small",
    "span", "strike", "strong", "sub", "sup", "tt", "u", "var",
))  # fmt: skip
_CELLS = frozenset(("td", "th"))
_BLOCKS = frozenset((
    "blockquote", "body", "br", "caption", "center", "col", "colgroup", "dd", "details", "div", "dl", "dt",
    "figcaption", "figure", "footer", "h1", "h2", "h3", "h4", "h5", "h6", "head", "header", "hr", "html", "li", "main",
    "nav", "ol", "p", "pre", "section", "style", "summary", "table", "tbody", "tfoot", "thead", "title", "tr", "ul",
))  # fmt: skip
_TAG = re.compile(r"</?([a-zA-Z][a-zA-Z0-9]{0,15})\b[^<>]*>")
_AUTOLINK = re.compile(r"<((?:https?://|mailto:)[^<>\s]*)>")
_LINK = re.compile(r"!?\[([^\[\]]*)\]\([^()\n]*(?:\([^()\n]*\)[^()\n]*)?\)")
_FOOTNOTE = re.compile(r"\[\^([^\[\]\s]{1,20})\]:?")
_CODE = re.compile(r"(`{1,3})([^`\n]+)\1(?!`)")
_STARS = re.compile(r"(\*{1,3})(?=[^\s*])([^*\n]*)(?<=\S)\1(?!\*)")
_UNDERSCORES = re.compile(r"(?<!\w)(_{1,3})(?=[^\s_])([^_\n]*)(?<=\S)\1(?!\w)")
_STRIKE = re.compile(r"~~(?=[^\s~])([^~\n]*)(?<=\S)~~")
_ESCAPE = re.compile(r"\\([!-/:-@\[-`{-~])")
_HELD = re.compile(r"\x00(\d+)\x00")
_LONG_REFERENCE = re.compile(r"&#[xX]?[0-9a-fA-F]{9,};?")

_FENCE = re.compile(r" {0,3}(?:`{3,}(?=[^`]*$)|~{3,})[ \t]*(\S{0,40})")
_MARKUP = frozenset(("markdown", "md", "html"))  # a fence around the whole page, whose content is no code
_HEADING = re.compile(r"[ \t]*#{1,6}(?:[ \t]+|$)")
_QUOTE = re.compile(r"(?:[ \t]{0,9}>){1,9}[ \t]?")
_BULLET = re.compile(r"[ \t]*[-*+](?:[ \t]+|$)")
_RULE = re.compile(r"[ \t]*(?:(?:-[ \t]?){3,}|(?:\*[ \t]?){3,}|(?:_[ \t]?){3,}|={3,})[ \t]*$")

_OPENING = re.compile(r"\\[\\$(\[]|\$\$?")
_CLOSING = {r"\(": r"\)", r"\[": r"\]", "$$": "$$"}
_LATEX = re.compile(r"[\\^_{]")
_DOLLAR_OR_BREAK = re.compile(r"(?<!\\)\$|\n[ \t]*\n")


def plain(markdown: str, *, keep_dollars: bool = False) -> str:
    """The text of a page without the marks of markdown and HTML.

    Gone: HTML comments (page markers too), heading, emphasis, quote and bullet marks (the numbers of a list stay: they
    are printed), rules, code fences and backticks, tags. Links and images become their text; a row of a table becomes a
    line, a space between its cells; entities and backslash escapes become their characters. LaTeX stays LaTeX, without
    its delimiters; with ``keep_dollars``, in ``$`` or ``$$`` whichever delimiters it had. Never raises on any text.
    """
    held: list[str] = []

    def hold(text: str) -> str:
        """A placeholder that none of the rules touches."""
        held.append(text)
        return f"\x00{len(held) - 1}\x00"

    text = markdown.replace("\x00", "").replace("\r\n", "\n").replace("\r", "\n")
    text = _hold_math(without_comments(text), hold, keep_dollars)
    text = _ESCAPE.sub(lambda found: hold(found[1]), text)
    text = _without_line_marks(text.split("\n"))
    for _ in range(2):  # an image in a link
        text = _LINK.sub(r"\1", text)
    text = _FOOTNOTE.sub(r"\1", text)
    text = _CODE.sub(r"\2", _AUTOLINK.sub(r"\1", text))
    text = _TAG.sub(_untagged, text)
    for _ in range(3):  # italic in bold in struck out
        text = _STRIKE.sub(r"\1", _UNDERSCORES.sub(r"\2", _STARS.sub(r"\2", text)))
    text = html.unescape(_LONG_REFERENCE.sub("\ufffd", text))  # a number of thousands of digits raises
    text = _HELD.sub(lambda found: held[int(found[1])], text)
    text = "\n".join(" ".join(line.split()) for line in text.split("\n"))
    return re.sub(r"\n{3,}", "\n\n", text).strip()


def without_comments(text: str) -> str:
    """``text`` less its HTML comments; one that does not end stays."""
    parts, end = [], 0
    while (start := text.find("<!--", end)) >= 0 and (close := text.find("-->", start + 4)) >= 0:
        parts.append(text[end:start])
        end = close + 3
    return "".join([*parts, text[end:]])


def _hold_math(text: str, hold: Callable[[str], str], keep_dollars: bool) -> str:
    """LaTeX out of the way of the other rules, whose marks it is full of."""
    parts: list[str] = []
    end = position = 0
    unclosed: set[str] = set()  # delimiters that nothing after here closes: looking again would be quadratic
    while opening := _OPENING.search(text, position):
        mark, inside = opening[0], opening.end()
        position = inside
        if mark in _CLOSING and mark not in unclosed:
            close = text.find(_CLOSING[mark], inside)
            if close < 0:
                unclosed.add(mark)
                continue
            dollars = "$" if mark == r"\(" else "$$"
            after = close + 2
        elif mark == "$":
            close = _closing_dollar(text, inside)
            if close < 0:  # a price
                continue
            dollars, after = "$", close + 1
        else:  # an escape, that is handled with the others
            continue
        dollars = dollars if keep_dollars else ""
        parts += [text[end : opening.start()], hold(f"{dollars}{text[inside:close]}{dollars}")]
        end = position = after
    return "".join([*parts, text[end:]])


def _closing_dollar(text: str, inside: int) -> int:
    """Where the formula that a lone dollar opens ends; -1 where it is a price.

    As in Pandoc a formula has no space inside its marks, no digit after them and no blank line. Many models do put
    spaces there, on both sides: they are believed where LaTeX is between. A formula ends at the next dollar, else two
    prices and a formula would be one.
    """
    found = _DOLLAR_OR_BREAK.search(text, inside)
    if found is None or found[0] != "$":
        return -1
    formula, after = text[inside : found.start()], text[found.end() : found.end() + 1]
    if formula[:1].isspace() and formula[-1:].isspace():
        return found.start() if _LATEX.search(formula) else -1
    is_price = not formula or formula[0].isspace() or formula[-1].isspace() or after.isdigit() or after == "$"
    return -1 if is_price else found.start()


def _without_line_marks(lines: list[str]) -> str:
    """Without what stands at the start of lines; rows of pipe tables become their cells."""
    kept: list[str] = []
    fences: list[bool] = []  # of the open ones: does it hold code?
    code = 0  # how many do
    for line, in_table in zip(lines, _in_tables(lines), strict=True):
        if fence := _FENCE.match(line):
            if fences and not fence[1]:
                code -= fences.pop()
            else:
                fences.append(fence[1].lower() not in _MARKUP)
                code += fences[-1]
        elif code:
            kept.append(line)
        elif in_table:
            if not _is_separator(line):
                kept.append(" ".join(line.split("|")))
        elif not _RULE.match(line):
            kept.append(_without_marks(line))
    return "\n".join(kept)


def _without_marks(line: str) -> str:
    line = _QUOTE.sub("", line, count=1) if line.lstrip().startswith(">") else line
    if heading := _HEADING.match(line):
        text = line[heading.end() :].rstrip()
        closed = text.rstrip("#")
        return closed if not closed or closed[-1].isspace() else text
    return _BULLET.sub("", line, count=1) if _BULLET.match(line) else line


def _in_tables(lines: list[str]) -> list[bool]:
    """Which lines are rows of pipe tables: between bars, or in a block of lines with bars that has a separator."""
    within = [False] * len(lines)
    start = 0
    while start < len(lines):
        end = start
        while end < len(lines) and "|" in lines[end]:
            end += 1
        has_separator = any(_is_separator(line) for line in lines[start:end])
        for number in range(start, end):
            row = lines[number].strip()
            within[number] = has_separator or (len(row) > 1 and row.startswith("|") and row.endswith("|"))
        start = end + 1
    return within


def _is_separator(line: str) -> bool:
    row = line.strip()
    return "-" in row and "|" in row and not row.strip("|-: ")


def _untagged(tag: re.Match[str]) -> str:
    name = tag[1].lower()
    if name in _INLINE:
        return ""
    if name in _CELLS:
        return " "
    return "\n" if name in _BLOCKS else tag[0]  # 'x <y and z> w' is no tag
