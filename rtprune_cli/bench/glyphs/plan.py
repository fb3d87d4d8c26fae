"""Owns what `rtprune bench glyphs` reads: which pages, under which pruning, and every default and check of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

from rtprune_cli.bench.accuracy.synthetic.write import MIXED, check_words, known_layouts
from rtprune_cli.errors import UsageError
from rtprune_cli.options import DYNAMIC, PruneOptions, parse_ratio

Reading = Literal["unpruned", "dropped", "merged"]
"""How a page is read: as it is; without its pruned tokens; with these merged into the others by optimal transport. The
latter two keep the same tokens."""
READINGS: tuple[Reading, ...] = get_args(Reading)
PRUNED: tuple[Reading, ...] = ("dropped", "merged")


@dataclass(frozen=True)
class GlyphPlan:
    """``limit`` pages for each of ``words``, read unpruned and at each of ``ratios``, as --ratio takes them.

    ``sheet`` and ``layouts`` as for the benchmark's synthetic pages. ``seed``: of the pages and of the bootstrap's
    ``resamples``.
    """

    sheet: str
    ratios: tuple[str, ...] = ("0.75", "0.5")
    words: tuple[str, ...] = (MIXED,)
    layouts: tuple[str, ...] = ()
    limit: int = 100
    seed: int = 0
    resamples: int = 10_000

    def __post_init__(self) -> None:
        for name, value, least in (
            ("limit", self.limit, 1),
            ("resamples", self.resamples, 100),
            ("seed", self.seed, 0),
        ):
            if value < least:
                raise UsageError(f"{name} is {value}", f"Give a whole number of at least {least}")
        if not self.words or not self.ratios:
            raise UsageError("nothing to compare", "Give --words and --ratios at least one word each")
        for words in self.words:
            check_words(words)
        object.__setattr__(self, "layouts", known_layouts(self.layouts, self.sheet))
        object.__setattr__(self, "words", tuple(dict.fromkeys(self.words)))
        # One text for each ratio, so that 0.5 and 0.50 are one
        options = {ratio: PruneOptions(ratio=parse_ratio(ratio)).fixed_ratio for ratio in self.ratios}
        if any(ratio == 1 for ratio in options.values()):
            raise UsageError(
                "nothing is pruned at the ratio 1", "Give --ratios below 1; unpruned pages are read anyway"
            )
        texts = (DYNAMIC if ratio is None else f"{ratio:g}" for ratio in options.values())
        object.__setattr__(self, "ratios", tuple(dict.fromkeys(texts)))

    def pruning(self, ratio: str) -> dict[Reading, PruneOptions]:
        """The options of the two readings that prune."""
        share = parse_ratio(ratio)
        return {"dropped": PruneOptions(ratio=share, method="norm-only"), "merged": PruneOptions(ratio=share)}
