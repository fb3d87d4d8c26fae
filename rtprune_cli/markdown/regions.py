"""Raw text of a page -> its regions: a label, boxes, and the text that follows.

The model writes ``<|ref|>label<|/ref|><|det|>[[x1, y1, x2, y2]]<|/det|>`` and then the text of the region. Tags may be
torn by the token limit, boxes malformed, labels missing: tags go, text stays.
"""

from __future__ import annotations

import re
from collections.abc import Container, Iterator
from dataclasses import dataclass, replace

from rtprune_cli.records.block import PICTURES

GRID = 999  # the model's coordinates run from 0 to 999
MAX_LABEL = 64
REF, END_REF, DET, END_DET = TAGS = ("<|ref|>", "<|/ref|>", "<|det|>", "<|/det|>")

Coordinates = tuple[int, int, int, int]

# Labels of layout, as these models write them; those of Unlimited-OCR are the block types of MinerU's models
# (mineru_vl_utils/structs.py of github.com/opendatalab/mineru-vl-utils), as published outputs of it show. Any other
# text between <|ref|> and its end is text of the page, as the prompt "OCR this image." gives it.
LABELS = PICTURES | frozenset((
    "text", "title", "sub_title", "table", "equation", "formula", "header", "footer", "page_number", "list",
    "reference", "footnote", "caption", "abstract", "code", "algorithm", "phonetic", "unknown", "other",
))  # fmt: skip
# Of these, joined by underscores, are the others: image_caption, table_footnote, figure_title, paragraph_title.
_PARTS = LABELS | frozenset((
    "sub", "page", "number", "doc", "paragraph", "section", "item", "block", "body", "aside", "vertical", "content",
    "inline", "display", "isolate", "isolated", "head", "ref", "references", "equations", "seal",
))  # fmt: skip

# Every repeat below is bounded or runs over characters that cannot start the match: no text makes a scan quadratic.
_TAG = re.compile(r"<\|/?(?:ref|det)\|>")
_OTHER_SPECIAL = re.compile(r"<\|(?:grounding|User|Assistant|EOT)\|>|<｜[\w▁]{1,40}｜>")
_HALF_TAG = re.compile(r"<\|/?(?:r|re|ref|d|de|det)\|?\Z")
LIKE_A_TAG = re.compile(r"<(?=[a-zA-Z/!?|｜])")  # to HTML or to this module
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")
_GROUP = re.compile(r"\[([^\[\]]{0,200})\]")
_NUMBER = re.compile(r"(?<![\d.])-?\d{1,9}(?:\.\d{0,9})?(?!\d)", re.ASCII)
_TORN_BOX = re.compile(r"[ \t]*\[(?:[\d ,.:;，、：-]|\[|\](?!\]))*\]{0,2}", re.ASCII)
_LABELLED_BOX = re.compile(r"\s{0,9}([a-z][a-z_]{0,62})\s{0,9}(?=\[)")
# A server that was told to skip special tokens leaves lines of this form.
_BOX = r"\[\d{1,4}(?:, ?\d{1,4}){3}\]"
_BARE = re.compile(rf"^([a-z][a-z_]{{0,62}})(\[{_BOX}(?:, ?{_BOX}){{0,99}}\])[ \t]*$", re.M)
_PAGE_BREAK = re.compile(r"^<PAGE>[ \t]*$", re.M)


@dataclass(frozen=True)
class Region:
    """What the model wrote of one place of the page, or outside of any.

    ``label`` None: no word of layout was named. ``boxes`` are the model's coordinates, 0 to GRID, ordered, with an
    area. ``number`` counts the openings of regions before its text (:func:`opening_tag`).
    """

    label: str | None
    boxes: tuple[Coordinates, ...]
    text: str
    number: int = 0


def opening_tag(tags: Container[str | None]) -> str:
    """The tag that opens the regions of a text with these tags: ``<|det|>`` where it has no ``<|ref|>``, as
    Unlimited-OCR writes."""
    return REF if REF in tags else DET


def clean(raw: str) -> str:
    """Text that can be written: without halves of letters, control characters and carriage returns."""
    text = raw.encode("utf-8", "replace").decode("utf-8")
    return _CONTROL.sub("", text.replace("\r\n", "\n"))


def is_label(text: str) -> bool:
    """Whether a text between the tags is a word of layout."""
    return text in LABELS or ("_" in text and _PARTS.issuperset(text.split("_")))


