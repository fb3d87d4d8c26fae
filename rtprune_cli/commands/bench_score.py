"""The command `rtprune bench score`: predictions that are there already."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from rtprune_cli.bench.accuracy.datasets import SYNTHETIC
from rtprune_cli.bench.accuracy.plan import BASELINE, AccuracyPlan, Configuration
from rtprune_cli.commands.bench_shared import (
    PAGES,
    Above,
    Below,
    Chance,
    Data,
    DatasetName,
    DatasetRevision,
    DatasetSource,
    Limit,
    OutputFolder,
    Resamples,
    RulesOf,
    Seed,
    Worst,
    parse_gates,
    tell,
)
from rtprune_cli.commands.flags import Quiet, Verbose, flag, option
from rtprune_cli.commands.frame import refuse_urls, reporting
from rtprune_cli.errors import ExitCode, UsageError
from rtprune_cli.options import InputOptions, LogOptions

SHORTEST = "rtprune bench score --dataset folder --data PAGES --predictions FOLDER"


def score(
    dataset: DatasetName = None,
    data: Data = None,
    dataset_revision: DatasetRevision = None,
    offline: Annotated[bool, option("offline")] = False,
    wait: Annotated[bool, option("wait")] = False,
    rules: RulesOf = None,
    predictions: Annotated[
        list[Path] | None,
        flag("dataset", "--predictions", metavar="FOLDER", help="Markdown files to score. Can be repeated."),
    ] = None,
    baseline: Annotated[
        Path | None,
        flag("dataset", "--baseline", metavar="FOLDER", help="Predictions to which the others are compared."),
    ] = None,
    folder: OutputFolder = None,
    limit: Limit = None,
    sample: Chance = None,
    seed: Seed = AccuracyPlan.seed,
    resamples: Resamples = AccuracyPlan.resamples,
    worst: Worst = AccuracyPlan.worst,
    fail_above: Above = None,
    fail_below: Below = None,
    quiet: Quiet = False,
    verbose: Verbose = 0,
) -> None:
    """Score readings that are there already; no model is run.

    A prediction is named as its page: X.md for X.png. A folder that `rtprune ocr` wrote will do.
    """
    log_options = LogOptions(quiet, verbose)
    with reporting(log_options):
        refuse_urls(predictions, baseline, data, folder)
        plan = AccuracyPlan(limit=limit, sample=sample, seed=seed, resamples=resamples, worst=worst)
        where = DatasetSource(dataset, data, folder, None, (), dataset_revision, rules=rules, shortest=SHORTEST)
        gates = fail_above or [], fail_below or []
        raise typer.Exit(_score(plan, where, predictions or [], baseline, offline, wait, log_options, *gates))


def _score(
    plan: AccuracyPlan,
    source: DatasetSource,
    predictions: Sequence[Path],
    baseline: Path | None,
    offline: bool,
    wait: bool,
    log_options: LogOptions,
    above: Sequence[str],
    below: Sequence[str],
) -> ExitCode:
    from rtprune_cli.bench.accuracy.run import Comparison, own_folder, score_predictions

    if source.name == SYNTHETIC:
        raise UsageError(
            f"the dataset {SYNTHETIC} is made, not scored",
            f"Give --dataset folder and --data OUTPUT/{PAGES} of its run",
        )
    if not predictions and baseline is None:
        raise UsageError("no predictions to score", "Give their folder with --predictions")
    folders = {BASELINE: baseline} if baseline is not None else {}
    folders |= _named(predictions)
    configurations = [Configuration(name, BASELINE if name == BASELINE else "predictions") for name in folders]
    source.check()
    dataset = source.open(plan, offline=offline, images=False)
    folder = source.folder("-scores")
    comparison = Comparison(folder, plan, configurations, parse_gates(dataset, above, below, timed=None))
    with own_folder(folder, wait=wait):
        summary = score_predictions(dataset, folders, comparison, InputOptions(), log_options)
    return tell(summary, comparison, log_options)


def _named(folders: Sequence[Path]) -> dict[str, Path]:
    """Folders by their own name, or by their path where that is no name or not one alone."""
    names = [folder.name for folder in folders]
    return {
        name if name not in ("", BASELINE) and names.count(name) == 1 else str(folder): folder
        for name, folder in zip(names, folders, strict=True)
    }
