"""HTML tables of a page: apart from the text around them, closed where they were cut, and as pipe tables."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

_TABLE_EDGE = re.compile(r"(<table\b[^<>]*>|</table\s{0,9}>)", re.IGNORECASE)
_TAG = re.compile(r"<(/?)([a-zA-Z][a-zA-Z0-9]{0,15})([^<>]*)>")
_CUT_TAG = re.compile(r"<(?:/([a-zA-Z]{0,16})|([a-zA-Z]{1,16})(?:\s[^<>]{0,300})?)\Z")
_ATTRIBUTES = re.compile(
    r"""(?:\s{1,9}[a-zA-Z-]{1,32}\s?=\s?(?:"[^"]{0,300}"|'[^']{0,300}'|[^\s"'=]{1,99}))*\s{0,9}/?"""
)
_CELL = re.compile(r"(<t[dh]\b[^<>]{0,300}>)([^<]*(?:<(?!/?t[dh]\b)[^<]*)*)")
_BREAK = re.compile(r"<br\s{0,9}/?>", re.IGNORECASE)
_TAG_START = re.compile(r"<(?=[a-zA-Z/!?｜]|\|/?\w)")
_KEPT_BREAK = "\x01"  # no text has it (regions.clean)
_SPAN = re.compile(r"\b(?:row|col)span\b(?!\s?=\s?[\"']?1\b)", re.IGNORECASE)
_CELLS = frozenset(("td", "th"))
_GROUPS = frozenset(("thead", "tbody"))
_INLINE = frozenset(["b", "i", "em", "strong", "sub", "sup", "u", "s"])
_MAX_INLINE_DEPTH = 8
# What the model may write as HTML; all else that looks like a tag is text of the page.
WRITTEN = _CELLS | _GROUPS | _INLINE | {"table", "tfoot", "tr", "caption", "br", "p", "ul", "ol", "li"}


def apart(text: str) -> Iterator[tuple[str, bool]]:
    """The outermost tables of a text and what is around them, each with whether it is a table; closed if it was cut."""
    parts: list[str] = []
    depth = 0
    for number, part in enumerate(_TABLE_EDGE.split(text)):
        opening = number % 2 == 1 and part[1] != "/"
        closing = number % 2 == 1 and part[1] == "/"
        if opening and not depth:
            yield "".join(parts), False
            parts = []
        parts.append(part)
        depth += opening
        if closing and depth:
            depth -= 1
            if not depth:
                yield "".join(parts), True
                parts = []
    rest = "".join(parts)
    yield (_closed(rest) if depth else rest), depth > 0


def _closed(table: str) -> str:
    """A table that ends in the middle, whole: what follows on other pages would end up in its last cell."""
    table = _CUT_TAG.sub(lambda cut: "" if _begins_tag(cut[1] or cut[2] or "") else cut[0], table)
    stack: list[str] = []
    for tag in _TAG.finditer(table):
        name = tag[2].lower()
        if name not in WRITTEN or name == "br" or tag[3].endswith("/"):
            continue
        if not tag[1]:
            stack.append(name)
        elif name in stack:
            while stack.pop() != name:
                pass
    return table + "".join(f"</{name}>" for name in reversed(stack))


def _begins_tag(name: str) -> bool:
    return any(each.startswith(name.lower()) for each in WRITTEN)


def with_letters(text: str) -> str:
    """What looks like a tag and is none that the model writes shows its letters: markdown would hide it."""
    parts, end = [], 0
    for found in _TAG_START.finditer(text):
        tag = _TAG.match(text, found.start())
        if tag is None or tag[2].lower() not in WRITTEN or not _ATTRIBUTES.fullmatch(tag[3]):
            parts += [text[end : found.start()], "&lt;"]
            end = found.end()
    return "".join([*parts, text[end:]])


def pipe_table(table: str, cell: Callable[[str], str] = str) -> str | None:
    """A pipe table, or None where it would lose something: spans, nesting, uneven rows, other markup.

    ``cell`` is done to the text of each cell.
    """
    inner = _CELL.sub(lambda found: found[1] + cell(found[2]), _TABLE_EDGE.sub("", table))
    if len(_TABLE_EDGE.findall(table)) != 2:
        return None
    rows = _simple_rows(inner)
    if not rows:
        return None
    from markdownify import markdownify

    # Entities must survive as entities (decoded, &lt;b&gt; would turn into markup); markdownify escapes no pipes.
    inner = _BREAK.sub(_KEPT_BREAK, inner).replace("&", "&amp;").replace("|", "\\|")
    lines = str(
        markdownify(
            f"<table>{inner}</table>",
            table_infer_header=True,
            escape_asterisks=False,
            escape_underscores=False,
            sub_symbol="<sub>",
            sup_symbol="<sup>",
        )
    ).strip().splitlines()  # fmt: skip
    whole = len(lines) == rows + 1 and all(line.startswith("|") and line.endswith("|") for line in lines)
    return "\n".join(lines).replace(_KEPT_BREAK, "<br>") if whole else None


def _simple_rows(inner: str) -> int:
    """How many rows, or 0 unless they are well formed and equally long, with nothing but inline markup in cells."""
    if "\\|" in inner or re.search(r"<[a-zA-Z/!?]", _TAG.sub("", inner)):
        return 0
    rows: list[int] = []
    stack: list[str] = []  # open elements, outermost first
    end = 0
    for match in _TAG.finditer(inner):
        name, between = match[2].lower(), inner[end : match.start()]
        in_cell = any(element in _CELLS for element in stack)
        if (between.strip() and not in_cell) or _SPAN.search(match[3]):
            return 0
        end = match.end()
        if name == "br" and in_cell:
            continue
        if match[1]:
            if not stack or stack.pop() != name:
                return 0
        elif match[3].endswith("/") or not _may_open(name, stack, in_cell):
            return 0
        else:
            stack.append(name)
            if name == "tr":
                rows.append(0)
            elif name in _CELLS:
                rows[-1] += 1
    whole = not stack and not inner[end:].strip() and len(set(rows)) == 1 and rows[0] > 0
    return len(rows) if whole else 0


def _may_open(name: str, stack: list[str], in_cell: bool) -> bool:
    if in_cell:
        return name in _INLINE and len(stack) < _MAX_INLINE_DEPTH
    parent = stack[-1] if stack else None
    if name in _CELLS:
        return parent == "tr"
    if name == "tr":
        return parent is None or parent in _GROUPS
    return name in _GROUPS and parent is None
