"""The command `rtprune bench`: flags -> plan, gates -> exit code. What `bench score` shares with it is here too."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from rtprune_cli.bench.accuracy.datasets import DATASETS, SYNTHETIC, choose_samples, open_dataset
from rtprune_cli.bench.accuracy.plan import METHODS, AccuracyPlan, values
from rtprune_cli.commands.flags import Config, Given, flag, with_settings, words
from rtprune_cli.commands.frame import resolved
from rtprune_cli.errors import ExitCode, UsageError
from rtprune_cli.logs import NOTICE
from rtprune_cli.options import LogOptions, OcrOptions, OutputOptions

if TYPE_CHECKING:
    from rtprune_cli.bench.accuracy.datasets import Dataset
    from rtprune_cli.bench.accuracy.run import Comparison
    from rtprune_cli.bench.accuracy.summary import Gate

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
    flag("dataset", "--data", metavar="DIR", help="The dataset's folder; for folder: page.png beside page.txt or .md."),
]
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
    flag("comparison", "--seed", metavar="INTEGER", help="Of synthetic pages, --limit, method random and bootstrap."),
]
Limit = Annotated[
    int | None,
    flag(
        "dataset", "--limit", metavar="INTEGER",
        help=f"Pages, at most, by chance; for {SYNTHETIC}: how many are made.  [default: all; {SYNTHETIC}: "
        f"{SYNTHETIC_PAGES}]",
    ),
]  # fmt: skip


@with_settings(*SETTINGS)
def accuracy(
    context: typer.Context,
    given: Given,
    dataset: DatasetName = None,
    data: Data = None,
    rules: RulesOf = None,
    folder: OutputFolder = None,
    methods: Annotated[
        str, flag("comparison", "--methods", metavar="LIST", help=f"Of {', '.join(METHODS)}.")
    ] = ",".join(AccuracyPlan.methods),
    ratios: Annotated[
        str, flag("comparison", "--ratios", metavar="LIST", help="Of dynamic and numbers, for every method.")
    ] = ",".join(AccuracyPlan.ratios),
    merges: Annotated[
        str, flag("comparison", "--merges", metavar="LIST", help="Ablation: of ot, mean, nearest, none.")
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
    sheet: Annotated[
        str | None,
        flag(
            "dataset", "--sheet", metavar="NAME",
            help=f"{SYNTHETIC} pages: a4 or card.  [default: card for the bundled model, else a4]",
        ),
    ] = None,
    layouts: Annotated[
        str,
        flag(
            "dataset", "--layouts", metavar="LIST",
            help=f"{SYNTHETIC} pages.  [default: all; of card: those that the bundled model can read]",
        ),
    ] = "",
    seed: Seed = AccuracyPlan.seed,
    resamples: Resamples = AccuracyPlan.resamples,
    worst: Worst = AccuracyPlan.worst,
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
        plan = AccuracyPlan(
            methods=words(methods),
            ratios=words(ratios),
            ablations=_ablations(merges, ratio_terms, sobel_thresholds, alphas, ot_regs),
            limit=limit,
            seed=seed,
            resamples=resamples,
            worst=worst,
        )
        where = DatasetSource(dataset, data, folder, sheet, words(layouts), rules)
        raise typer.Exit(_accuracy(plan, where, found.ocr, found.log, fail_above or [], fail_below or []))


class DatasetSource:
    """Which pages, and where results go."""

    def __init__(
        self,
        name: str | None,
        data: Path | None,
        folder: Path | None,
        sheet: str | None,
        layouts: Sequence[str],
        rules: str | None,
    ) -> None:
        if name is None:
            raise UsageError("no dataset", f"Give --dataset, one of {', '.join(DATASETS)}")
        self.name, self.data, self.layouts = name, data, layouts
        self._folder, self._sheet = folder, sheet
        self.rules = rules
        if name == SYNTHETIC and data is not None:
            raise UsageError(f"the dataset {SYNTHETIC} takes no folder", "Leave --data out, or give --dataset folder")
        if rules is not None and name != "omnidocbench":
            raise UsageError("--rules is for omnidocbench, which has several", "Leave it out")
        if name != SYNTHETIC and (sheet or layouts):
            raise UsageError(f"--sheet and --layouts are for {SYNTHETIC} pages", f"Give --dataset {SYNTHETIC}")

    def folder(self, kind: str = "") -> Path:
        """The output folder; ``kind`` sets the default ones of different commands apart."""
        return self._folder or OUTPUT / f"{self.name}{kind}"

    def open(self, plan: AccuracyPlan, *, small_model: bool) -> Dataset:
        """The dataset with the samples that the plan takes; synthetic pages are made."""
        if self.name == SYNTHETIC:
            from rtprune_cli.bench.accuracy.synthetic import open_synthetic

            sheet = self._sheet or ("card" if small_model else "a4")
            return open_synthetic(self.folder() / PAGES, plan.limit or SYNTHETIC_PAGES, plan.seed, sheet, self.layouts)
        dataset = open_dataset(self.name, self.data, rules=self.rules)
        return replace(dataset, samples=choose_samples(dataset.samples, plan.limit, plan.seed))


def _ablations(
    merges: str, ratio_terms: str, sobel_thresholds: str, alphas: str, ot_regs: str
) -> tuple[tuple[str, tuple[Any, ...]], ...]:
    found = (
        ("merge", words(merges)),
        ("ratio_terms", words(ratio_terms)),
        ("sobel_threshold", values("sobel-thresholds", words(sobel_thresholds), float)),
        ("alpha", values("alphas", words(alphas), float)),
        ("ot_reg", values("ot-regs", words(ot_regs), float)),
    )
    return tuple((name, given) for name, given in found if given)


def _accuracy(
    plan: AccuracyPlan,
    source: DatasetSource,
    settings: OcrOptions,
    log_options: LogOptions,
    above: Sequence[str],
    below: Sequence[str],
) -> ExitCode:
    from rtprune_cli.bench.accuracy.datasets.opening import check_packages
    from rtprune_cli.bench.accuracy.run import Comparison, own_folder, read_and_compare
    from rtprune_cli.commands.interrupts import stoppable
    from rtprune_cli.model import locate

    # What can be wrong with the command is found before hours of reading.
    configurations = plan.configurations()
    check_packages(source.name)
    checkpoint = locate(settings.model)
    folder = source.folder()
    with stoppable(at_once=True), own_folder(folder, wait=settings.run.wait):
        dataset = source.open(plan, small_model=checkpoint.is_small)
        gates = parse_gates(dataset, above, below)
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


def parse_gates(dataset: Dataset, above: Sequence[str], below: Sequence[str]) -> list[Gate]:
    from rtprune_cli.bench.accuracy.summary import parse_gate

    texts = [*((text, True) for text in above), *((text, False) for text in below)]
    return [parse_gate(text, above=is_above, metrics=dataset.metrics) for text, is_above in texts]


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
