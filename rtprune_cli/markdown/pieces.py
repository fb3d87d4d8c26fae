"""Regions of a page -> its pieces in the order of the markdown: what each is, and which belong together."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from rtprune_cli.markdown import formulas, tables
from rtprune_cli.markdown.regions import GRID, Coordinates, Region
from rtprune_cli.outputs.layout import crop_name
from rtprune_cli.records.block import PICTURES, is_caption

MOST_CROPS = 100  # of a page
NEAR = 3  # of the model's coordinates by which boxes of one picture may differ

HEADINGS = {"title": 1, "sub_title": 2, "doc_title": 1, "paragraph_title": 2}
FORMULAS = frozenset(("equation", "formula"))
HEADING = re.compile(r"(#{1,6})[ \t]+(?=\S)")

_CENTER = re.compile(r"</?center\s{0,9}>", re.IGNORECASE)
_CENTERED = re.compile(r"\s{0,99}<center\s{0,9}>", re.IGNORECASE)

_Kind = Literal["text", "heading", "caption", "table", "formula", "picture"]


@dataclass
class Piece:
    """A block in the making: ``content`` as the model wrote it, ``box`` in page pixels, ``named`` where a label was
    given; ``number`` as of its region. ``again``: another place of what stands in the markdown once."""

    kind: _Kind
    label: str
    content: str
    box: Coordinates | None = None
    number: int = 0
    named: bool = True
    level: int | None = None
    crop: str | None = None
    again: bool = False


# --- What is there


def pieces_of(region: Region, places: list[Coordinates], crops: Crops) -> list[Piece]:
    """The pieces of a region, ``places`` its boxes in page pixels; a table whose HTML is not there is empty."""
    label = region.label or "text"
    around = _around(places)
    found: list[Piece] = []
    if label in PICTURES:
        found += [crops.take(label, box, region.number) for box in places]
        around = None
    others: list[Coordinates] = []
    if region.label is None and places:
        around, *others = places
    parts = [each for each in tables.apart(region.text) if _CENTER.sub("", each[0]).strip()]
    for part, is_table in parts:
        if is_table:
            own = around if label == "table" or len(parts) == 1 else None
            found.append(Piece("table", "table", part, own, region.number))
        else:
            found += _texts(region, label, part, around)
    if found:  # what was looked for may be there more than once
        found += [replace(found[0], box=box, again=True) for box in others]
    if label == "table" and not found:  # its table may stand in the next region, after the caption
        found.append(Piece("table", label, "", around, region.number))
    return found


def _texts(region: Region, label: str, text: str, box: Coordinates | None) -> Iterator[Piece]:
    """What is around tables."""
    content = _CENTER.sub("", text).strip()
    if not content:
        return
    if region.label is None:
        for paragraph in _paragraphs(text.strip()):
            yield from _free(paragraph, region.number, box)
    elif label in HEADINGS:
        yield from _headings(content, label, box, region.number)
    elif label in PICTURES:
        if _CENTERED.match(text):
            yield Piece("caption", "image_caption", content, None, region.number)
        else:
            yield Piece("text", "text", content, None, region.number)
    elif is_caption(label):
        yield Piece("caption", label, content, box, region.number)
    elif label in FORMULAS and formulas.single(shown := formulas.displayed(content)) is not None:
        yield Piece("formula", label, shown, box, region.number)
    else:
        yield Piece("text", label, content, box, region.number)


def _free(text: str, number: int, box: Coordinates | None = None) -> Iterator[Piece]:
    """A paragraph without a label, which is a heading by its marks alone."""
    content = _CENTER.sub("", text).strip()
    line, _, rest = content.partition("\n")
    if found := HEADING.match(line):
        level = len(found[1])
        yield Piece("heading", "title" if level == 1 else "sub_title", line, box, number, False, level)
        content = rest.strip()
    if content and formulas.single(content) is not None:
        yield Piece("formula", "equation", content, box, number, False)
    elif content:
        yield Piece("text", "caption" if _CENTERED.match(text) else "text", content, box, number, False)


def _headings(text: str, label: str, box: Coordinates | None, number: int) -> Iterator[Piece]:
    """A heading is one line of markdown; what follows it after a blank line is text."""
    first, _, rest = text.partition("\n\n")
    marks = HEADING.match(first)
    level = len(marks[1]) if marks else HEADINGS[label]
    lines = " ".join(line.strip() for line in first.splitlines())
    yield Piece("heading", label, lines, box, number, True, level)
    for paragraph in _paragraphs(rest.strip()):
        yield from _free(paragraph, number)


def _paragraphs(text: str) -> Iterator[str]:
    """Parts between blank lines; a fence or a displayed formula is not broken."""
    parts: list[str] = []
    fences = depth = 0
    for part in re.split(r"\n[ \t]*\n\s*", text):
        parts.append(part)
        fences += part.count("```")
        depth += part.count("\\[") - part.count("\\]")
        if fences % 2 == 0 and depth <= 0:
            yield "\n\n".join(parts)
            parts, depth = [], 0
    if parts:
        yield "\n\n".join(parts)


def _around(boxes: Sequence[Coordinates]) -> Coordinates | None:
    if not boxes:
        return None
    lefts, tops, rights, bottoms = zip(*boxes, strict=True)
    return min(lefts), min(tops), max(rights), max(bottoms)


class Crops:
    """The pictures of a page. A model in a loop names one hundreds of times, or hundreds by counting."""

    def __init__(self, page: int, size: tuple[int, int]) -> None:
        self.named: dict[str, Coordinates] = {}
        self.left_out = 0
        self._page = page
        self._near = max(2, max(size) * NEAR // GRID)  # pixels

    def take(self, label: str, box: Coordinates, number: int) -> Piece:
        """A picture; without a ``crop`` where there are too many."""
        return Piece("picture", label, "", box, number, crop=self._name(box))

    def _name(self, box: Coordinates) -> str | None:
        for name, other in self.named.items():
            if all(abs(a - b) <= self._near for a, b in zip(box, other, strict=True)):
                return name
        if len(self.named) >= MOST_CROPS:
            self.left_out += 1
            return None
        name = crop_name(self._page, len(self.named) + 1)
        self.named[name] = box
        return name


# --- What belongs together


def in_order(pieces: list[Piece]) -> list[Piece]:
    """The pieces of a page as the markdown has them."""
    return _captions_below(_with_their_tables(pieces))


def _with_their_tables(pieces: list[Piece]) -> list[Piece]:
    """Tables whose HTML came after their caption, in the caption's region, get it; those without any go."""
    waiting: Piece | None = None
    for piece in pieces:
        if piece.kind == "table" and not piece.content:
            waiting = piece
        elif piece.kind == "table" and waiting is not None and piece.box is None:
            waiting.content, piece.content, waiting = piece.content, "", None
        elif piece.kind != "caption":
            waiting = None
    return [piece for piece in pieces if piece.kind != "table" or piece.content]


