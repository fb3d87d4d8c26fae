"""The command `rtprune bench glyphs`: flags -> plan. torch is imported when it runs."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer

from rtprune_cli.commands.bench_shared import SYNTHETIC_PAGES, Layouts, Resamples, SheetName
from rtprune_cli.commands.completing import list_of
from rtprune_cli.commands.completing import ratios as offered_ratios
from rtprune_cli.commands.flags import Config, Given, flag, with_settings, words
from rtprune_cli.commands.frame import resolved
from rtprune_cli.errors import EnvironmentFault, ExitCode
from rtprune_cli.logs import NOTICE
from rtprune_cli.options import LogOptions, OcrOptions

log = logging.getLogger("rtprune")


OUTPUT = Path("bench/glyphs")
SETTINGS = (
    "model", "revision", "offline", "device", "dtype", "mode", "prompt", "max_pixels", "max_new_tokens",
    "no_repeat_ngram", "no_repeat_window", "batch_size", "memory_fraction", "cuda_graphs", "kernels", "loop_window",
    "wait", "quiet", "verbose", "log_format",
)  # fmt: skip


@with_settings(*SETTINGS)
def glyphs(
    given: Given,
    folder: Annotated[Path, flag("output", "--output", "-o", metavar="FOLDER", help="Output folder.")] = OUTPUT,
    ratios: Annotated[
        str,
        flag(
            "comparison", "--ratios", metavar="LIST", help="Of dynamic and numbers below 1.",
            autocompletion=list_of(each for each in offered_ratios() if each != "1"),
        ),
    ] = "0.75,0.5",
    vocabulary: Annotated[
        str,
        flag(
            "dataset", "--words", metavar="LIST",
            help="natural and random (no language) pages are compared in pairs.  [of mixed|natural|random]",
            autocompletion=list_of(("mixed", "natural", "random")),
        ),
    ] = "mixed",
    limit: Annotated[
        int, flag("dataset", "--limit", metavar="N", help="Pages that are made, for each kind of words.")
    ] = SYNTHETIC_PAGES,
    sheet: SheetName = None,
    layouts: Layouts = "",
    seed: Annotated[
        int, flag("comparison", "--seed", metavar="N", rare=True, help="Of the pages and the bootstrap.")
    ] = 0,
    resamples: Resamples = 10_000,
    config: Config = None,
) -> None:  # fmt: skip
    """Do merged visual tokens keep their characters?

    Makes synthetic pages, where each character's place is known, and reads them unpruned, with the pruned tokens
    merged into the others, and without them: error rates of characters by the cells on which they lie. Writes
    glyphs.json and pages.jsonl. What the numbers mean: rtprune docs accuracy.
    """
    with resolved(given, config) as found:
        facts = {"ratios": words(ratios), "words": words(vocabulary), "layouts": words(layouts), "limit": limit,
                 "seed": seed, "resamples": resamples}  # fmt: skip
        raise typer.Exit(_glyphs(sheet, facts, folder, found.ocr, found.log))


def _glyphs(
    sheet: str | None, facts: dict[str, Any], folder: Path, settings: OcrOptions, log_options: LogOptions
) -> ExitCode:
    from rtprune_cli.bench.accuracy.run import own_folder
    from rtprune_cli.bench.glyphs.plan import GlyphPlan
    from rtprune_cli.bench.glyphs.run import RESULT, GlyphRun
    from rtprune_cli.bench.glyphs.table import print_result
    from rtprune_cli.commands.interrupts import stoppable
    from rtprune_cli.logs import make_console
    from rtprune_cli.model import locate

    # What can be wrong with the command is found before the model, which takes longest, is loaded.
    checkpoint = locate(settings.model)
    checkpoint.check_places("what becomes of the glyphs on pruned cells")
    plan = GlyphPlan(sheet=sheet or ("card" if checkpoint.is_small else "a4"), **facts)
    options = checkpoint.resolve(replace(settings, input=replace(settings.input, pages=None, password=None)))
    with stoppable(at_once=True), own_folder(folder, wait=settings.run.wait):
        run = GlyphRun(folder, plan, options, checkpoint)
        try:
            run.read(log_options)
        except (KeyboardInterrupt, EnvironmentFault):
            if run.pages:
                run.write()
                log.log(NOTICE, "what was read until now is in %s", folder / RESULT)
            raise
        result = run.write()
    if result["rates"] and not log_options.quiet and log_options.log_format != "json":
        print_result(result, make_console())
    data = {"event": "summary", **{name: result[name] for name in ("pages", "failed")}}
    log.log(NOTICE, "the glyphs are %s", folder / RESULT, extra={"data": data})
    return ExitCode.PARTIAL if run.failed else ExitCode.OK
