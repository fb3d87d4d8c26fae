"""Owns raw model text -> markdown and boxes. The text is hostile: it is scanned in linear time, never evaluated."""

from __future__ import annotations

import re
from collections.abc import Iterator

from rtprune_cli.outputs.layout import IMAGES, crop_name
from rtprune_cli.records import Box, Markdown

MAX_LABEL = 64
MOST_CROPS = 100  # of a page
NEAR = 3  # of the model's coordinates by which boxes of one picture may differ
_LEFT_OUT = "\x00"  # stands for the beginning of a comment of our own; the model's text has none
GRID = 999  # the model's coordinates run from 0 to 999

# Every repeat below is bounded or runs over characters that cannot start the match: no text makes a scan quadratic.
_SPECIAL = re.compile(r"<\|/?[\w▁]{1,40}\|>|<｜[\w▁]{1,40}｜>")
_HALF_SPECIAL = re.compile(r"<(?:\|/?[\w▁]{0,40}\|?|｜[\w▁]{0,40}｜?)\Z")
_NUMBER = r"\s{0,9}(-?\d{1,9})(?:\.\d{0,9})?\s{0,9}"
_COORDINATES = re.compile(rf"\[{_NUMBER},{_NUMBER},{_NUMBER},{_NUMBER}\]", re.ASCII)
_COORDINATE_TEXT = re.compile(r"[\s\[\]\d,.-]*", re.ASCII)
_TAG_START = re.compile(r"<(?=[a-zA-Z/!?|｜])")
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")

# Labels of the model's layout vocabulary: when a tag is torn, these words are tags and not text of the page.
_LABELS = frozenset((
    "text", "title", "sub_title", "image", "image_caption", "figure", "figure_title", "figure_caption", "table",
    "table_caption", "table_footnote", "equation", "formula", "header", "footer", "page_number", "list", "reference",
    "footnote", "caption", "abstract", "code", "other",
))  # fmt: skip


def to_markdown(raw: str, *, size: tuple[int, int], page: int, tables: str) -> Markdown:
    """Clean one page of model text.

    ``size`` is (width, height) of the page image, to which boxes are scaled and clamped. Boxes labelled ``image``
    become crops ``page-0001-1.png`` with a link each, boxes that nearly coincide one, and beyond MOST_CROPS a comment
    each; other tags go and the text after them stays; torn tags go, torn
    text stays. HTML comments in the text are made visible, so that page markers cannot be forged. With ``tables``
    ``markdown``, HTML tables that a pipe table can express are rewritten. Never raises on any text.
    """
    raw = raw.encode("utf-8", "replace").decode("utf-8")
    raw = _CONTROL.sub("", raw.replace("\r\n", "\n"))
    boxes: list[Box] = []
    crops = _Crops(page, size)
    parts: list[str] = []
    for text, label, coordinates in _regions(raw):
        parts.append(text)
        if label is None:
            continue
        valid = _scale(coordinates, size)
        boxes += [Box(label, box) for box in valid]
        if label.lower() == "image":
            parts.append("\n".join(map(crops.link, valid)))
    text = "".join(parts).replace("\\coloneqq", ":=").replace("\\eqqcolon", "=:")
    if tables == "markdown":
        text = _rewrite_tables(text)
    text = _without_special(text).replace("<!--", "&lt;!--")
    text = text.replace(_LEFT_OUT, "<!--")
    text = re.sub(r"\n{3,}", "\n\n", text).strip()
    return Markdown(text, boxes, crops.named, crops.left_out)


def plain_markdown(text: str) -> str:
    """Text of a PDF as markdown: what looks like a tag or a comment is shown as it is, so that page markers cannot be
    forged."""
    text = _CONTROL.sub("", text.encode("utf-8", "replace").decode("utf-8"))
    return _TAG_START.sub("&lt;", text).strip()


