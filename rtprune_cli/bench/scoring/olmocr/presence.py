"""The tests present and absent: a text is on the page, or is not."""

from __future__ import annotations

from dataclasses import dataclass

from rtprune_cli.bench.scoring.olmocr.normalise import normalised


@dataclass(frozen=True)
class Presence:
    """``text`` is found with up to ``max_diffs`` edits or so (a partial ratio of rapidfuzz), or with ``absent`` is not.

    ``first`` and ``last`` limit where it is looked for to so many characters at the ends, 0 being no limit.
    """

    text: str
    absent: bool = False
    max_diffs: int = 0
    case_sensitive: bool = True
    first: int = 0
    last: int = 0

    def passes(self, markdown: str) -> bool:
        from rapidfuzz import fuzz

        text, page = normalised(self.text), normalised(markdown)
        if not self.case_sensitive:
            text, page = text.lower(), page.lower()
        if self.first or self.last:
            page = page[: self.first] + (page[-self.last :] if self.last else "")
        # A partial ratio is of the shorter text in the longer: a page of one space would be found in every sentence.
        if len(page) < len(text) - self.max_diffs:
            return self.absent
        found = fuzz.partial_ratio(text, page) / 100 >= 1 - self.max_diffs / len(text)
        return found is not self.absent