def _captions_below(pieces: list[Piece]) -> list[Piece]:
    """Captions after their picture or table: the one before or after them, the nearer of both."""
    ordered: list[Piece] = []
    held: list[Piece] = []  # captions of what comes next
    for at, piece in enumerate(pieces):
        if piece.kind != "caption":
            ordered.append(piece)
            ordered += held
            held = []
            continue
        before = next((each for each in reversed(ordered) if each.kind != "caption"), None)
        after = next((each for each in pieces[at + 1 : at + 3] if each.kind != "caption"), None)
        (held if _belongs_below(piece, before, after) else ordered).append(piece)
    return ordered + held


def _belongs_below(caption: Piece, before: Piece | None, after: Piece | None) -> bool:
    """Whether a caption is that of what comes after it."""
    if not _takes(after, caption):
        return False
    if not _takes(before, caption):
        return True
    assert before is not None and after is not None
    if caption.box is None or before.box is None or after.box is None:
        return False
    return _distance(caption.box, after.box) < _distance(caption.box, before.box)


def _takes(piece: Piece | None, caption: Piece) -> bool:
    of_table, of_either = caption.label.startswith("table"), caption.label == "caption"
    return piece is not None and (
        (piece.kind == "table" and (of_table or of_either)) or (piece.kind == "picture" and not of_table)
    )


def _distance(one: Coordinates, other: Coordinates) -> int:
    """Pixels between two boxes, the larger of across and down."""
    return max(one[0] - other[2], other[0] - one[2], one[1] - other[3], other[1] - one[3], 0)
