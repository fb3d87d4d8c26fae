"""A page's share of passed tests, over all of them and by type."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

from rtprune_cli.bench.scoring.olmocr.cases import KINDS, Case
from rtprune_cli.bench.scoring.olmocr.drawn import DrawnAnswer
from rtprune_cli.bench.scoring.olmocr.formula import Formula
from rtprune_cli.bench.scoring.records import Marks, Metric, Part

LOWER_BOUND = "math_lower_bound"  # the note of tests that failed, and drawn might pass
METRICS = (
    Metric("pass_rate", "Passed", lower=False),
    *(Metric(f"pass_{kind}", kind.capitalize(), lower=False) for kind in KINDS),
)


@dataclass(frozen=True)
class UndrawnTest:
    """A test whose truth is not among the page's formulas as it is written, so that a drawing decides.

    ``formulas``: the page's, those most like the truth first. ``passed``: by their LaTeX alone.
    """

    file: str
    truth: str
    formulas: Sequence[str]
    passed: bool


def score_cases(cases: Sequence[Case], prediction: str | None) -> Marks:
    """``pass_rate`` with a stratum a file of tests, and ``pass_present`` and so on for the types there are.

    The details are the tests that drawings decide, until then by LaTeX: :func:`with_drawn`. The notes: those of them
    that failed; and pages without prediction, whose tests all fail.
    """
    ran, passed = Counter[str](), Counter[str]()
    ran_of, passed_of = Counter[str](), Counter[str]()
    undrawn: list[UndrawnTest] = []
    for case in cases:
        good = prediction is not None and case.check.passes(prediction)
        ran[case.file] += 1
        ran_of[case.kind] += 1
        passed[case.file] += good
        passed_of[case.kind] += good
        if prediction is not None and isinstance(case.check, Formula):
            found = case.check.to_compare(prediction)
            undrawn += [UndrawnTest(case.file, case.check.latex, found, good)] if found else []
    scores = {"pass_rate": [Part(passed[file], count, file) for file, count in ran.items()]}
    scores |= {f"pass_{kind}": [Part(passed_of[kind], ran_of[kind])] for kind in KINDS if ran_of[kind]}
    notes = {"missing_pages": 1.0} if prediction is None else {}
    return Marks(scores, notes | _open(sum(not test.passed for test in undrawn)), tuple(undrawn))


def with_drawn(marks: Marks, answers: Sequence[DrawnAnswer]) -> Marks:
    """The marks of :func:`score_cases` with an answer for each test in their details, which are gone then.

    A test to which the drawing has no answer stays as it was by its LaTeX, and in the note if it failed.
    """
    changes, unknown = Counter[str](), 0
    for test, answer in zip(marks.details, answers, strict=True):
        good = test.passed if answer == "unknown" else answer != "no"
        changes[test.file] += good - test.passed
        unknown += answer == "unknown" and not good
    scores = dict(marks.scores)
    scores["pass_rate"] = [
        replace(part, total=part.total + changes[part.stratum]) for part in marks.scores["pass_rate"]
    ]
    (math,) = marks.scores["pass_math"]
    scores["pass_math"] = [replace(math, total=math.total + changes.total())]
    notes = {name: number for name, number in marks.notes.items() if name != LOWER_BOUND}
    return Marks(scores, notes | _open(unknown))


def _open(tests: int) -> dict[str, float]:
    return {LOWER_BOUND: float(tests)} if tests else {}
