"""The test baseline: a page has text, does not end in a loop, and is in no script that the benchmark lacks."""

from __future__ import annotations

import re
from dataclasses import dataclass

MAX_PERIOD = 5  # characters of what repeats at the end
# Han, kana, emoji: the benchmark is in English
_DISALLOWED = re.compile("[\u4e00-\u9fff\u3040-\u30ff\U0001f300-\U0001f64f\U0001f680-\U0001f6ff\U0001f1e0-\U0001f1ff]")


@dataclass(frozen=True)
class Baseline:
    """With ``max_length`` only that no more letters and digits are on the page: it is blank."""

    max_length: int | None = None
    without_images: bool = False
    max_repeats: int = 30
    check_disallowed: bool = True

    def passes(self, markdown: str) -> bool:
        if self.max_length is not None:
            text = _without_images(markdown) if self.without_images else markdown
            return sum(map(str.isalnum, text)) <= self.max_length
        if not any(map(str.isalnum, markdown)):
            return False
        text = re.sub(r"\s+", " ", markdown)
        if any(trailing_repeats(text, period) > self.max_repeats for period in range(1, MAX_PERIOD + 1)):
            return False
        return not (self.check_disallowed and _DISALLOWED.search(markdown))


def trailing_repeats(text: str, period: int) -> int:
    """How often the last ``period`` characters stand there in a row."""
    last, count, end = text[-period:], 0, len(text)
    while end >= period and text[end - period : end] == last:
        count += 1
        end -= period
    return count


def _without_images(markdown: str) -> str:
    """Without ``![...](...)``, each on one line."""
    lines = []
    for line in markdown.split("\n"):
        kept, end = [], 0
        while (
            (start := line.find("![", end)) >= 0
            and (middle := line.find("](", start + 2)) >= 0
            and (close := line.find(")", middle + 2)) >= 0
        ):
            kept.append(line[end:start])
            end = close + 1
        lines.append("".join([*kept, line[end:]]))
    return "\n".join(lines)
