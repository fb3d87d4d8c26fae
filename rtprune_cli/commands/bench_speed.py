"""The command `rtprune bench speed`: flags -> plan. torch is imported when it runs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from rtprune_cli.bench.speed.plan import (
    ARCHITECTURES,
    BATCH_SIZES,
    CONTEXT_BATCH_SIZES,
    CONTEXT_STAGES,
    STAGES,
    SpeedPlan,
)
from rtprune_cli.commands.completing import complete_models, list_of, one_of
from rtprune_cli.commands.completing import ratios as offered_ratios
from rtprune_cli.commands.flags import VIEW_SIDES_HELP, Quiet, Verbose, flag, numbers, option, view_modes, words
from rtprune_cli.commands.frame import refuse_urls, reporting
from rtprune_cli.options import BUNDLED_MODEL, DYNAMIC, MODES, LogOptions

_DEFAULT_MODES = "; ".join(f"of {name} {','.join(each.modes)}" for name, each in ARCHITECTURES.items())


# No parameter is named as a setting of `rtprune ocr` that means something else: docs/make_cli.py goes by the name.
def speed(
    arch: Annotated[
        str | None,
        flag(
            "dataset", "--arch", metavar="NAME",
            help=f"Full-size architecture with random weights, without a download.  [{'|'.join(ARCHITECTURES)}]",
            autocompletion=one_of(ARCHITECTURES),
        ),
    ] = None,
    checkpoint: Annotated[
        str | None,
        flag(
            "dataset", "--model", metavar="MODEL",
            help=f"Instead of --arch: hub id, local folder, or '{BUNDLED_MODEL}'.", autocompletion=complete_models,
        ),
    ] = None,
    device: Annotated[str, option("device")] = SpeedPlan.device,
    dtype: Annotated[str, option("dtype")] = SpeedPlan.dtype,
    modes: Annotated[
        str | None,
        flag(
            "comparison", "--modes", metavar="LIST", autocompletion=list_of(MODES),
            help=f"Modes to time.  [of {'|'.join(MODES)}; default: {_DEFAULT_MODES}]",
        ),
    ] = None,
    view_sides: Annotated[
        str, flag("comparison", "--view-sides", metavar="LIST", help=VIEW_SIDES_HELP, rare=True)
    ] = "",
    ratios: Annotated[
        str,
        flag(
            "comparison", "--ratios", metavar="LIST", help=f"Of {DYNAMIC} and numbers; 1 is no pruning.",
            autocompletion=list_of(offered_ratios()),
        ),
    ] = ",".join(SpeedPlan.ratios),
    batch_sizes: Annotated[
        str | None,
        flag(
            "comparison", "--batch-sizes", metavar="LIST",
            help="Pages together; with --pages-per-context contexts.  "
            f"[default: {','.join(map(str, BATCH_SIZES))}, of contexts {','.join(map(str, CONTEXT_BATCH_SIZES))}]",
        ),
    ] = None,
    stages: Annotated[
        str | None,
        flag(
            "comparison", "--stages", metavar="LIST",
            help=f"What is timed; with --pages-per-context {' and '.join(CONTEXT_STAGES)} alone.  "
            f"[of {'|'.join(STAGES)}; default: all]",
            autocompletion=list_of(STAGES),
        ),
    ] = None,
    contexts: Annotated[
        str | None,
        flag(
            "comparison", "--pages-per-context", metavar="LIST", rare=True,
            help="Time contexts of so many pages each, in the place of pages, where the model reads many as one text.",
        ),
    ] = None,
    page_count: Annotated[
        int | None,
        flag(
            "input", "--pages", metavar="N",
            help="Pages that the whole reads.  [default: as many as the largest batch]",
        ),
    ] = None,
    output_tokens: Annotated[
        int, flag("decode", "--output-tokens", metavar="N", help="Tokens that every page is made to write.")
    ] = SpeedPlan.output_tokens,
    repeats: Annotated[
        int, flag("run", "--repeats", metavar="N", help="How often each stage is timed.", rare=True)
    ] = SpeedPlan.repeats,
    whole_repeats: Annotated[
        int, flag("run", "--whole-repeats", metavar="N", help="How often the whole is timed.", rare=True)
    ] = SpeedPlan.whole_repeats,
    baseline_pages: Annotated[
        int,
        flag(
            "run", "--baseline-pages", metavar="N", rare=True,
            help="Pages that transformers' generate reads, one by one.",
        ),
    ] = SpeedPlan.baseline_pages,
    seed: Annotated[
        int, flag("run", "--seed", metavar="N", help="Of the weights and the pages.", rare=True)
    ] = SpeedPlan.seed,
    memory_share: Annotated[
        float | None,
        flag(
            "decode", "--memory-fraction", metavar="SHARE", rare=True,
            help="Share of the GPU's memory to use, as if it were smaller.",
        ),
    ] = None,
    kernels: Annotated[str, option("kernels")] = SpeedPlan.kernels,
    json: Annotated[
        Path | None,
        flag("output", "--json", metavar="FILE", help="Write the result here, again after every measurement."),
    ] = None,
    quiet: Quiet = False,
    verbose: Verbose = 0,
) -> None:  # fmt: skip
    """Time the stages of a page and the whole, with and without pruning.

    Beside them stands transformers' generate. The pages are synthetic and every one is made to write the same number of
    tokens. The table goes to standard
    error. What the numbers mean: rtprune docs benchmarks.
    """
    with reporting(LogOptions(quiet, verbose)):
        refuse_urls(json)
        plan = SpeedPlan(
            arch=arch,
            model=checkpoint,
            device=device,
            dtype=dtype,
            modes=None if modes is None else words(modes),
            view_sides=view_modes(view_sides),
            ratios=words(ratios),
            batch_sizes=None if batch_sizes is None else numbers("batch-sizes", batch_sizes),
            stages=None if stages is None else words(stages),
            pages_per_context=None if contexts is None else numbers("pages-per-context", contexts),
            pages=page_count,
            output_tokens=output_tokens,
            repeats=repeats,
            whole_repeats=whole_repeats,
            baseline_pages=baseline_pages,
            seed=seed,
            memory_fraction=memory_share,
            kernels=kernels,
        )
        _speed(plan, json, quiet)


def _speed(plan: SpeedPlan, path: Path | None, quiet: bool) -> None:
    from rtprune_cli.bench.speed.run import run
    from rtprune_cli.bench.speed.table import print_result
    from rtprune_cli.logs import make_console
    from rtprune_cli.storage import atomic_write, make_folder, to_json

    def write(result: dict[str, object]) -> None:
        if path is not None:
            atomic_write(path, to_json(result, indent=1))

    if path is not None:  # found out before an hour of measurements
        make_folder(path.parent)
        write({})
    result = run(plan, write)
    if not quiet:
        print_result(result, make_console())
