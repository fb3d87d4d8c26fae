"""The command `rtprune bench`: flags -> plan, gates -> exit code."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace
from typing import Annotated, Any, get_args

import typer

from rtprune_cli.bench.accuracy.datasets import SYNTHETIC
from rtprune_cli.bench.accuracy.plan import METHODS, VARIANTS, AccuracyPlan, values
from rtprune_cli.commands.bench_shared import (
    Above,
    Below,
    Chance,
    Data,
    DatasetName,
    DatasetRevision,
    DatasetSource,
    Layouts,
    Limit,
    OutputFolder,
    Resamples,
    RulesOf,
    Seed,
    SheetName,
    Worst,
    parse_gates,
    tell,
)
from rtprune_cli.commands.completing import list_of
from rtprune_cli.commands.completing import ratios as offered_ratios
from rtprune_cli.commands.flags import VIEW_SIDES_HELP, Config, Given, flag, view_modes, with_settings, words
from rtprune_cli.commands.frame import resolved
from rtprune_cli.errors import ExitCode, UsageError
from rtprune_cli.logs import NOTICE
from rtprune_cli.options import (
    MODES,
    WITH_VARIANTS,
    Importance,
    LogOptions,
    Merge,
    Mode,
    OcrOptions,
    OutputOptions,
    RatioTerms,
)

log = logging.getLogger("rtprune")


# Settings of `rtprune ocr` that concern the reading of a page by a given method; the method itself is compared.
SETTINGS = (
    "model", "revision", "offline", "device", "dtype", "mode", "prompt", "measure_baseline", "dpi", "max_pixels",
    "workers", "max_new_tokens", "no_repeat_ngram", "no_repeat_window", "batch_size", "memory_fraction", "cuda_graphs",
    "kernels", "loop_window", "force", "wait", "quiet", "verbose", "log_format",
)  # fmt: skip


@with_settings(*SETTINGS)
def accuracy(
    context: typer.Context,
    given: Given,
    dataset: DatasetName = None,
    data: Data = None,
    dataset_revision: DatasetRevision = None,
    rules: RulesOf = None,
    folder: OutputFolder = None,
    modes: Annotated[
        str,
        flag(
            "comparison", "--modes", metavar="LIST",
            help=f"Modes to compare.  [of {'|'.join(MODES)}|side-N; default: as --mode]", autocompletion=list_of(MODES),
        ),
    ] = "",
    view_sides: Annotated[
        str, flag("comparison", "--view-sides", metavar="LIST", help=VIEW_SIDES_HELP, rare=True)
    ] = "",
    methods: Annotated[
        str,
        flag(
            "comparison", "--methods", metavar="LIST", help=f"Methods to compare.  [of {'|'.join(METHODS)}]",
            autocompletion=list_of(METHODS),
        ),
    ] = ",".join(AccuracyPlan.methods),
    ratios: Annotated[
        str,
        flag(
            "comparison", "--ratios", metavar="LIST", help="Of dynamic and numbers, for every method.",
            autocompletion=list_of(offered_ratios()),
        ),
    ] = ",".join(AccuracyPlan.ratios),
    baseline_variant: Annotated[
        str,
        flag(
            "comparison", "--baseline-variant", metavar="LIST", rare=True, autocompletion=list_of(VARIANTS),
            help=f"Of {', '.join(VARIANTS)} (those of RTPrune), for {', '.join(WITH_VARIANTS)}.",
        ),
    ] = ",".join(AccuracyPlan.variants),
    importances: Annotated[
        str,
        flag(
            "comparison", "--importances", metavar="LIST", rare=True, autocompletion=list_of(get_args(Importance)),
            help=f"Ablation: what tokens that stay have most of.  [of {'|'.join(get_args(Importance))}]",
        ),
    ] = "",
    merges: Annotated[
        str,
        flag(
            "comparison", "--merges", metavar="LIST", rare=True, autocompletion=list_of(get_args(Merge)),
            help=f"Ablation: what becomes of the others.  [of {'|'.join(get_args(Merge))}]",
        ),
    ] = "",
    ratio_terms: Annotated[
        str,
        flag(
            "comparison", "--ratio-terms", metavar="LIST", rare=True, autocompletion=list_of(get_args(RatioTerms)),
            help=f"Ablation: what makes the dynamic ratio.  [of {'|'.join(get_args(RatioTerms))}]",
        ),
    ] = "",
    sobel_thresholds: Annotated[
        str, flag("comparison", "--sobel-thresholds", metavar="LIST", help="Ablation: numbers, beside 0.2.", rare=True)
    ] = "",
    alphas: Annotated[
        str, flag("comparison", "--alphas", metavar="LIST", help="Ablation: share merged in, beside 0.1.", rare=True)
    ] = "",
    ot_regs: Annotated[
        str,
        flag(
            "comparison", "--ot-regs", metavar="LIST", rare=True,
            help="Ablation: entropic regularisation, beside 1.",
        ),
    ] = "",
    limit: Limit = None,
    sample: Chance = None,
    sheet: SheetName = None,
    layouts: Layouts = "",
    vocabulary: Annotated[
        str | None,
        flag(
            "dataset", "--words", metavar="mixed|natural|random", rare=True,
            help=f"{SYNTHETIC} pages; random: no language.  [default: mixed]",
        ),
    ] = None,
    seed: Seed = AccuracyPlan.seed,
    resamples: Resamples = AccuracyPlan.resamples,
    worst: Worst = AccuracyPlan.worst,
    timed_pages: Annotated[
        int,
        flag(
            "comparison", "--timed-pages", metavar="N", rare=True,
            help="Pages that --measure-baseline reads again, each alone and under all configurations in turns.",
        ),
    ] = AccuracyPlan.timed_pages,
    fail_above: Above = None,
    fail_below: Below = None,
    config: Config = None,
) -> None:  # fmt: skip
    """Compare methods of pruning on pages with a known text.

    Reads every page unpruned and under each configuration, scores them, and writes results.jsonl, summary.json and
    report.html with paired 95 % intervals. The same command goes on where the last one stopped. What the numbers
    mean: rtprune docs accuracy.
    """
    if context.invoked_subcommand is not None:
        return
    with resolved(given, config) as found:
        if modes and "mode" in given:
            raise UsageError("--mode and --modes exclude each other", "Give one of them")
        plan = AccuracyPlan(
            modes=words(modes),
            methods=words(methods),
            ratios=words(ratios),
            ablations=_ablations(importances, merges, ratio_terms, sobel_thresholds, alphas, ot_regs),
            variants=words(baseline_variant),
            limit=limit,
            sample=sample,
            seed=seed,
            resamples=resamples,
            worst=worst,
            timed_pages=timed_pages,
        )
        source = DatasetSource(
            dataset, data, folder, sheet, words(layouts), dataset_revision, vocabulary=vocabulary, rules=rules
        )
        gates = fail_above or [], fail_below or []
        raise typer.Exit(_accuracy(plan, view_modes(view_sides), source, found.ocr, found.log, *gates))


def _ablations(
    importances: str, merges: str, ratio_terms: str, sobel_thresholds: str, alphas: str, ot_regs: str
) -> tuple[tuple[str, tuple[Any, ...]], ...]:
    found = (
        ("importance", words(importances)),
        ("merge", words(merges)),
        ("ratio_terms", words(ratio_terms)),
        ("sobel_threshold", values("sobel-thresholds", words(sobel_thresholds), float)),
        ("alpha", values("alphas", words(alphas), float)),
        ("ot_reg", values("ot-regs", words(ot_regs), float)),
    )
    return tuple((name, given) for name, given in found if given)


def _accuracy(
    plan: AccuracyPlan,
    views: Sequence[Mode],
    source: DatasetSource,
    settings: OcrOptions,
    log_options: LogOptions,
    above: Sequence[str],
    below: Sequence[str],
) -> ExitCode:
    from rtprune_cli.bench.accuracy.reader import configured
    from rtprune_cli.bench.accuracy.run import Comparison, own_folder, read_and_compare
    from rtprune_cli.commands.interrupts import stoppable
    from rtprune_cli.model import locate

    # What can be wrong with the command is found before hours of reading.
    plan.configurations()
    source.check()
    checkpoint = locate(settings.model)
    plan = replace(plan, modes=(*(plan.modes or [checkpoint.resolve(settings).mode]), *views))
    configurations = plan.configurations()
    options = replace(
        settings,
        input=replace(settings.input, pages=None, password=None),
        output=OutputOptions(),
        on_loop="mark",  # a page that is read again in another way says nothing about the method
        compare=False,
    )
    # As the model reads them: what it cannot do is said now, and times are taken of the pages that it reads.
    settled = [checkpoint.resolve(configured(options, each)) for each in configurations]
    if plan.unpruned:
        log.log(NOTICE, "%s: a ratio of 1 prunes nothing; the rows none stand for it", ", ".join(plan.unpruned))
    if other := [each for each in plan.modes if each not in checkpoint.trained_modes]:
        known = ", ".join(checkpoint.trained_modes)
        log.warning(
            "%s was not trained for %s, only for %s: figures there say nothing about a model that was",
            checkpoint.name, ", ".join(other), known,
        )  # fmt: skip
    folder = source.folder()
    with stoppable(at_once=True), own_folder(folder, wait=settings.run.wait):
        if source.name == SYNTHETIC:
            dataset = source.make(plan, small_model=checkpoint.is_small)
        else:
            dataset = source.open(plan, offline=settings.model.offline)
        gates = parse_gates(dataset, above, below, timed=settings.measure_baseline)
        comparison = Comparison(folder, plan, configurations, gates)
        try:
            summary = read_and_compare(dataset, checkpoint, settled[0], comparison, log_options)
        except KeyboardInterrupt:
            log.log(NOTICE, "the same command goes on from here")
            raise
    return tell(summary, comparison, log_options)
