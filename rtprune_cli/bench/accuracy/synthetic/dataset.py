"""Owns the synthetic pages as a dataset: made where they are missing, then opened as any folder of pages is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from rtprune_cli.bench.accuracy.datasets.base import Dataset
from rtprune_cli.bench.accuracy.datasets.files import fingerprint
from rtprune_cli.bench.accuracy.datasets.folder import open_folder
from rtprune_cli.bench.accuracy.datasets.opening import SYNTHETIC
from rtprune_cli.bench.accuracy.synthetic.write import MIXED, known_layouts, make_pages, page_name


def open_synthetic(
    folder: Path, count: int, seed: int, sheet: str, layouts: Sequence[str] = (), words: str = MIXED
) -> Dataset:
    """The first ``count`` pages of a seed, in ``folder``, where more of them may be already.

    Raises:
        UsageError: unknown sheet, layout or words, or the folder has something else in it.
        OutputError: it cannot be written.
    """
    layouts = known_layouts(layouts, sheet)
    make_pages(folder, count, seed, sheet, layouts, words)
    names = [page_name(number, layouts) for number in range(count)]
    dataset = open_folder(folder, True)
    by_name = {sample.id: sample for sample in dataset.samples}
    return replace(
        dataset,
        name=SYNTHETIC,
        title=f"synthetic pages, sheet {sheet}, seed {seed}",
        version=fingerprint(folder / f"{name}.txt" for name in names),
        samples=[by_name[name] for name in names],
        about=(
            f"Synthetic pages: sheet {sheet}, words {words}, seed {seed}, layouts {', '.join(layouts)}.",
            *dataset.about,
        ),
    )
