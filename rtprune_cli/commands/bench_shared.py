"""What the commands of `rtprune bench` share: flags, which dataset is meant, gates, and what is told at the end."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from rtprune_cli.bench.accuracy.datasets import DATASETS, SYNTHETIC, choose_samples, open_dataset, open_published
from rtprune_cli.bench.accuracy.datasets.opening import check_packages, check_place
from rtprune_cli.bench.accuracy.datasets.published import PUBLISHED, REVISION_FLAG, REVISION_HELP, complete_revisions
from rtprune_cli.bench.accuracy.plan import AccuracyPlan
from rtprune_cli.commands.completing import one_of
from rtprune_cli.commands.flags import flag
from rtprune_cli.errors import ExitCode, UsageError
from rtprune_cli.logs import NOTICE
from rtprune_cli.options import BUNDLED_MODEL, LogOptions

if TYPE_CHECKING:
    from rtprune_cli.bench.accuracy.datasets import Dataset, Sample
    from rtprune_cli.bench.accuracy.gates import Gate
    from rtprune_cli.bench.accuracy.run import Comparison

log = logging.getLogger("rtprune")

OUTPUT = Path("bench")  # with a folder for each dataset
SYNTHETIC_PAGES = 100
SHORTEST = f"rtprune bench --dataset {SYNTHETIC} --model {BUNDLED_MODEL}"
PAGES = "pages"  # the folder of synthetic pages below the output folder

DatasetName = Annotated[
    str | None,
    flag(
        "dataset", "--dataset", metavar="NAME", help=f"Pages with a known text.  [{'|'.join(DATASETS)}]",
        autocompletion=one_of(DATASETS),
    ),
]  # fmt: skip
Data = Annotated[
    Path | None,
    flag(
        "dataset", "--data", metavar="FOLDER",
        help="The dataset's folder; for folder: page.png beside page.txt or .md.  "
        f"[default for {' and '.join(PUBLISHED)}: fetched from the hub]",
    ),
]  # fmt: skip
DatasetRevision = Annotated[
    str | None,
    flag(
        "dataset", REVISION_FLAG, metavar="NAME", rare=True, help=f"Without --data. {REVISION_HELP}",
        autocompletion=complete_revisions,
    ),
]  # fmt: skip
RulesOf = Annotated[
    str | None,
    flag(
        "dataset", "--rules", metavar="v1.5|v1.6", rare=True,
        help="Of omnidocbench: score as the evaluator of this version.  [default: v1.6 for annotations of v1.6, "
        "else v1.5]",
    ),
]  # fmt: skip
OutputFolder = Annotated[
    Path | None,
    flag(
        "output",
        "--output",
        "-o",
        metavar="FOLDER",
        help=f"Output folder.  [default: {OUTPUT}/DATASET, or with score {OUTPUT}/DATASET-scores]",
    ),
]
Above = Annotated[
    list[str] | None,
    flag(
        "comparison", "--fail-above", metavar="METRIC=LIMIT", rare=True,
        help="Exit with 1 where a configuration's figure is above: cer=0.05. Can be repeated.",
    ),
]  # fmt: skip
Below = Annotated[
    list[str] | None,
    flag(
        "comparison", "--fail-below", metavar="METRIC=LIMIT", rare=True,
        help="Exit with 1 where it is below: relative_accuracy=0.99. Can be repeated.",
    ),
]  # fmt: skip
Resamples = Annotated[
    int, flag("comparison", "--resamples", metavar="N", help="Of the paired bootstrap.", rare=True)
]  # fmt: skip
Worst = Annotated[
    int,
    flag("comparison", "--worst", metavar="N", help="Pages that the report shows, those that lost most.", rare=True),
]
Seed = Annotated[
    int,
    flag(
        "comparison", "--seed", metavar="N", rare=True,
        help="Of synthetic pages, --sample, method random and bootstrap.",
    ),
]  # fmt: skip
Limit = Annotated[
    int | None,
    flag(
        "dataset", "--limit", metavar="N",
        help=f"Pages, at most, the first ones; for {SYNTHETIC}: how many are made.  [default: all; {SYNTHETIC}: "
        f"{SYNTHETIC_PAGES}]",
    ),
]  # fmt: skip
Chance = Annotated[
    int | None,
    flag(
        "dataset", "--sample", metavar="N",
        help=f"Pages, at most, by chance, the same for the same --seed; for {SYNTHETIC} as --limit.",
    ),
]  # fmt: skip
SheetName = Annotated[
    str | None,
    flag(
        "dataset", "--sheet", metavar="a4|card", rare=True,
        help=f"{SYNTHETIC} pages: their size.  [default: card for the bundled model, else a4]",
    ),
]  # fmt: skip
Layouts = Annotated[
    str,
    flag(
        "dataset", "--layouts", metavar="LIST", rare=True,
        help=f"{SYNTHETIC} pages: what is on them.  [default: all; of card: those that the bundled model can read]",
    ),
]  # fmt: skip


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
        shortest: str = SHORTEST,
    ) -> None:
        """``shortest``: the command to begin with, where no dataset was named."""
        if name is None:
            raise UsageError("no dataset", f"Give --dataset {', '.join(DATASETS)}. The shortest: {shortest}")
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
        """Raises UsageError for a dataset that is nowhere, EnvironmentFault where a package is missing; warns of one
        that only pictures need."""
        from rtprune_cli.outputs.webpage.svg import tell_if_not_drawn

        check_packages(self.name)
        check_place(self.name, self.data, self.revision)
        tell_if_not_drawn()

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
