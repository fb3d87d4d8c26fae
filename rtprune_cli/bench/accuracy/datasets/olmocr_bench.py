"""olmOCR-Bench as it is downloaded: files of tests beside a folder of one-page PDFs."""

from __future__ import annotations

import logging
import re
from collections import Counter, defaultdict
from collections.abc import Collection, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from rtprune_cli.bench.accuracy.datasets.base import Dataset, Sample, by_id
from rtprune_cli.bench.accuracy.datasets.files import existing_folder, fingerprint, read_jsonl, wrong_schema
from rtprune_cli.bench.accuracy.formulas.olmocr_math import DrawnMath
from rtprune_cli.bench.scoring.olmocr.baseline import Baseline
from rtprune_cli.bench.scoring.olmocr.cases import Case, describe, read_case
from rtprune_cli.bench.scoring.olmocr.score import METRICS, score_cases
from rtprune_cli.bench.scoring.records import Marks
from rtprune_cli.errors import InputError
from rtprune_cli.inputs.formats import printable

log = logging.getLogger("rtprune")

INNER = "bench_data"  # the folder of the tests in the downloaded dataset
PDFS = "pdfs"
BASELINE = "baseline"  # the file that tests count under which no file holds


def open_olmocr_bench(data: Path, images: bool = True, listed: Collection[str] = ()) -> Dataset:
    """The tests of every ``*.jsonl`` in ``data``, or in its ``bench_data``, for the pages in ``pdfs``.

    A PDF without a test of the type baseline gets one, for its page 1, as in the official run. Tests of types that are
    not known are left out with a warning, and with ``images`` those of PDFs that are not there. ``listed``: PDFs that
    are elsewhere and can be had, relative to ``pdfs``; those of neither kind are left out, too.

    Raises:
        UsageError: no such folder.
        InputError: no tests, or a line that is no test.
    """
    existing_folder(data, "olmOCR-Bench")
    root = data / INNER if (data / INNER).is_dir() else data
    files = sorted(root.glob("*.jsonl"))
    if not files:
        raise InputError(
            f"no *.jsonl with tests in {printable(str(root))}", "Give the folder of olmOCR-Bench that holds bench_data"
        )
    cases = _read(files)
    pdfs = root / PDFS
    if images or listed:
        _leave_out_missing(cases, pdfs, listed)
    _add_baselines(cases, pdfs, listed)
    if not cases:
        raise InputError(f"no test for a PDF in {printable(str(pdfs))}", "Download the PDFs of olmOCR-Bench too")
    samples = [_sample(pdf, page, pdfs, cases[pdf, page]) for pdf, page in sorted(cases)]
    kinds = {f"pass_{case.kind}" for of_page in cases.values() for case in of_page}
    math = DrawnMath()
    return Dataset(
        "olmocr-bench",
        fingerprint(files),
        samples,
        [metric for metric in METRICS if metric.name == "pass_rate" or metric.name in kinds],
        ("pass_rate",),
        score_cases,
        find,
        official,
        title="olmOCR-Bench",
        about=(
            "Tests as in allenai/olmocr, olmocr/bench, at dc802aa. Score: the mean over files of tests of their pass "
            "rates; of a type: the pass rate of its tests.",
            "Formulas are drawn with KaTeX in a browser and compared by where symbols stand. Without a browser they "
            "are compared as LaTeX: math is a lower bound then, and so is the score. math_lower_bound counts the tests "
            "that failed and might pass if drawn.",
            "One prediction a page counts, repeat 1 where there are several. The official run refuses predictions that "
            "lack a page; here its tests fail, as there with --force.",
        ),
        slow=True,
        render=math.complete,
        rendered=math.how,
    )


