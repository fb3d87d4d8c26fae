"""Owns the search for "opening ... closing" in hostile text, in linear time where a lazy regular expression is not.

``opening.*?closing`` tries every opening to the end of the text when no closing follows: quadratic on 200 kB of
``$$`` or ``<table>``. What is not found once after a place is not sought again after it. One exception: nothing here
stops at a line end; callers whose pattern may not cross one pass a line at a time.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple


class DelimitedSpan(NamedTuple):
    """``text[start:end]``, of which ``opening`` tells which delimiter began it."""

    start: int
    end: int
    opening: str


def between(text: str, opening: str, closing: str) -> Iterator[DelimitedSpan]:
    """Spans from an opening to the next closing, left to right, as ``opening.*?closing`` finds them."""
    start = text.find(opening)
    while start >= 0 and (close := text.find(closing, start + len(opening))) >= 0:
        end = close + len(closing)
        yield DelimitedSpan(start, end, opening)
        start = text.find(opening, end)


def delimited(text: str, delimiters: Sequence[tuple[str, str]]) -> Iterator[DelimitedSpan]:
    """As :func:`between` for several (opening, closing) at once, of which the first that matches at a place wins."""
    opening = re.compile("|".join(re.escape(each) for each, _ in delimiters))
    barren: set[str] = set()  # openings with no closing after here
    place = 0
    while hit := opening.search(text, place):
        start = hit.start()
        place = start + 1
        for begin, finish in delimiters:
            if begin in barren or not text.startswith(begin, start):
                continue
            close = text.find(finish, start + len(begin))
            if close >= 0:
                place = close + len(finish)
                yield DelimitedSpan(start, place, begin)
                break
            barren.add(begin)


def outermost(begins: Sequence[int], ends: Sequence[int], step: int, restart: int) -> list[tuple[int, int]]:
    """Balanced pairs as the official scan finds them: (place of a begin, place of its end), outermost ones only.

    That scan walks from tag to tag, ``step`` characters on from the start of each, and so misses a tag that begins
    within them. When tags stay open it begins again, ``restart`` characters after the first of those. Here each tag's
    partner is worked out once, from the right.
    """
    tags = sorted([(place, True) for place in begins] + [(place, False) for place in ends])
    places = [place for place, _ in tags]

    def after(place: int) -> int:
        return bisect_left(places, place)

    partner: list[int | None] = [None] * len(tags)  # of a begin: the tag that ends it
    for number in range(len(tags) - 1, -1, -1):
        if not tags[number][1]:
            continue
        at: int | None = after(places[number] + step)
        while at is not None and at < len(tags) and tags[at][1]:
            inner = partner[at]
            at = None if inner is None else after(places[inner] + step)
        partner[number] = at if at is not None and at < len(tags) else None
    found = []
    number = 0
    while number < len(tags):
        place, begin = tags[number]
        end = partner[number]
        if begin and end is None:
            number = after(place + restart)
            continue
        if begin and end is not None:
            found.append((place, places[end]))
            place = places[end]
        number = after(place + step)
    return found


def blanked(text: str, spans: Iterable[tuple[int, int]]) -> str:
    """``text`` with spaces in place of each (start, end), in order of start: all else stays where it is."""
    parts, at = [], 0
    for start, end in spans:
        start, end = max(start, at), max(end, at)  # spans may overlap
        parts += [text[at:start], " " * (end - start)]
        at = end
    return "".join([*parts, text[at:]])


def without(text: str, opening: str, closing: str) -> str:
    """``text`` less every span :func:`between` the two."""
    parts, at = [], 0
    for span in between(text, opening, closing):
        parts.append(text[at : span.start])
        at = span.end
    return "".join([*parts, text[at:]])


def without_in_lines(text: str, opening: str, closing: str) -> str:
    """:func:`without` of each line on its own."""
    if opening not in text:
        return text
    return "\n".join(without(line, opening, closing) for line in text.split("\n"))