class _Crops:
    """The pictures of a page. A model in a loop names one hundreds of times, or hundreds by counting."""

    def __init__(self, page: int, size: tuple[int, int]) -> None:
        self.named: dict[str, tuple[int, int, int, int]] = {}
        self.left_out = 0
        self._page = page
        self._near = max(2, max(size) * NEAR // GRID)  # pixels

    def link(self, box: tuple[int, int, int, int]) -> str:
        """What stands in the text for a picture."""
        for name, other in self.named.items():
            if all(abs(a - b) <= self._near for a, b in zip(box, other, strict=True)):
                return f"![]({IMAGES}/{name})"
        if len(self.named) >= MOST_CROPS:
            self.left_out += 1
            return f"{_LEFT_OUT} picture not kept: {', '.join(map(str, box))} -->"
        name = crop_name(self._page, len(self.named) + 1)
        self.named[name] = box
        return f"![]({IMAGES}/{name})"


# --- Tags --------------------------------------------------------------------------------------------------------


def _regions(raw: str) -> Iterator[tuple[str, str | None, str]]:
    """(text, label, coordinates) in reading order: the text before a grounded region, then the region.

    Label None: no region follows the text.
    """
    texts, tags = _SPECIAL.split(raw), _SPECIAL.findall(raw)  # text, tag, text, tag, ..., text
    yield texts[0], None, ""
    index = 0
    while index < len(tags):
        after = texts[index + 1]
        if tags[index : index + 4] == ["<|ref|>", "<|/ref|>", "<|det|>", "<|/det|>"] and not texts[index + 2].strip():
            payload = texts[index + 3]
            yield "", " ".join(after.split())[:MAX_LABEL].strip(), payload
            yield _after_coordinates(payload) + texts[index + 4], None, ""
            index += 4
            continue
        if tags[index] == "<|ref|>":
            after = _unless_label(after)
        elif tags[index] == "<|det|>":
            after = _after_coordinates(after)
        yield after, None, ""
        index += 1


def _unless_label(text: str) -> str:
    """Torn ``<|ref|>``: what follows is a layout label, perhaps cut short by the token limit, or text of the page."""
    word = text.strip()
    return "" if len(word) <= MAX_LABEL and any(label.startswith(word) for label in _LABELS) else text


def _after_coordinates(payload: str) -> str:
    match = _COORDINATE_TEXT.match(payload)
    return payload[match.end() :] if match else payload


def _scale(payload: str, size: tuple[int, int]) -> list[tuple[int, int, int, int]]:
    """Boxes in page pixels: clamped, ordered, those without area dropped."""
    width, height = size
    boxes = []
    for found in _COORDINATES.findall(payload):
        left, top, right, bottom = (min(max(int(number), 0), GRID) for number in found)
        xs = sorted((left * width // GRID, right * width // GRID))
        ys = sorted((top * height // GRID, bottom * height // GRID))
        if xs[0] < xs[1] and ys[0] < ys[1]:
            boxes.append((xs[0], ys[0], xs[1], ys[1]))
    return boxes


def _without_special(text: str) -> str:
    """Drop special tokens, also those that appear when an inner one is cut out of an outer one."""
    for _ in range(3):
        text, hits = _SPECIAL.subn("", text)
        if not hits:
            break
    else:  # nested on purpose: stop cutting, break the openings
        text = text.replace("<|", "&lt;|").replace("<｜", "&lt;｜")
    return _HALF_SPECIAL.sub("", text)


# --- Tables ------------------------------------------------------------------------------------------------------

_TABLE_EDGE = re.compile(r"(<table\b[^<>]*>|</table\s{0,9}>)", re.IGNORECASE)
_TAG = re.compile(r"<(/?)([a-zA-Z][a-zA-Z0-9]{0,15})([^<>]*)>")
_SPAN = re.compile(r"\b(?:row|col)span\b(?!\s?=\s?[\"']?1\b)", re.IGNORECASE)
_CELLS = frozenset(("td", "th"))
_GROUPS = frozenset(("thead", "tbody"))
_INLINE = frozenset(["b", "i", "em", "strong", "sub", "sup", "u", "s"])
_MAX_INLINE_DEPTH = 8


def _rewrite_tables(text: str) -> str:
    """Outermost ``<table>``s that are simple become pipe tables; the rest stays as it is."""
    parts: list[str] = []
    table: list[str] = []
    depth = 0
    for number, part in enumerate(_TABLE_EDGE.split(text)):
        opening = number % 2 == 1 and part[1] != "/"
        closing = number % 2 == 1 and part[1] == "/"
        depth += opening
        (table if depth else parts).append(part)
        if closing and depth:
            depth -= 1
            if not depth:
                parts.append(_pipe_table("".join(table[1:-1])) or "".join(table))
                table = []
    return "".join(parts + table)


def _pipe_table(inner: str) -> str | None:
    """A pipe table, or None where it would lose something: spans, nesting, uneven rows, other markup."""
    rows = _simple_rows(inner)
    if not rows:
        return None
    from markdownify import markdownify

    # Entities must survive as entities (decoded, &lt;b&gt; would turn into markup); markdownify escapes no pipes.
    html = f"<table>{inner.replace('&', '&amp;').replace('|', chr(92) + '|')}</table>"
    table = markdownify(
        html,
        table_infer_header=True,
        escape_asterisks=False,
        escape_underscores=False,
        sub_symbol="<sub>",
        sup_symbol="<sup>",
    )
    lines = str(table).strip().splitlines()
    whole = len(lines) == rows + 1 and all(line.startswith("|") and line.endswith("|") for line in lines)
    return "\n\n" + "\n".join(lines) + "\n\n" if whole else None


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
