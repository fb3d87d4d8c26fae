"""The test format: a text is a heading, bold or italic."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from rtprune_cli.bench.scoring.olmocr.normalise import normalised
from rtprune_cli.bench.scoring.olmocr.spans import between

STYLES = ("heading", "bold", "italic")
_HEADING = re.compile(r"^#{1,6}\s+(.+?)$", re.MULTILINE)
# Tags by their first letters, so <br> opens bold and <img> italic: as in the official tests.
_TAGS = {"heading": ("h[1-6]",), "bold": ("b", "strong"), "italic": ("i", "em")}
_MARKS = {"bold": (r"\*\*", "__"), "italic": (r"(?<!\*)\*(?!\*)", "(?<!_)_(?!_)")}


@dataclass(frozen=True)
class Style:
    """``text`` is in a part of the page that has the ``style``, with up to ``max_diffs`` edits or so."""

    text: str
    style: str
    max_diffs: int = 0
    case_sensitive: bool = True

    def passes(self, markdown: str) -> bool:
        from rapidfuzz import fuzz

        text = normalised(self.text)
        if not self.case_sensitive:
            text = text.lower()
        for part in styled(markdown, self.style):
            part = normalised(part) if self.case_sensitive else normalised(part).lower()
            if fuzz.partial_ratio(text, part) / 100 >= 1 - self.max_diffs / len(text):
                return True
        return False


def styled(markdown: str, style: str) -> Iterator[str]:
    """The parts of the page in a style, in markdown and in HTML."""
    if style == "heading":
        yield from _HEADING.findall(markdown)
    for mark in _MARKS.get(style, ()):
        pattern = re.compile(mark)
        yield from (markdown[start:end] for start, end in between(markdown, pattern, pattern))
    for tag in _TAGS[style]:
        opening = re.compile(f"<{tag}[^<>]*>", re.IGNORECASE)
        closing = re.compile(f"</{tag}>", re.IGNORECASE)
        yield from (markdown[start:end] for start, end in between(markdown, opening, closing))