def find(folder: Path, sample: Sample) -> Path | None:
    """``PDF_pgN_repeat1.md``, else the repeat of the lowest number."""
    if own := by_id(folder, sample):
        return own
    stem = PurePosixPath(sample.id.removesuffix("1"))
    place = folder / stem.parent
    if not place.is_dir():
        return None
    repeats = [path for path in place.iterdir() if re.fullmatch(rf"{re.escape(stem.name)}\d{{1,9}}\.md", path.name)]
    return min(repeats, key=lambda path: int(path.stem[len(stem.name) :]), default=None)


def official(pages: Sequence[tuple[Sample, Marks]]) -> dict[str, Any]:
    """Passed and all tests of each file, their ratio, and the mean of the ratios, ``average_score``."""
    passed, ran = defaultdict[str, float](float), defaultdict[str, float](float)
    for _, marks in pages:
        for part in marks.scores["pass_rate"]:
            passed[part.stratum] += part.total
            ran[part.stratum] += part.weight
    rates = {file: passed[file] / ran[file] for file in sorted(ran)}
    return {
        "average_score": sum(rates.values()) / len(rates) if rates else None,
        "files": {
            file: {"pass_rate": rate, "passed": int(passed[file]), "tests": int(ran[file])}
            for file, rate in rates.items()
        },
    }


def _read(files: Sequence[Path]) -> dict[tuple[str, int], list[Case]]:
    """The tests of each page of each PDF."""
    cases: dict[tuple[str, int], list[Case]] = defaultdict(list)
    unknown = Counter[str]()
    for path in files:
        for line, row in read_jsonl(path):
            where = f"line {line}"
            pdf, page = row.get("pdf"), row.get("page")
            if not isinstance(pdf, str) or not pdf or not _is_inside(pdf):
                raise wrong_schema(path, where, "names no PDF inside the dataset")
            if not isinstance(page, int) or isinstance(page, bool) or page < 1:
                raise wrong_schema(path, where, "has no page number from 1")
            try:
                case = read_case(row, path.stem)
            except ValueError as error:
                raise wrong_schema(path, where, str(error)) from None
            if case is None:
                unknown[str(row.get("type"))] += 1
            else:
                cases[pdf, page].append(case)
    if unknown:
        kinds = printable(", ".join(sorted(unknown)))
        log.warning("tests of unknown types are left out: %d (%s)", sum(unknown.values()), kinds)
    return cases


def _is_inside(pdf: str) -> bool:
    """A name that ends in the folder it should: predictions are looked for under it too."""
    path = PurePosixPath(pdf)
    return not path.is_absolute() and ".." not in path.parts and "\\" not in pdf and "\0" not in pdf


def _leave_out_missing(cases: dict[tuple[str, int], list[Case]], pdfs: Path, listed: Collection[str]) -> None:
    missing = sorted({pdf for pdf, _ in cases if pdf not in listed and not (pdfs / pdf).is_file()})
    if missing:
        log.warning("PDFs that are not there are left out: %d, the first is %s", len(missing), printable(missing[0]))
    gone = set(missing)
    for key in [key for key in cases if key[0] in gone]:
        del cases[key]


def _add_baselines(cases: dict[tuple[str, int], list[Case]], pdfs: Path, listed: Collection[str]) -> None:
    there = (path.relative_to(pdfs).as_posix() for path in pdfs.rglob("*.pdf"))
    names = {*(pdf for pdf, _ in cases), *there, *listed}
    having = {pdf for (pdf, _), of_page in cases.items() if any(case.kind == "baseline" for case in of_page)}
    for pdf in names - having:
        cases.setdefault((pdf, 1), []).append(Case(BASELINE, "baseline", Baseline()))


def _sample(pdf: str, page: int, pdfs: Path, cases: Sequence[Case]) -> Sample:
    files = list(dict.fromkeys(case.file for case in cases if case.file != BASELINE)) or [BASELINE]
    name = PurePosixPath(pdf).with_suffix("").as_posix()
    text = "\n".join(map(describe, cases))
    return Sample(f"{name}_pg{page}_repeat1", pdfs / pdf, cases, text, page, {"file": files})