def find_regions(raw: str, *, labels: bool = True) -> list[Region]:
    """The regions of a page in reading order. Never raises on any text; what stands outside of tags is in one of them.

    ``labels`` False: no word between tags is one of layout, all of them are text of the page.
    """
    raw = clean(raw)
    if not _TAG.search(raw):
        raw = _BARE.sub(lambda line: _tagged(line) if is_label(line[1]) else line[0], raw)
    elif REF not in raw:
        raw = _PAGE_BREAK.sub("", raw)
    found = [Region(None, (), "")]
    for part in _parts(_HALF_TAG.sub("", raw), labels):
        if isinstance(part, str):
            found[-1] = replace(found[-1], text=found[-1].text + part)
        else:
            found.append(part)
    return [replace(region, text=_OTHER_SPECIAL.sub("", region.text)) for region in found]


def _tagged(line: re.Match[str]) -> str:
    return f"{REF}{line[1]}{END_REF}{DET}{line[2]}{END_DET}"


def _parts(raw: str, labels: bool) -> Iterator[str | Region]:
    """Text that goes on, and regions that begin."""
    texts, tags = _TAG.split(raw), _TAG.findall(raw)  # text, tag, text, tag, ..., text
    opening = opening_tag(tags)
    yield texts[0]
    at = opened = 0
    while at < len(tags):
        opened += tags[at] == opening
        after = texts[at + 1]
        if tags[at : at + 2] == [REF, END_REF]:
            boxes: tuple[Coordinates, ...] = ()
            rest, used = texts[at + 2], 2
            placed = tags[at + 2 : at + 3] == [DET] and not rest.strip()
            if placed:
                boxes, rest, more = _placed(texts, tags, at + 2)
                used += more
            label = " ".join(after.split())
            if labels and is_label(label):
                yield Region(label, boxes, rest, opened)
            elif placed:  # text of the page, and where it stands
                yield Region(None, boxes, after + rest, opened)
            else:
                yield after + rest
            at += used
            continue
        if tags[at] == DET:
            labelled = _LABELLED_BOX.match(after)
            label, start = (labelled[1], labelled.end()) if labelled else ("", 0)
            boxes, rest, used = _placed(texts, tags, at, start)
            # By its form a word with a box is a label, known or not: the page's text comes after the tag.
            if label and (boxes or is_label(label)):
                yield Region(label, boxes, rest, opened)
            else:
                _, rest, used = _placed(texts, tags, at)
                yield _unless_label(rest) if at + 1 == len(tags) else rest
            at += used
            continue
        yield _unless_label(after) if tags[at] == REF else after
        at += 1


def _placed(texts: list[str], tags: list[str], at: int, start: int = 0) -> tuple[tuple[Coordinates, ...], str, int]:
    """Boxes of the ``<|det|>`` ``at``, the text after it, and how many tags it takes. What it encloses goes whole;
    where it is torn, its boxes are those ``start`` letters behind it."""
    payload = texts[at + 1]
    if tags[at + 1 : at + 2] == [END_DET]:
        return _boxes(payload), texts[at + 2], 2
    torn = _TORN_BOX.match(payload, start)
    if torn is None:
        return (), payload, 1
    return _boxes(torn[0]), payload[torn.end() :], 1


def _unless_label(text: str) -> str:
    """Torn ``<|ref|>`` or ``<|det|>``: what follows is a label, perhaps cut short by the token limit, or page text."""
    word = text.strip()
    *whole, last = word.split("_")
    begins = _PARTS.issuperset(whole) and any(each.startswith(last) for each in (_PARTS if whole else LABELS))
    return "" if len(word) <= MAX_LABEL and begins else text


def _boxes(payload: str) -> tuple[Coordinates, ...]:
    """Groups of four numbers between brackets, whatever stands between the numbers; those without area are dropped."""
    found = []
    for group in _GROUP.findall(payload):
        numbers = [min(max(int(float(number)), 0), GRID) for number in _NUMBER.findall(group)]
        if len(numbers) == 4:
            (left, right), (top, bottom) = sorted(numbers[::2]), sorted(numbers[1::2])
            if left < right and top < bottom:
                found.append((left, top, right, bottom))
    return tuple(found)


def scaled(box: Coordinates, size: tuple[int, int]) -> Coordinates | None:
    """A box in page pixels; None where nothing of it is left."""
    width, height = size
    left, right = (x * width // GRID for x in box[::2])
    top, bottom = (y * height // GRID for y in box[1::2])
    return (left, top, right, bottom) if left < right and top < bottom else None
