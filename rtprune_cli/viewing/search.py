"""Search in the texts of pages, whatever the case and the accents of their letters.

The texts lie folded in memory, and each is looked through: at 10,000 pages that is faster than anybody types, finds a
part of a word and two characters of Chinese alike, and needs no index (measured: docs/view.md).
"""

from __future__ import annotations

import re
import unicodedata
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from itertools import accumulate, islice
from typing import NamedTuple

from rtprune_cli.outputs.htmlreport.text import without_tags
from rtprune_cli.viewing.following import SeenPage

MAX_LETTERS, MAX_WORDS = 400, 16  # of what is asked for
BEFORE, WIDE = 60, 240  # letters of a snippet, before its first mark and in all
MAX_PLACES = 12  # of a word on a page, of which a snippet is chosen

_ASKED = re.compile(r'"([^"]+)"|([^\s"]+)')
_COMMENT = re.compile(r"<!-- .*? -->")


class _Folding(dict[int, str]):
    """A letter -> what it counts as: in lower case, without accents, wide letters and ligatures as plain ones."""

    def __missing__(self, code: int) -> str:
        letter = chr(code)
        parts = unicodedata.normalize("NFKD", letter)
        # Of marks, those of Latin, Greek and Cyrillic letters go; が is another letter than か.
        bare = "".join(part for part in parts if not "\u0300" <= part <= "\u036f")
        found = " " if letter.isspace() else unicodedata.normalize("NFKC", bare.casefold())
        self[code] = found
        return found


_FOLDED = _Folding()


def readable(text: str) -> str:
    """The text of a page as it is searched and quoted: without tags, comments and crops."""
    return unicodedata.normalize("NFC", without_tags(_COMMENT.sub("", text)))


def fold(text: str) -> str:
    """``text`` as it is compared, letter by letter, so that places in it can be traced back."""
    return text.translate(_FOLDED)


def words_of(asked: str) -> tuple[str, ...]:
    """What a page must hold to be found: words, or whole what stands in quotes. Folded; none of nothing but spaces."""
    asked = unicodedata.normalize("NFC", asked[:MAX_LETTERS])
    found = (fold(one or other) for one, other in _ASKED.findall(asked))
    return tuple(dict.fromkeys(word for word in found if word.strip()))[:MAX_WORDS]


def matches(page: SeenPage, words: Iterable[str]) -> bool:
    """Whether a page's text holds all ``words``."""
    folded = page.folded
    return folded is not None and all(word in folded for word in words)


class Quoted(NamedTuple):
    """A piece of a snippet; ``marked``: one of the words."""

    text: str
    marked: bool


def snippet(text: str, words: tuple[str, ...]) -> list[Quoted]:
    """The place of a page's markdown where most of the ``words`` stand together, with them marked."""
    text = readable(text)
    folded, ends = fold(text), list(accumulate((len(_FOLDED[ord(letter)]) for letter in text), initial=0))
    places = sorted((at, word) for word in words for at in islice(_places(folded, word, 0, len(folded)), MAX_PLACES))
    if not places:
        return []
    start = max(places, key=lambda place: _together(places, place[0]))[0]
    first = max(0, _letter(ends, start) - BEFORE)
    last = min(len(text), first + WIDE)
    marks: list[tuple[int, int]] = []  # letters of the text, in order and apart
    for at, length in sorted(
        (at, len(word)) for word in words for at in _places(folded, word, ends[first], ends[last])
    ):
        left, right = max(first, _letter(ends, at)), _after(ends, at + length)
        if marks and left < marks[-1][1]:
            marks[-1] = marks[-1][0], max(right, marks[-1][1])
        else:
            marks.append((left, right))
    pieces, end = [Quoted("… " if first else "", False)], first
    for left, right in marks:
        pieces += [Quoted(text[end:left], False), Quoted(text[left:right], True)]
        end = right
    pieces += [Quoted(text[end:last], False), Quoted(" …" if last < len(text) else "", False)]
    return [piece for piece in pieces if piece.text]


def _together(places: Sequence[tuple[int, str]], start: int) -> int:
    """How many words stand within a snippet from there on."""
    return len({word for at, word in places if start <= at < start + WIDE})


def _places(folded: str, word: str, start: int, end: int) -> Iterator[int]:
    at = folded.find(word, start, end)
    while at >= 0:
        yield at
        at = folded.find(word, at + len(word), end)


def _letter(ends: Sequence[int], at: int) -> int:
    """The letter of the text that the folded one at ``at`` came of."""
    return bisect_right(ends, at) - 1


def _after(ends: Sequence[int], end: int) -> int:
    """Behind the letter of the text with which the folded text up to ``end`` ends, and behind its accents."""
    last = _letter(ends, end - 1) + 1
    while last + 1 < len(ends) and ends[last + 1] == ends[last]:
        last += 1
    return last
