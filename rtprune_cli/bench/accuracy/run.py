"""Owns a benchmark of accuracy from its dataset to its files: read or found predictions, scored, compared, written."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from PIL import Image

from rtprune_cli.bench.accuracy.datasets import choose_samples
from rtprune_cli.bench.accuracy.datasets.base import Dataset, Sample
from rtprune_cli.bench.accuracy.datasets.files import read_text
from rtprune_cli.bench.accuracy.gates import Gate
from rtprune_cli.bench.accuracy.html import comparison_page
from rtprune_cli.bench.accuracy.plan import AccuracyPlan, Configuration
from rtprune_cli.bench.accuracy.progress import showing
from rtprune_cli.bench.accuracy.reader import SampleOutcome, SampleReader, page_image
from rtprune_cli.bench.accuracy.readings import Readings
from rtprune_cli.bench.accuracy.rows import Row, SampleStatus, write_rows
from rtprune_cli.bench.accuracy.scorer import Task, score
from rtprune_cli.bench.accuracy.summary import summarise
from rtprune_cli.bench.accuracy.timing import Timings, take_times
from rtprune_cli.bench.scoring.records import Marks
from rtprune_cli.commandline import command_line
from rtprune_cli.errors import UsageError
from rtprune_cli.logs import NOTICE
from rtprune_cli.model import Checkpoint
from rtprune_cli.options import InputOptions, LogOptions, ResolvedOptions
from rtprune_cli.outputs.layout import STATE
from rtprune_cli.outputs.lock import FolderLock
from rtprune_cli.pipeline import run_settings
from rtprune_cli.records import PageRecord
from rtprune_cli.report.facts import TIMED, machine_facts, now, versions
from rtprune_cli.storage import atomic_write, make_folder, to_json

log = logging.getLogger("rtprune")

RESULTS, SUMMARY, REPORT = "results.jsonl", "summary.json", "report.html"
PICTURES = "formulas"  # the folder of rendered formulas, below that of the run's state


@dataclass(frozen=True)
class Prediction:
    """What a sample got under a configuration. ``shown`` is the file's path as results name it."""

    configuration: Configuration
    sample: Sample
    status: SampleStatus
    path: Path | None = None
    shown: str | None = None
    page: PageRecord | None = None


@dataclass(frozen=True)
class Comparison:
    """How predictions are compared, and the folder where results go."""

    folder: Path
    plan: AccuracyPlan
    configurations: Sequence[Configuration]
    gates: Sequence[Gate] = ()
    started: str = field(default_factory=now)


@contextmanager
def own_folder(folder: Path, *, wait: bool = False) -> Iterator[None]:
    """The output folder, made, for one run at a time.

    Raises:
        OutputError: another run has it, or it cannot be written.
    """
    make_folder(folder / STATE)
    lock = FolderLock(folder / STATE, wait=wait)
    lock.acquire(folder)
    try:
        yield
    finally:
        lock.release()


def read_and_compare(
    dataset: Dataset,
    checkpoint: Checkpoint,
    options: ResolvedOptions,
    comparison: Comparison,
    log_options: LogOptions,
) -> dict[str, Any]:
    """Read a dataset under every configuration and compare; what an earlier run has read is not read again.

    Raises:
        OutputError: something cannot be written; what was read before stays.
        EnvironmentFault: the model cannot be loaded, or the GPU failed.
    """
    folder, configurations, samples = comparison.folder, comparison.configurations, dataset.samples
    with Readings(folder) as readings:
        reader = SampleReader(samples, configurations, checkpoint, options, readings)
        if before := len(samples) * len(configurations) - reader.pages:
            log.log(NOTICE, "%d pages were read before; --force reads them again", before)
        with showing(reader.pages, log_options) as tell:
            found = {(o.configuration.name, o.sample.id): _read(o, folder) for o in reader.read(tell)}
    timings: Timings = {}
    if options.measure_baseline:
        timed = choose_samples(samples, None, comparison.plan.timed_pages, comparison.plan.seed)
        with showing(len(timed), log_options) as tell:
            timings = take_times(reader.load(tell), timed, configurations, reader.options, tell)
    predictions = [found[configuration.name, sample.id] for configuration in configurations for sample in samples]
    run = run_settings(checkpoint, options)
    run.pop("output")
    shared = {name: value for name, value in run.items() if name not in ("model", "prune", "versions")}
    shared["mode"] = ", ".join(comparison.plan.modes) or shared["mode"]
    facts = {"machine": machine_facts(checkpoint.device), "model": run["model"], "settings": shared}
    common = {
        each.name: {
            "dataset": dataset.identity,
            "method": each.method,
            "ratio": each.ratio,
            "seed": comparison.plan.seed,
            "settings": {**shared, "mode": each.mode or shared["mode"], "prune": each.settings},
            "model": run["model"],
            "versions": run["versions"],
        }
        for each in configurations
    }
    return _compare(dataset, predictions, common, facts, comparison, options.input, log_options, timings)


