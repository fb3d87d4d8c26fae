"""Owns which datasets are on the Hugging Face hub, and getting them from there: no more than what is read of them."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from rtprune_cli.bench.accuracy.datasets.base import Dataset, Sample
from rtprune_cli.errors import HubError, InputError, UsageError
from rtprune_cli.hub.cache import CachedRevision, cached_revisions, delete
from rtprune_cli.hub.repository import Repository
from rtprune_cli.hub.snapshot import Snapshot, open_snapshot
from rtprune_cli.inputs.formats import printable
from rtprune_cli.logs import NOTICE

log = logging.getLogger("rtprune")

REVISION_FLAG = "--dataset-revision"
ANNOTATIONS = "annotations"  # what the files are called that are fetched first
# How a dataset is opened where only its annotations are here: their folder, the paths that the hub has, and by whose
# rules it is scored, where it has several.
Opener = Callable[[Path, Collection[str], str | None], Dataset]


@dataclass(frozen=True)
class PublishedDataset:
    """A dataset on the hub. ``annotations`` and ``pages`` are patterns of the files that are read; ``revision`` is
    what is read unless another is asked for, None: the newest; ``open`` makes samples of the annotations alone."""

    repository: Repository
    annotations: tuple[str, ...]
    pages: tuple[str, ...]
    pages_are: str
    revision: str | None
    open: Opener


def _open_omnidocbench(folder: Path, paths: Collection[str], rules: str | None) -> Dataset:
    from rtprune_cli.bench.accuracy.datasets.omnidocbench import open_omnidocbench

    return open_omnidocbench(folder, images=False, rules=rules)


def _open_olmocr_bench(folder: Path, paths: Collection[str], rules: str | None) -> Dataset:
    from rtprune_cli.bench.accuracy.datasets.olmocr_bench import INNER, PDFS, open_olmocr_bench

    root = f"{INNER}/{PDFS}/"
    listed = {path.removeprefix(root) for path in paths if path.startswith(root) and path.endswith(".pdf")}
    return open_olmocr_bench(folder, images=False, listed=listed)


PUBLISHED = {
    "omnidocbench": PublishedDataset(
        Repository(
            "opendatalab/OmniDocBench",
            "dataset",
            pull="rtprune datasets pull omnidocbench",
            flag=REVISION_FLAG,
            # The repository has no tags, and main moves: the head of the branch v1_5, and the commit "add v1.6".
            releases={
                "v1.5": "91fe284bbfacfa687959ae3eb00846ca852aa907",
                "v1.6": "d386947f7fc3bafdcd756c8485845a2f43a19875",
            },
            or_else="Or give rtprune bench a folder with --data",
            other_revision=f"Leave {REVISION_FLAG} out for v1.5, or give v1.6, a branch such as main, or a commit",
            other_name="Give rtprune bench a folder with --data",
            terms="OmniDocBench is for research use only, not for commercial use",
        ),
        annotations=("OmniDocBench.json",),
        pages=("images/*",),
        pages_are="page images",
        revision="v1.5",  # that of the paper's figures
        open=_open_omnidocbench,
    ),
    "olmocr-bench": PublishedDataset(
        Repository(
            "allenai/olmOCR-bench",
            "dataset",
            pull="rtprune datasets pull olmocr-bench",
            flag=REVISION_FLAG,
            or_else="Or give rtprune bench a folder with --data",
            other_revision=f"Leave {REVISION_FLAG} out for the newest",
            other_name="Give rtprune bench a folder with --data",
            terms="olmOCR-Bench is under ODC-BY: name its source where results are published",
        ),
        annotations=("bench_data/*.jsonl",),
        pages=("bench_data/pdfs/*.pdf",),
        pages_are="PDFs",
        revision=None,
        open=_open_olmocr_bench,
    ),
}
REVISION_HELP = (
    "Release ("
    + "; ".join(
        f"{name}: {', '.join(found.repository.releases)}" for name, found in PUBLISHED.items() if found.revision
    )
    + "), branch, tag or commit.  [default: "
    + ", ".join(f"{found.revision} of {name}" for name, found in PUBLISHED.items() if found.revision)
    + ", else the newest]"
)
# Public datasets that are elsewhere: how to get them.
ELSEWHERE = {"ocean-ocr": "git clone https://github.com/guoxy25/Ocean-OCR, then give --data Ocean-OCR"}


def published(name: str) -> PublishedDataset:
    """The dataset of a name.

    Raises:
        UsageError: it is not on the hub.
    """
    if name in ELSEWHERE:
        raise UsageError(f"the dataset {name} is not on the hub", f"Get it by: {ELSEWHERE[name]}")
    if name not in PUBLISHED:
        raise UsageError(f"no dataset {name!r} on the hub", f"Use one of {', '.join(PUBLISHED)}")
    return PUBLISHED[name]


def open_published(
    name: str,
    revision: str | None,
    choose: Callable[[Sequence[Sample]], list[Sample]],
    *,
    images: bool = True,
    offline: bool = False,
    rules: str | None = None,
) -> Dataset:
    """A dataset of the hub with the samples that ``choose`` takes, whose pages alone are fetched; ``images`` False:
    not even those. ``rules``: as of :func:`open_dataset`.

    Raises:
        HubError: it cannot be had.
        EnvironmentFault: the disk has no room for it.
        InputError: it is of another form, or lacks pages.
    """
    found = published(name)
    snapshot = _annotations(found, revision, offline=offline)
    dataset = found.open(snapshot.folder, snapshot.sizes or (), rules)
    samples = choose(dataset.samples)
    if images:
        _fetch_pages(found, snapshot, samples)
    log.log(NOTICE, "%s %s is read, %s at %s", name, dataset.version, found.repository.id, snapshot.commit[:12])
    release = replace(dataset.release, repository=found.repository.id, revision=snapshot.commit)
    return replace(dataset, samples=samples, release=release)


def complete_revisions() -> list[str]:
    """The releases that have names of their own."""
    return sorted({release for found in PUBLISHED.values() for release in found.repository.releases})


def pull_dataset(name: str, revision: str | None) -> Path:
    """Fetch all of a dataset that is read; its folder.

    Raises:
        UsageError: it is not on the hub.
        HubError: it cannot be had.
        EnvironmentFault: the disk has no room for it.
    """
    found = published(name)
    snapshot = _annotations(found, revision)
    if snapshot.sizes is None:
        raise HubError(
            f"the hub cannot be reached: {found.repository.id} may be here in part", "Try again with a network"
        )
    snapshot.need(snapshot.matching(found.pages), found.pages, found.pages_are)
    return snapshot.folder


def dataset_folder(name: str, revision: str | None) -> Path:
    """The folder of a dataset that is here, in whole or in part; nothing is fetched.

    Raises:
        UsageError: it is not on the hub.
        HubError: it is not here.
    """
    return _annotations(published(name), revision, offline=True).folder


def cached_datasets() -> list[tuple[str, CachedRevision]]:
    """What is here of the datasets on the hub, each with its name."""
    return [
        (name, each) for name, found in PUBLISHED.items() for each in cached_revisions("dataset", found.repository.id)
    ]


def remove_dataset(name: str) -> int:
    """Delete every revision of a dataset from the cache; the bytes freed.

    Raises:
        UsageError: it is not on the hub, or not here.
    """
    here = list(cached_revisions("dataset", published(name).repository.id))
    if not here:
        raise UsageError(f"the dataset {name} is not in the cache", "See: rtprune datasets list")
    return delete(here)


def _annotations(found: PublishedDataset, revision: str | None, *, offline: bool = False) -> Snapshot:
    return open_snapshot(found.repository, revision or found.revision, found.annotations, ANNOTATIONS, offline=offline)


def _fetch_pages(found: PublishedDataset, snapshot: Snapshot, samples: Sequence[Sample]) -> None:
    paths = list(dict.fromkeys(sample.source.relative_to(snapshot.folder).as_posix() for sample in samples))
    if snapshot.sizes is not None and (absent := [path for path in paths if path not in snapshot.sizes]):
        first = printable(absent[0])
        raise InputError(
            f"{found.repository.id} lacks {len(absent)} of {len(paths)} {found.pages_are}, first {first}",
            found.repository.other_revision,
        )
    snapshot.need(paths, found.pages, found.pages_are)
