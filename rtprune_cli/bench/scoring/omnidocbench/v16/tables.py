"""Owns HTML tables before v1.6 compares them: v1.5's normal form, with every string of a cell in its normal form."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

from rtprune_cli.bench.scoring.omnidocbench import tables
from rtprune_cli.bench.scoring.omnidocbench.v16.normalise import cell

if TYPE_CHECKING:
    from bs4 import BeautifulSoup

_CELLS = ("td", "th")


@lru_cache(maxsize=256)  # once to match it, once to score it
def normal_table(source: str) -> str:
    """The table as one line of HTML; "" where ``source`` holds none."""
    return tables.normal_table(source, ("thead", "tbody"), _tidy)


def comparable(source: str) -> str:
    """What the matching compares: the normal form of HTML, anything else as it is."""
    return normal_table(source) if "<table" in source.lower() else source


def _tidy(soup: BeautifulSoup) -> None:
    from bs4.element import NavigableString, Tag

    depth: dict[int, int] = {id(soup): 0}  # of a tag, by identity: the cells it is in, itself included
    strings: list[tuple[NavigableString, int]] = []
    for node in soup.descendants:
        around = depth[id(node.parent)]
        if isinstance(node, Tag):
            depth[id(node)] = around + (node.name in _CELLS)
        elif isinstance(node, NavigableString) and around:
            strings.append((node, around))
    for string, times in strings:
        # Officially each cell in turn, so that what stands in a nested one is done again; a comment becomes text.
        before = after = str(string)
        for _ in range(times):
            if (again := cell(after)) == after:
                break
            after = again
        if after != before:
            string.replace_with(after)
