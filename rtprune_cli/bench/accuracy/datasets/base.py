"""What a dataset is to the benchmark: samples with their truth, and how a prediction for one is scored."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from rtprune_cli.bench.scoring.records import Marks, Metric


@dataclass(frozen=True)
class Sample:
    """One page with its truth.

    ``id`` is unique in the dataset, a relative POSIX path without ``..`` and without suffix: the prediction's file is
    the id and ``.md``. ``source`` is the image or PDF, of which ``page`` is read, from 1. ``groups``: what intervals
    are given for, name -> value or values (``{"layout": "two_columns", "language": "english"}``). ``truth`` is the
    dataset's own, picklable; ``text`` is the truth as a reader is shown it.
    """

    id: str
    source: Path
    truth: Any
    text: str
    page: int = 1
    groups: Mapping[str, str | Sequence[str]] = field(default_factory=dict)


@dataclass(frozen=True)
class Release:
    """Where a dataset's files came from: ``repository`` of the hub at a commit, ``revision``, both None for a folder.

    ``annotations``: the first 12 digits of the SHA-256 of the file of annotations, None where the dataset's version is
    a fingerprint itself.
    """

    repository: str | None = None
    revision: str | None = None
    annotations: str | None = None


@dataclass(frozen=True)
class Dataset:
    """Samples in a fixed order and what is measured on them.

    ``metrics`` in the order of the table; ``headline`` names those whose accuracies' mean is the accuracy, of a page
    and of a configuration; ``accuracy_is`` says more of that mean, and ``accuracy_name`` is a name that it goes by.
    ``score`` is a module-level function, so that worker processes can call it: (truth, prediction) -> marks, where
    the prediction is markdown, or None where there is none. ``find`` gives the prediction file of a sample in a folder
    of somebody else's, or None. ``official`` makes the benchmark's own totals of all pages' marks; None where the
    benchmark has none beyond the metrics. ``about`` says where definitions and numbers come from, a line each, for the
    report. ``render`` adds what takes pictures of formulas to all pages' marks, and gives them back in order; ``score``
    left the formulas in ``details``. Its folder keeps pictures from one run to the next. ``rendered`` says of the last
    call how that was done and with what, for the report; nothing where there was nothing to draw. ``version`` is what
    the annotations say or are, ``release`` where they came from. ``title`` is what people call it; by default its name
    and version.
    """

    name: str
    version: str
    samples: Sequence[Sample]
    metrics: Sequence[Metric]
    headline: Sequence[str]
    score: Callable[[Any, str | None], Marks]
    find: Callable[[Path, Sample], Path | None]
    official: Callable[[Sequence[tuple[Sample, Marks]]], dict[str, Any]] | None = None
    about: Sequence[str] = ()
    accuracy_is: str | None = None
    accuracy_name: str | None = None
    slow: bool = False  # scoring a page takes long enough to use every core
    render: Callable[[Sequence[Marks], Path], Iterator[Marks]] | None = None
    rendered: Callable[[], Mapping[str, str]] = dict
    release: Release = Release()
    title: str = ""

    @property
    def identity(self) -> dict[str, str | None]:
        """Which data this is, for results and reports."""
        return {"name": self.name, "version": self.version, **asdict(self.release)}


def by_id(folder: Path, sample: Sample) -> Path | None:
    """The prediction as this tool writes it: the sample's id and ``.md``."""
    path = folder / f"{sample.id}.md"
    return path if path.is_file() else None
