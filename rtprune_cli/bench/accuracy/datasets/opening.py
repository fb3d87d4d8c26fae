"""Which dataset is meant, what it needs, and which of its samples are read."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TypeVar

from rtprune_cli.bench.accuracy.datasets.base import Dataset
from rtprune_cli.bench.accuracy.datasets.published import PUBLISHED, REVISION_FLAG, published
from rtprune_cli.errors import EnvironmentFault, UsageError
from rtprune_cli.packages import missing, pip_install

T = TypeVar("T")

FOLDER, SYNTHETIC = "folder", "synthetic"
DATASETS = ("omnidocbench", "ocean-ocr", "olmocr-bench", FOLDER, SYNTHETIC)
# Packages of the extra [bench] that a dataset's metrics cannot do without.
NEEDED_BY = {
    "omnidocbench": ("scipy", "apted", "lxml", "beautifulsoup4", "pylatexenc"),
    "ocean-ocr": ("jieba", "nltk"),
    "olmocr-bench": ("beautifulsoup4", "lxml", "fuzzysearch"),
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
    check_place(name, data)
    assert data is not None
    return _opener(name, rules)(data, images)


def check_place(name: str, data: Path | None, revision: str | None = None) -> None:
    """Raises UsageError where neither a folder nor the hub has the dataset, or where both are meant."""
    if revision is not None and (data is not None or name not in PUBLISHED):
        raise UsageError(
            f"{REVISION_FLAG} is for datasets of the hub",
            f"Leave it out, or give {' or '.join(PUBLISHED)} and no --data",
        )
    if data is None and name == FOLDER:
        raise UsageError(f"the dataset {name} needs a folder", "Give it with --data")
    if data is None and name != SYNTHETIC:
        published(name)


def check_packages(name: str) -> None:
    """Raises UsageError for an unknown dataset, EnvironmentFault where a package is missing."""
    if name not in DATASETS:
        raise UsageError(f"unknown dataset {name!r}", f"Use one of {', '.join(DATASETS)}")
    if absent := missing(*NEEDED_BY.get(name, ())):
        raise EnvironmentFault(f"the benchmark needs {', '.join(absent)}", f"Install: {pip_install(*absent)}")


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


def choose_samples(samples: Sequence[T], limit: int | None, by_chance: int | None, seed: int) -> list[T]:
    """The first ``limit`` samples, or that many of them ``by_chance``, in their order; all where both are None."""
    if by_chance is None or by_chance >= len(samples):
        return list(samples[:limit])
    chosen = set(random.Random(seed).sample(range(len(samples)), by_chance))
    return [sample for number, sample in enumerate(samples) if number in chosen]
