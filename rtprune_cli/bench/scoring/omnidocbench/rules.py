"""Owns which evaluator's rules score a page: each reads the truth, scores it and adds it up in its own way."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rtprune_cli.bench.scoring.omnidocbench import score, totals, truth
from rtprune_cli.bench.scoring.omnidocbench.v16 import score as score_v16
from rtprune_cli.bench.scoring.omnidocbench.v16 import totals as totals_v16
from rtprune_cli.bench.scoring.omnidocbench.v16 import truth as truth_v16
from rtprune_cli.bench.scoring.records import Marks, Metric


@dataclass(frozen=True)
class Rules:
    """``read``: a page of the annotations -> what ``score`` takes beside the prediction; ``totals``: of all details.

    ``drawn_metrics``: those where formulas are drawn; none: this version's CDM is not computed.
    """

    read: Callable[[Mapping[str, Any]], Any]
    score: Callable[[Any, str | None], Marks]
    totals: Callable[[Iterable[Any]], dict[str, Any]]
    metrics: Sequence[Metric]
    drawn_metrics: Sequence[Metric] = ()


RULES: Mapping[str, Rules] = {
    "v1.5": Rules(
        truth.read_page, score.score_page, totals.totals, score.metrics(drawn=False), score.metrics(drawn=True)
    ),
    "v1.6": Rules(truth_v16.read_page, score_v16.score_page, totals_v16.totals, score_v16.METRICS),
}
