"""Which dataset is meant, what it needs, and which of its samples are read."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from functools import partial
from importlib.util import find_spec
from pathlib import Path

from rtprune_cli.bench.accuracy.datasets.base import Dataset, Sample
from rtprune_cli.errors import EnvironmentFault, UsageError

SYNTHETIC = "synthetic"
DATASETS = ("omnidocbench", "ocean-ocr", "olmocr-bench", "folder", SYNTHETIC)
# Packages of the extra [bench] without which results are not written, and those of each dataset.
NEEDED = ("matplotlib",)
NEEDED_BY = {
    "omnidocbench": ("scipy", "apted", "lxml", "bs4", "pylatexenc"),
    "ocean-ocr": ("jieba", "nltk"),
    "olmocr-bench": ("bs4", "fuzzysearch"),
}


def open_dataset(name: str, data: Path | None, *, images: bool = True, rules: str | None = None) -> Dataset:
    """The dataset ``name`` in the folder ``data``; ``images`` False where predictions are there already.

    ``rules``: of which evaluator, where the dataset has several (OmniDocBench); None: those of the data's version.

    Raises:
        UsageError: no such dataset, no folder, no such rules.
        InputError: the folder holds something else.
        EnvironmentFault: a package is missing.
    """
    check_packages(name)
    if data is None:
        raise UsageError(f"the dataset {name} needs a folder", "Give it with --data")
    return _opener(name, rules)(data, images)


def check_packages(name: str) -> None:
    """Raises UsageError for an unknown dataset, EnvironmentFault where a package is missing."""
    if name not in DATASETS:
        raise UsageError(f"unknown dataset {name!r}", f"Use one of {', '.join(DATASETS)}")
    if missing := [package for package in (*NEEDED, *NEEDED_BY.get(name, ())) if find_spec(package) is None]:
        raise EnvironmentFault(
            f"the benchmark needs {', '.join(missing)}", "Install the extra: pip install 'rtprune[bench]'"
        )


def _opener(name: str, rules: str | None) -> Callable[[Path, bool], Dataset]:
    if name == "omnidocbench":
        from rtprune_cli.bench.accuracy.datasets.omnidocbench import open_omnidocbench

        return partial(open_omnidocbench, rules=rules)
    if name == "ocean-ocr":
        from rtprune_cli.bench.accuracy.datasets.ocean_ocr import open_ocean_ocr

        return open_ocean_ocr
    if name == "olmocr-bench":
        from rtprune_cli.bench.accuracy.datasets.olmocr_bench import open_olmocr_bench

        return open_olmocr_bench
    from rtprune_cli.bench.accuracy.datasets.folder import open_folder

    return open_folder


def choose_samples(samples: Sequence[Sample], limit: int | None, seed: int) -> list[Sample]:
    """All samples, or ``limit`` of them by chance, in their order."""
    if limit is None or limit >= len(samples):
        return list(samples)
    chosen = set(random.Random(seed).sample(range(len(samples)), limit))
    return [sample for number, sample in enumerate(samples) if number in chosen]
