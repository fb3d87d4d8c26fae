"""CDM, character detection matching (Wang et al., CVPR 2025, arXiv 2409.03643), as OmniDocBench v1.5 computes it.

Each token of a formula is drawn in a colour of its own; the boxes of its ink are assigned to those of the other side,
and what cannot be explained by a common move falls. Strings in, documents for XeLaTeX out; pictures in, scores out.
What runs programs is :mod:`rtprune_cli.bench.accuracy.formulas`.
"""

from rtprune_cli.bench.scoring.omnidocbench.cdm.boxes import TokenBoxes, token_boxes
from rtprune_cli.bench.scoring.omnidocbench.cdm.document import FormulaDrawing, drawing
from rtprune_cli.bench.scoring.omnidocbench.cdm.score import CdmScore, cdm
from rtprune_cli.bench.scoring.omnidocbench.cdm.strings import bare_prediction, bare_truth, joined

__all__ = [
    "CdmScore",
    "FormulaDrawing",
    "TokenBoxes",
    "bare_prediction",
    "bare_truth",
    "cdm",
    "drawing",
    "joined",
    "token_boxes",
]
