"""The command `rtprune bench`: flags -> plan, gates -> exit code. What `bench score` shares with it is here too."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, get_args

import typer

from rtprune_cli.bench.accuracy.datasets import DATASETS, SYNTHETIC, choose_samples, open_dataset, open_published
from rtprune_cli.bench.accuracy.datasets.opening import check_packages, check_place
from rtprune_cli.bench.accuracy.datasets.published import PUBLISHED, REVISION_FLAG, REVISION_HELP, complete_revisions
from rtprune_cli.bench.accuracy.plan import METHODS, VARIANTS, AccuracyPlan, values
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
)

if TYPE_CHECKING:
    from rtprune_cli.bench.accuracy.datasets import Dataset, Sample
    from rtprune_cli.bench.accuracy.gates import Gate
    from rtprune_cli.bench.accuracy.run import Comparison

log = logging.getLogger("rtprune")


OUTPUT = Path("bench")  # with a folder for each dataset
SYNTHETIC_PAGES = 100
PAGES = "pages"  # the folder of synthetic pages below the output folder
# Settings of `rtprune ocr` that concern the reading of a page by a given method; the method itself is compared.
SETTINGS = (
    "model", "revision", "offline", "device", "dtype", "mode", "prompt", "measure_baseline", "dpi", "max_pixels",
    "workers", "max_new_tokens", "no_repeat_ngram", "no_repeat_window", "batch_size", "memory_fraction", "cuda_graphs",
    "loop_window", "force", "wait", "quiet", "verbose", "log_format",
)  # fmt: skip


DatasetName = Annotated[
    str | None,
    flag("dataset", "--dataset", metavar="NAME", help=f"{', '.join(DATASETS)}.", autocompletion=lambda: list(DATASETS)),
]
Data = Annotated[
    Path | None,
    flag(
        "dataset", "--data", metavar="DIR",
        help="The dataset's folder; for folder: page.png beside page.txt or .md.  "
        f"[default for {' and '.join(PUBLISHED)}: fetched from the hub]",
    ),
]  # fmt: skip
DatasetRevision = Annotated[
    str | None,
    flag(
        "dataset", REVISION_FLAG, metavar="NAME", help=f"Without --data. {REVISION_HELP}",
        autocompletion=complete_revisions,
    ),
]  # fmt: skip
RulesOf = Annotated[
    str | None,
    flag(
        "dataset", "--rules", metavar="NAME",
        help="Of omnidocbench: score as the evaluator of v1.5 or v1.6.  [default: v1.6 for annotations of v1.6, "
        "else v1.5]",
    ),
]  # fmt: skip
OutputFolder = Annotated[
    Path | None,
    flag(
        "output",
        "--output",
        "-o",
        metavar="DIR",
        help=f"Output folder.  [default: {OUTPUT}/DATASET, or with score {OUTPUT}/DATASET-scores]",
    ),
]
Above = Annotated[
    list[str] | None,
    flag(
        "comparison", "--fail-above", metavar="METRIC=LIMIT",
        help="Exit with 1 where a configuration's figure is above: cer=0.05. Can be repeated.",
    ),
]  # fmt: skip
Below = Annotated[
    list[str] | None,
    flag(
        "comparison", "--fail-below", metavar="METRIC=LIMIT",
        help="Exit with 1 where it is below: relative_accuracy=0.99. Can be repeated.",
    ),
]  # fmt: skip
Resamples = Annotated[int, flag("comparison", "--resamples", metavar="INTEGER", help="Of the paired bootstrap.")]
Worst = Annotated[
    int, flag("comparison", "--worst", metavar="INTEGER", help="Pages that the report shows, those that lost most.")
]
Seed = Annotated[
    int,
    flag("comparison", "--seed", metavar="INTEGER", help="Of synthetic pages, --sample, method random and bootstrap."),
]
Limit = Annotated[
    int | None,
    flag(
        "dataset", "--limit", metavar="INTEGER",
        help=f"Pages, at most, the first ones; for {SYNTHETIC}: how many are made.  [default: all; {SYNTHETIC}: "
        f"{SYNTHETIC_PAGES}]",
    ),
]  # fmt: skip
Chance = Annotated[
    int | None,
    flag(
        "dataset", "--sample", metavar="INTEGER",
        help=f"Pages, at most, by chance, the same for the same --seed; for {SYNTHETIC} as --limit.",
    ),
]  # fmt: skip
SheetName = Annotated[
    str | None,
    flag(
        "dataset", "--sheet", metavar="NAME",
        help=f"{SYNTHETIC} pages: a4 or card.  [default: card for the bundled model, else a4]",
    ),
]  # fmt: skip
Layouts = Annotated[
    str,
    flag(
        "dataset", "--layouts", metavar="LIST",
        help=f"{SYNTHETIC} pages.  [default: all; of card: those that the bundled model can read]",
    ),
]  # fmt: skip


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
        flag("comparison", "--modes", metavar="LIST", help=f"Of {', '.join(MODES)}, side-N.  [default: as --mode]"),
    ] = "",
    view_sides: Annotated[str, flag("comparison", "--view-sides", metavar="LIST", help=VIEW_SIDES_HELP)] = "",
    methods: Annotated[
        str, flag("comparison", "--methods", metavar="LIST", help=f"Of {', '.join(METHODS)}.")
    ] = ",".join(AccuracyPlan.methods),
    ratios: Annotated[
        str, flag("comparison", "--ratios", metavar="LIST", help="Of dynamic and numbers, for every method.")
    ] = ",".join(AccuracyPlan.ratios),
    baseline_variant: Annotated[
        str,
        flag(
            "comparison", "--baseline-variant", metavar="LIST",
            help=f"Of {', '.join(VARIANTS)} (those of RTPrune), for {', '.join(WITH_VARIANTS)}.",
        ),
    ] = ",".join(AccuracyPlan.variants),
    importances: Annotated[
        str,
        flag("comparison", "--importances", metavar="LIST", help=f"Ablation: of {', '.join(get_args(Importance))}."),
    ] = "",
    merges: Annotated[
        str, flag("comparison", "--merges", metavar="LIST", help=f"Ablation: of {', '.join(get_args(Merge))}.")
    ] = "",
    ratio_terms: Annotated[
        str,
        flag("comparison", "--ratio-terms", metavar="LIST", help="Ablation: of both, similarity, density."),
    ] = "",
    sobel_thresholds: Annotated[
        str, flag("comparison", "--sobel-thresholds", metavar="LIST", help="Ablation: numbers, beside 0.2.")
    ] = "",
    alphas: Annotated[
        str, flag("comparison", "--alphas", metavar="LIST", help="Ablation: share merged in, beside 0.1.")
    ] = "",
    ot_regs: Annotated[
        str, flag("comparison", "--ot-regs", metavar="LIST", help="Ablation: entropic regularisation, beside 1.")
    ] = "",
    limit: Limit = None,
    sample: Chance = None,
    sheet: SheetName = None,
    layouts: Layouts = "",
    vocabulary: Annotated[
        str | None,
        flag(
            "dataset", "--words", metavar="NAME",
            help=f"{SYNTHETIC} pages: mixed, natural or random (no language).  [default: mixed]",
        ),
    ] = None,
    seed: Seed = AccuracyPlan.seed,
    resamples: Resamples = AccuracyPlan.resamples,
    worst: Worst = AccuracyPlan.worst,
    timed_pages: Annotated[
        int,
        flag(
            "comparison", "--timed-pages", metavar="INTEGER",
            help="Pages that --measure-baseline reads again, each alone and under all configurations in turns.",
        ),
    ] = AccuracyPlan.timed_pages,
    fail_above: Above = None,
    fail_below: Below = None,
    config: Config = None,
) -> None:  # fmt: skip
    """Compare methods of pruning on pages with a known text, or time the stages with `speed`.

    Reads every page unpruned and under each configuration, scores them, and writes results.jsonl, summary.json and
    report.html with paired 95 % intervals. The same command goes on where the last one stopped. What the numbers
    mean: docs/accuracy.md.
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


