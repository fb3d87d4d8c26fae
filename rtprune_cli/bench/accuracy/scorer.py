"""Owns the scoring of many predictions: in this process, or in one for each core where a page takes long."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass
from itertools import starmap
from pathlib import Path
from typing import Any

from rtprune_cli.bench.accuracy.datasets.base import Dataset
from rtprune_cli.bench.accuracy.datasets.files import read_text
from rtprune_cli.bench.scoring.records import Marks
from rtprune_cli.prepare import available_cores

FEW_PAGES = 40  # take less time than it takes to start processes
CHUNK = 8  # pages that go to a process at once


@dataclass(frozen=True)
class Task:
    """A prediction to score against its truth; without a ``path`` the page has none."""

    truth: Any
    path: Path | None


def score(dataset: Dataset, tasks: Sequence[Task], pictures: Path) -> Generator[Marks]:
    """The marks of each task, in order; close it, as it may hold a browser. ``pictures`` is the folder for what
    :attr:`Dataset.render` keeps.

    Raises:
        InputError: a prediction cannot be read, or is not UTF-8.
    """
    marks = _score_texts(dataset, tasks)
    yield from marks if dataset.render is None else dataset.render(list(marks), pictures)


def _score_texts(dataset: Dataset, tasks: Sequence[Task]) -> Iterator[Marks]:
    arguments = [(dataset.score, task) for task in tasks]
    processes = min(available_cores(), len(tasks) // FEW_PAGES) if dataset.slow else 0
    if processes < 2:
        yield from starmap(_score, arguments)
        return
    from loky import ProcessPoolExecutor

    with ProcessPoolExecutor(processes) as pool:
        yield from pool.map(_score, *zip(*arguments, strict=True), chunksize=CHUNK)


def _score(score: Callable[[Any, str | None], Marks], task: Task) -> Marks:
    return score(task.truth, None if task.path is None else read_text(task.path))
