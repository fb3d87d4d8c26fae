"""The test order: one text comes before another."""

from __future__ import annotations

from dataclasses import dataclass

from rtprune_cli.bench.scoring.olmocr.normalise import normalised


@dataclass(frozen=True)
class Order:
    """Some place of ``before``, found with up to ``max_diffs`` edits, starts before some place of ``after``."""

    before: str
    after: str
    max_diffs: int = 0

    def passes(self, markdown: str) -> bool:
        page = normalised(markdown)
        before, after = (self._starts(normalised(text), page) for text in (self.before, self.after))
        return before is not None and after is not None and before[0] < after[1]

    def _starts(self, text: str, page: str) -> tuple[int, int] | None:
        """Where the first and the last place of ``text`` start."""
        if not self.max_diffs:
            return (page.find(text), page.rfind(text)) if text in page else None
        from fuzzysearch import find_near_matches

        starts = [match.start for match in find_near_matches(text, page, max_l_dist=self.max_diffs)]
        return (min(starts), max(starts)) if starts else None
