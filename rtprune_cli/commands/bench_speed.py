"""The command `rtprune bench speed`: flags -> plan. torch is imported when it runs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from rtprune_cli.bench.speed.plan import (
    ARCHITECTURES,
    BATCH_SIZES,
    CONTEXT_BATCH_SIZES,
    CONTEXT_STAGES,
    STAGES,
    SpeedPlan,
)
from rtprune_cli.commands.flags import VIEW_SIDES_HELP, Quiet, Verbose, complete_models, numbers, view_modes, words
from rtprune_cli.commands.frame import refuse_urls, reporting
from rtprune_cli.options import BUNDLED_MODEL, DTYPES, MODES, LogOptions

_DEFAULT_MODES = "; ".join(f"of {name} {','.join(each.modes)}" for name, each in ARCHITECTURES.items())


# No parameter is named as a setting of `rtprune ocr` that means something else: docs/make_cli.py goes by the name.
def speed(
    arch: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help=f"Full-size architecture with random weights, without a download: {', '.join(ARCHITECTURES)}.",
            autocompletion=lambda: list(ARCHITECTURES),
        ),
    ] = None,
    checkpoint: Annotated[
        str | None,
        typer.Option(
            "--model",
            metavar="TEXT",
            help=f"Instead of --arch: hub id, local folder, or '{BUNDLED_MODEL}'.",
            autocompletion=complete_models,
        ),
    ] = None,
    device: Annotated[str, typer.Option(metavar="TEXT", help="auto, cpu, cuda or cuda:N.")] = SpeedPlan.device,
    dtype: Annotated[str, typer.Option(metavar="TEXT", help=f"{', '.join(DTYPES)}.")] = SpeedPlan.dtype,
    modes: Annotated[
        str | None,
        typer.Option(metavar="LIST", help=f"Of {', '.join(MODES)}.  [default: {_DEFAULT_MODES}]"),
    ] = None,
    view_sides: Annotated[str, typer.Option(metavar="LIST", help=VIEW_SIDES_HELP)] = "",
    ratios: Annotated[str, typer.Option(metavar="LIST", help="Of dynamic and numbers; 1 is no pruning.")] = ",".join(
        SpeedPlan.ratios
    ),
    batch_sizes: Annotated[
        str | None,
        typer.Option(
            metavar="LIST",
            help="Pages together; with --pages-per-context contexts.  "
            f"[default: {','.join(map(str, BATCH_SIZES))}, of contexts {','.join(map(str, CONTEXT_BATCH_SIZES))}]",
        ),
    ] = None,
    stages: Annotated[
        str | None,
        typer.Option(
            metavar="LIST",
            help=f"Of {', '.join(STAGES)}; with --pages-per-context of {', '.join(CONTEXT_STAGES)}.  [default: all]",
        ),
    ] = None,
    contexts: Annotated[
        str | None,
        typer.Option(
            "--pages-per-context",
            metavar="LIST",
            help="Time contexts of so many pages each, in the place of pages, where the model reads many as one text.",
        ),
    ] = None,
    page_count: Annotated[
        int | None,
        typer.Option(
            "--pages",
            metavar="INTEGER",
            help="Pages that the whole reads.  [default: as many as the largest batch]",
        ),
    ] = None,
    output_tokens: Annotated[
        int, typer.Option(metavar="INTEGER", help="Tokens that every page is made to write.")
    ] = SpeedPlan.output_tokens,
    repeats: Annotated[int, typer.Option(metavar="INTEGER", help="How often each stage is timed.")] = SpeedPlan.repeats,
    whole_repeats: Annotated[
        int, typer.Option(metavar="INTEGER", help="How often the whole is timed.")
    ] = SpeedPlan.whole_repeats,
    baseline_pages: Annotated[
        int, typer.Option(metavar="INTEGER", help="Pages that transformers' generate reads, one by one.")
    ] = SpeedPlan.baseline_pages,
    seed: Annotated[int, typer.Option(metavar="INTEGER", help="Of the weights and the pages.")] = SpeedPlan.seed,
    memory_share: Annotated[
        float | None,
        typer.Option(
            "--memory-fraction",
            metavar="NUMBER",
            help="Share of the GPU's memory to use, as if it were smaller.",
        ),
    ] = None,
    kernels: Annotated[
        str, typer.Option(metavar="TEXT", help="auto, or off: decode without rtprune's own kernels.")
    ] = SpeedPlan.kernels,
    json: Annotated[
        Path | None,
        typer.Option("--json", metavar="FILE", help="Write the result here, again after every measurement."),
    ] = None,
    quiet: Quiet = False,
    verbose: Verbose = 0,
) -> None:
    """Time every stage and the whole, with and without pruning, beside transformers' generate.

    The pages are synthetic and every one is made to write the same number of tokens. The table goes to standard
    error. What the numbers mean: docs/benchmarks.md.
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