class DatasetSource:
    """Which pages, and where results go."""

    def __init__(
        self,
        name: str | None,
        data: Path | None,
        folder: Path | None,
        sheet: str | None,
        layouts: Sequence[str],
        revision: str | None,
        *,
        vocabulary: str | None = None,
        rules: str | None = None,
    ) -> None:
        if name is None:
            raise UsageError("no dataset", f"Give --dataset, one of {', '.join(DATASETS)}")
        self.name, self.data, self.layouts, self.revision, self.rules = name, data, layouts, revision, rules
        self._folder, self._sheet, self._words = folder, sheet, vocabulary
        if name == SYNTHETIC and data is not None:
            raise UsageError(f"the dataset {SYNTHETIC} takes no folder", "Leave --data out, or give --dataset folder")
        if rules is not None and name != "omnidocbench":
            raise UsageError("--rules is for omnidocbench, which has several", "Leave it out")
        if name != SYNTHETIC and (sheet or layouts or vocabulary):
            raise UsageError(f"--sheet, --layouts and --words are for {SYNTHETIC} pages", f"Give --dataset {SYNTHETIC}")

    def folder(self, kind: str = "") -> Path:
        """The output folder; ``kind`` sets the default ones of different commands apart."""
        return self._folder or OUTPUT / f"{self.name}{kind}"

    def check(self) -> None:
        """Raises UsageError for a dataset that is nowhere, EnvironmentFault where a package is missing."""
        check_packages(self.name)
        check_place(self.name, self.data, self.revision)

    def make(self, plan: AccuracyPlan, *, small_model: bool) -> Dataset:
        """Synthetic pages, as many as the plan takes."""
        from rtprune_cli.bench.accuracy.synthetic import WORDS, open_synthetic

        sheet, count = self._sheet or ("card" if small_model else "a4"), plan.limit or plan.sample or SYNTHETIC_PAGES
        return open_synthetic(self.folder() / PAGES, count, plan.seed, sheet, self.layouts, self._words or WORDS[0])

    def open(self, plan: AccuracyPlan, *, offline: bool, images: bool = True) -> Dataset:
        """The dataset with the samples that the plan takes, from its folder or the hub; ``images`` False: without."""

        def choose(samples: Sequence[Sample]) -> list[Sample]:
            return choose_samples(samples, plan.limit, plan.sample, plan.seed)

        if self.data is None:
            return open_published(self.name, self.revision, choose, images=images, offline=offline, rules=self.rules)
        dataset = open_dataset(self.name, self.data, images=images, rules=self.rules)
        return replace(dataset, samples=choose(dataset.samples))


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
    from rtprune_cli.bench.accuracy.run import Comparison, own_folder, read_and_compare
    from rtprune_cli.commands.interrupts import stoppable
    from rtprune_cli.model import locate

    # What can be wrong with the command is found before hours of reading.
    plan.configurations()
    source.check()
    checkpoint = locate(settings.model)
    plan = replace(plan, modes=(*(plan.modes or [checkpoint.resolve(settings).mode]), *views))
    configurations = plan.configurations()
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
        options = replace(
            settings,
            input=replace(settings.input, pages=None, password=None),
            output=OutputOptions(),
            on_loop="mark",  # a page that is read again in another way says nothing about the method
            compare=False,
        )
        comparison = Comparison(folder, plan, configurations, gates)
        try:
            summary = read_and_compare(dataset, checkpoint, options, comparison, log_options)
        except KeyboardInterrupt:
            log.log(NOTICE, "the same command goes on from here")
            raise
    return tell(summary, comparison, log_options)


