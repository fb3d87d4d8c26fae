"""OmniDocBench, end to end: markdown against annotated pages, as the official evaluators score them."""

from rtprune_cli.bench.scoring.omnidocbench.rules import RULES
from rtprune_cli.bench.scoring.omnidocbench.score import (
    METRICS,
    OFFICIAL,
    FormulaPair,
    PageDetails,
    metrics,
    page_labels,
    score_page,
    with_cdm,
)
from rtprune_cli.bench.scoring.omnidocbench.totals import totals
from rtprune_cli.bench.scoring.omnidocbench.truth import Truth, read_page, readable

__all__ = [
    "METRICS",
    "OFFICIAL",
    "RULES",
    "FormulaPair",
    "PageDetails",
    "Truth",
    "metrics",
    "page_labels",
    "read_page",
    "readable",
    "score_page",
    "totals",
    "with_cdm",
]
