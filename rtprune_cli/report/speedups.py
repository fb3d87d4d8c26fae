"""The three speed-ups that are told, each by one name everywhere; none leaves out a cost of what it names."""

from __future__ import annotations

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
        "operations of the decoder's prefill, counted from the model's sizes; no time, and without the prune step",
    ),
    Speedup(
        "prefill_speedup",
        "prefill ×",
        "measured prefill, prune step included",
        "time of the prefill, pruned with its prune step, of each page alone and in turns",
    ),
    Speedup(
        "page_speedup",
        "page ×",
        "whole page",
        "time of a page from the encoder to the end of its text, prune step included",
    ),
)