def score_predictions(
    dataset: Dataset,
    folders: Mapping[str, Path],
    comparison: Comparison,
    input_options: InputOptions,
    log_options: LogOptions,
) -> dict[str, Any]:
    """Score the predictions in folders; ``folders`` has one for each configuration, by its name.

    Raises:
        UsageError: a folder is missing, or holds no prediction for any sample.
        InputError: a prediction is not UTF-8.
    """
    predictions = []
    for configuration in comparison.configurations:
        folder = folders[configuration.name]
        if not folder.is_dir():
            raise UsageError(f"no folder {str(folder)!r}", "Give the folder of the predictions")
        paths = [dataset.find(folder, sample) for sample in dataset.samples]
        if not any(paths):
            example = f"{dataset.samples[0].id}.md" if dataset.samples else "NAME.md"
            raise UsageError(
                f"no prediction for {dataset.name} in {str(folder)!r}", f"Files are named as the pages are: {example}"
            )
        if missing := paths.count(None):
            log.warning("%d of %d pages have no prediction in %r", missing, len(paths), str(folder))
        predictions += [
            Prediction(configuration, sample, "ok" if path else "missing", path, None if path is None else str(path))
            for sample, path in zip(dataset.samples, paths, strict=True)
        ]
    common = {
        each.name: {
            "dataset": dataset.identity,
            "method": each.method,
            "predictions": str(folders[each.name]),
            "versions": versions(TIMED),
        }
        for each in comparison.configurations
    }
    return _compare(dataset, predictions, common, {}, comparison, input_options, log_options, {})


def _read(outcome: SampleOutcome, folder: Path) -> Prediction:
    reading = outcome.reading
    if reading is None:
        return Prediction(outcome.configuration, outcome.sample, "failed", page=outcome.failure)
    path = folder / reading.path
    return Prediction(outcome.configuration, outcome.sample, "ok", path, reading.path, reading.page)


def _compare(
    dataset: Dataset,
    predictions: Sequence[Prediction],
    common: Mapping[str, Mapping[str, Any]],
    facts: Mapping[str, Any],
    comparison: Comparison,
    input_options: InputOptions,
    log_options: LogOptions,
    timings: Timings,
) -> dict[str, Any]:
    """Score, summarise, and write the three files."""
    marks = []
    tasks = [Task(each.sample.truth, each.path) for each in predictions]
    with (
        showing(len(predictions), log_options) as tell,
        closing(score(dataset, tasks, comparison.folder / STATE / PICTURES)) as scored,
    ):
        for each in scored:
            marks.append(each)
            tell("scoring", 1)
    rows = [
        Row(p.configuration.name, p.sample.id, p.sample.groups, p.status, m, p.page, p.shown)
        for p, m in zip(predictions, marks, strict=True)
    ]
    facts = {
        "command": command_line(),
        "started": comparison.started,
        "versions": versions(TIMED),
        **facts,
    }
    official = _official(dataset, predictions, marks)
    summary = summarise(
        dataset,
        comparison.configurations,
        rows,
        seed=comparison.plan.seed,
        resamples=comparison.plan.resamples,
        gates=comparison.gates,
        timings=timings,
        facts=facts,
        official=official,
    )
    folder = comparison.folder
    write_rows(folder / RESULTS, rows, common)
    atomic_write(folder / SUMMARY, to_json(summary, indent=1))
    by_key = {(p.configuration.name, p.sample.id): p for p in predictions}
    samples = {p.sample.id: p.sample for p in predictions}

    def text(configuration: str, sample: str) -> str | None:
        prediction = by_key[configuration, sample]
        return None if prediction.path is None else read_text(prediction.path)

    def picture(sample: str) -> Image.Image | None:
        page = page_image(samples[sample], input_options)
        return None if page is None else page.image

    page = comparison_page(
        summary,
        rows,
        image=picture,
        text=text,
        truth=lambda sample: samples[sample].text,
        worst=comparison.plan.worst,
    )
    atomic_write(folder / REPORT, page.encode())
    return summary


def _official(
    dataset: Dataset, predictions: Sequence[Prediction], marks: Sequence[Marks]
) -> dict[str, dict[str, Any]] | None:
    """The benchmark's own totals, by configuration."""
    if dataset.official is None:
        return None
    pages: dict[str, list[tuple[Sample, Marks]]] = {}
    for prediction, mark in zip(predictions, marks, strict=True):
        pages.setdefault(prediction.configuration.name, []).append((prediction.sample, mark))
    return {name: dataset.official(found) for name, found in pages.items()}
