"""Paragraphs and tables that go on over a page break, in one piece (``--join-pages``). In doubt they stay apart."""

from __future__ import annotations

import re
from collections.abc import Sequence

from rtprune_cli.outputs.journal import Entry
from rtprune_cli.outputs.pages import page_end, page_head, page_text
from rtprune_cli.records import Block
from rtprune_cli.records.block import is_caption

# What a paragraph that goes on ends and begins with. Abbreviations end as sentences do, and stay apart.
_GOES_ON = re.compile(r"[\w,;(–—’'-]\Z")
_WORD_PARTED = re.compile(r"([^\W\d_]+)-\Z")
_SMALL_LETTER = re.compile(r"\w+")
_IDEOGRAPH = re.compile(r"[\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]")
LEAST_OF_IDEOGRAPHS = 20  # a shorter line may be a heading that the model took for text: they have no capitals to tell
_ROW = re.compile(r"<tr\b[^<>]*>.*?</tr\s*>", re.IGNORECASE | re.DOTALL)
_CELL = re.compile(r"<t[dh]\b([^<>]*)>", re.IGNORECASE)
_COLSPAN = re.compile(r"\bcolspan\s?=\s?[\"']?(\d{1,3})", re.IGNORECASE)
_END_OF_TABLE = re.compile(r"(?:</t(?:body|head|foot)\s*>\s*)?</table\s*>\Z", re.IGNORECASE)
_MARKERS_BEHIND = re.compile(r"\n\n<!-- page [^\n]*-->(?:\n<!-- page [^\n]*-->)*\Z")
_SEPARATOR = re.compile(r"\|(?:\s*:?-+:?\s*\|)+\Z")


def joined(entries: Sequence[Entry]) -> list[str]:
    """The text of each page with its marker; of pages that go on one another, one text."""
    texts: list[str] = []
    known = "\n".join(entry.text for entry in entries)
    for at, entry in enumerate(entries):
        together = _together(entries[at - 1], entry, texts[-1], known) if at else None
        if together is None:
            texts.append(page_text(entry.record, entry.text))
        else:
            texts[-1] = together
    return texts


def _together(before: Entry, after: Entry, text: str, known: str) -> str | None:
    """``text``, which ends with the page ``before``, and the page after it; None where that begins anew."""
    if before.record.failed or after.record.failed or not (before.blocks and after.blocks):
        return None
    if page_end(before.record):
        return None
    last, first = before.blocks[-1], after.blocks[0]
    if last.html is not None and first.html is not None:
        followed = after.blocks[1].label if len(after.blocks) > 1 else ""
        return None if is_caption(followed) else _tables(text, after)
    if _is_paragraph(last) and _is_paragraph(first):
        return _paragraphs(text, after, known)
    return None


def _is_paragraph(block: Block) -> bool:
    return block.label == "text" and block.level is None and block.text is not None


# --- Paragraphs


def _paragraphs(text: str, after: Entry, known: str) -> str | None:
    last = text.rpartition("\n\n")[2]
    word = _SMALL_LETTER.match(after.text)
    if word is None or not _GOES_ON.search(last):
        return None
    head = " ".join(page_head(after.record))
    if _IDEOGRAPH.match(word[0]):
        whole = _IDEOGRAPH.match(last[-1]) and len(last) >= LEAST_OF_IDEOGRAPHS
        return f"{text}{head}{after.text}" if whole else None
    if not word[0][0].islower():
        return None
    if parted := _WORD_PARTED.search(last):
        compound = f"{parted[0]}{word[0]}" in known  # the document writes it with its hyphen elsewhere
        return f"{text if compound else text[:-1]}{head}{after.text}"
    return f"{text} {head} {after.text}"


# --- Tables


def _tables(text: str, after: Entry) -> str | None:
    first, _, rest = after.text.partition("\n\n")
    head = page_head(after.record)
    behind = _MARKERS_BEHIND.search(text)  # of the pages that the table has gone on over
    whole = text[: behind.start()] if behind else text
    if whole.endswith("|") and first.startswith("|"):
        table = whole.rpartition("\n\n")[2].split("\n")
        rows = _pipe_rows(table, first.split("\n"))
        if rows is None:
            return None
        markers = "\n".join([*(behind[0].split("\n") if behind else []), *head]).strip()
        return "\n\n".join(filter(None, ["\n".join([whole, *rows]), markers, rest]))
    start, end = text.lower().rfind("<table"), _END_OF_TABLE.search(text)
    if start < 0 or end is None or not first.lower().startswith("<table") or not first.rstrip().endswith(">"):
        return None
    own, others = _ROW.search(text, start), _ROW.findall(first)
    if own is None or not others or _columns(own[0]) != _columns(others[0]):
        return None
    rows = others[1:] if others[0] == own[0] else others
    whole = f"{text[: end.start()]}{''.join([*head, *rows])}{end[0]}"
    return "\n\n".join(filter(None, [whole, rest]))


def _pipe_rows(table: Sequence[str], other: Sequence[str]) -> list[str] | None:
    """The rows of the second table under the first one's head; None where their columns differ."""
    if len(other) < 2 or len(table) < 3 or not _SEPARATOR.match(other[1]) or not _SEPARATOR.match(table[1]):
        return None
    if other[1].count("|") != table[1].count("|"):
        return None
    rows = [other[0], *other[2:]]
    return rows[1:] if other[0] == table[0] else rows


def _columns(row: str) -> int:
    spans = (_COLSPAN.search(attributes) for attributes in _CELL.findall(row))
    return sum(int(span[1]) if span else 1 for span in spans)
