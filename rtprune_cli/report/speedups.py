"""The three speed-ups that are told, each by one name everywhere; none leaves out a cost of what it names."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple


class Speedup(NamedTuple):
    """Unpruned over pruned. ``field`` is that of records and summaries, ``heading`` that of narrow columns."""

    field: str
    heading: str
    title: str
    meaning: str


SPEEDUPS = (
    Speedup(
        "flops_speedup",
        "FLOPs ×",
        "prefill FLOPs",
        "the decoder's operations without pruning, divided by those with pruning and its prune step; counted from the "
        "model's sizes, not timed",
    ),
    Speedup(
        "prefill_speedup",
        "prefill ×",
        "measured prefill, prune step included",
        "time of the prefill without pruning, divided by that with pruning and its prune step; each page alone, both "
        "in turns",
    ),
    Speedup(
        "page_speedup",
        "page ×",
        "whole page",
        "time of a page, from the encoder to the end of its text, without pruning, divided by that with pruning and "
        "its prune step",
    ),
)


def explained(shown: Iterable[Speedup]) -> list[str]:
    """A sentence for each that is shown, by its heading."""
    return [f"{each.heading} = {each.title}: {each.meaning}" for each in shown]
