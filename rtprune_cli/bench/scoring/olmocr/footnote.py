"""The test footnote: a mark is there as a footnote's, with the right text around it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from rtprune_cli.bench.scoring.olmocr.normalise import normalised

REACH = 200  # characters of markdown before and after a mark
_RAISED = str.maketrans("0123456789", "\u2070\u00b9\u00b2\u00b3\u2074\u2075\u2076\u2077\u2078\u2079")


@dataclass(frozen=True)
class Footnote:
    """``marker`` stands as ``[^1]``, ``<sup>1</sup>`` or a raised digit; near one such place are the texts, if any."""

    marker: str
    before: str = ""
    after: str = ""
    max_diffs: int = 0

    def passes(self, markdown: str) -> bool:
        places = self._places(markdown)
        if not places:
            return False
        before = [markdown[max(0, start - REACH) : start] for start, _ in places]
        after = [markdown[end : end + REACH] for _, end in places]
        return self._near(self.before, before, at_end=True) and self._near(self.after, after, at_end=False)

    def _places(self, markdown: str) -> list[tuple[int, int]]:
        mark = re.escape(self.marker)
        patterns = [rf"\[\^{mark}\](?!:)", rf"(?i:<sup[^<>]*>{mark}</sup>)"]
        if self.marker.isascii() and self.marker.isdigit():
            patterns.append(self.marker.translate(_RAISED))
        return [found.span() for pattern in patterns for found in re.finditer(pattern, markdown)]

    def _near(self, text: str, surroundings: Sequence[str], at_end: bool) -> bool:
        """Is ``text`` in the part of one of the surroundings next to the mark, twice as long as the text?"""
        from rapidfuzz import fuzz

        if not text:
            return True
        text = normalised(text)
        threshold = 1 - self.max_diffs / len(text)
        wanted = _letters(text)
        for around in map(_letters, surroundings):
            reach = min(len(around), 2 * len(wanted))
            part = around[len(around) - reach :] if at_end else around[:reach]
            if around and fuzz.partial_ratio(wanted, part or around) / 100 >= threshold:
                return True
        return False


def _letters(text: str) -> str:
    return "".join(filter(str.isalnum, normalised(text))).lower()
