"""OmniDocBench, end to end: markdown against annotated pages, as the official evaluators score them."""

from rtprune_cli.bench.scoring.omnidocbench.rules import RULES
from rtprune_cli.bench.scoring.omnidocbench.score import METRICS, OFFICIAL, PageDetails, page_labels, score_page
from rtprune_cli.bench.scoring.omnidocbench.totals import totals
from rtprune_cli.bench.scoring.omnidocbench.truth import Truth, read_page, readable

__all__ = [
    "METRICS",
    "OFFICIAL",
    "RULES",
    "PageDetails",
    "Truth",
    "page_labels",
    "read_page",
    "readable",
    "score_page",
    "totals",
]
