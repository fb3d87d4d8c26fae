"""What stands between an opening and a closing mark, in linear time on any text."""

from __future__ import annotations

import re
from collections.abc import Iterator


def between(text: str, opening: re.Pattern[str], closing: re.Pattern[str], least: int = 0) -> Iterator[tuple[int, int]]:
    """(start, end) of what lies inside each pair, leftmost first; at least ``least`` characters do.

    An opening pattern must match nothing longer than a tag; what no mark closes ends the search, as nothing after it
    could be closed either.
    """
    position = 0
    while (start := opening.search(text, position)) and (end := closing.search(text, start.end() + least)):
        yield start.end(), end.start()
        position = end.end()


def take_out(text: str, opening: str, closing: str) -> tuple[list[str], str]:
    """What lies inside each pair of marks, at least a character, and the text without the pairs."""
    inside, kept, position = [], [], 0
    while (start := text.find(opening, position)) >= 0:
        begin = start + len(opening)
        end = text.find(closing, begin + 1)
        if end < 0:
            break
        inside.append(text[begin:end])
        kept.append(text[position:start])
        position = end + len(closing)
    return inside, "".join([*kept, text[position:]])