def parse_gates(dataset: Dataset, above: Sequence[str], below: Sequence[str], *, timed: bool | None) -> list[Gate]:
    """The gates of a command; ``timed``: whether times are taken, None where no page is read.

    Raises:
        UsageError: one of them cannot be understood, or is of what is not measured.
    """
    from rtprune_cli.bench.accuracy.gates import parse_gate

    texts = [*((text, True) for text in above), *((text, False) for text in below)]
    return [parse_gate(text, above=is_above, metrics=dataset.metrics, timed=timed) for text, is_above in texts]


def tell(summary: dict[str, Any], comparison: Comparison, log_options: LogOptions) -> ExitCode:
    """The table and where the rest is; the exit code."""
    from rtprune_cli.bench.accuracy.run import REPORT
    from rtprune_cli.bench.accuracy.table import gate_value, print_groups, print_summary
    from rtprune_cli.logs import make_console

    data = {"event": "summary", **summary}
    shows_table = not log_options.quiet and log_options.log_format != "json"
    if shows_table:
        print_summary(summary, make_console())
        if log_options.verbose:
            print_groups(summary, make_console())
    log.log(NOTICE, "the report is %s", comparison.folder / REPORT, extra={"data": data})
    failed = [gate for gate in summary["gates"] if not gate["passed"]]
    for gate in [] if shows_table else failed:  # the table has said it
        value, limit = gate_value(gate), f"--fail-{gate['direction']} {gate['metric']}={gate['limit']:g}"
        log.error("%s of %s is %s, which %s forbids", gate["metric"], gate["configuration"], value, limit)
    if failed:
        return ExitCode.FAILURE
    return ExitCode.PARTIAL if any(each["failed"] for each in summary["configurations"]) else ExitCode.OK
