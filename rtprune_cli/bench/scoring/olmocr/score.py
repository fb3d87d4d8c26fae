"""A page's share of passed tests, over all of them and by type."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from rtprune_cli.bench.scoring.olmocr.cases import KINDS, Case
from rtprune_cli.bench.scoring.olmocr.formula import Formula
from rtprune_cli.bench.scoring.records import Marks, Metric, Part

METRICS = (
    Metric("pass_rate", "Passed", lower=False),
    *(Metric(f"pass_{kind}", kind.capitalize(), lower=False) for kind in KINDS),
)


def score_cases(cases: Sequence[Case], prediction: str | None) -> Marks:
    """``pass_rate`` with a stratum a file of tests, and ``pass_present`` and so on for the types there are.

    The notes: tests of formulas that failed but, drawn, might pass; and pages without prediction, whose tests all fail.
    """
    ran, passed = Counter[str](), Counter[str]()
    ran_of, passed_of = Counter[str](), Counter[str]()
    undecided = 0
    for case in cases:
        good = prediction is not None and case.check.passes(prediction)
        ran[case.file] += 1
        ran_of[case.kind] += 1
        passed[case.file] += good
        passed_of[case.kind] += good
        if prediction is not None and not good and isinstance(case.check, Formula):
            undecided += case.check.undecided(prediction)
    scores = {"pass_rate": [Part(passed[file], count, file) for file, count in ran.items()]}
    scores |= {f"pass_{kind}": [Part(passed_of[kind], ran_of[kind])] for kind in KINDS if ran_of[kind]}
    notes = {"missing_pages": 1.0} if prediction is None else {}
    return Marks(scores, notes | ({"math_lower_bound": float(undecided)} if undecided else {}))
