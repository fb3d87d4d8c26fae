"""Owns the command `rtprune analyze`: flags -> plan. torch is imported only when it runs."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer

from rtprune_cli.commands.completing import one_of
from rtprune_cli.commands.flags import Config, Given, flag, with_settings
from rtprune_cli.commands.frame import resolved
from rtprune_cli.errors import EnvironmentFault, ExitCode, UsageError
from rtprune_cli.logs import NOTICE
from rtprune_cli.options import DYNAMIC, MIN_RATIO, LogOptions, OcrOptions, parse_ratio

log = logging.getLogger("rtprune")


OUTPUT = Path("analysis")
GROUPINGS = ("folder", "document", "none")
SETTINGS = (
    "model", "revision", "offline", "device", "dtype", "mode", "prompt", "dpi", "pages", "recursive", "max_pixels",
    "quiet", "verbose", "log_format",
)  # fmt: skip


# No parameter is named as a setting of `rtprune ocr` that means something else: docs/make_cli.py goes by the name.
@with_settings(*SETTINGS)
def analyze(
    given: Given,
    inputs: Annotated[list[str], typer.Argument(metavar="INPUTS", help="PDFs, images or folders.")],
    folder: Annotated[Path, flag("output", "--output", "-o", metavar="FOLDER", help="Output folder.")] = OUTPUT,
    high: Annotated[
        str,
        flag(
            "comparison", "--high", metavar=f"{DYNAMIC}|{MIN_RATIO}-1",
            help="Share of visual tokens that are of high norm; dynamic: as RTPrune chooses.",
            autocompletion=one_of((DYNAMIC, "0.5", "0.75")),
        ),
    ] = "0.5",
    group_by: Annotated[
        str | None,
        flag(
            "comparison", "--group-by", metavar="|".join(GROUPINGS),
            help="What pages are told apart by.  [default: folder, where there are several]",
        ),
    ] = None,
    limit: Annotated[
        int | None, flag("input", "--limit", metavar="N", help="Pages, at most, the first ones.")
    ] = None,
    sample: Annotated[
        int | None, flag("input", "--sample", metavar="N", help="Pages, at most, by chance.")
    ] = None,
    max_tokens: Annotated[
        int, flag("decode", "--max-tokens", metavar="N", help="Longest text of a page, in tokens.", rare=True)
    ] = 512,
    seed: Annotated[
        int, flag("comparison", "--seed", metavar="N", help="Of --sample, the null and the bootstrap.", rare=True)
    ] = 0,
    config: Config = None,
) -> None:  # fmt: skip
    """Measure where the decoder looks while it reads.

    On visual tokens of high norm first, and then on the rest? Reads pages unpruned, one by one, and writes
    analysis.html, analysis.json and pages.jsonl. What the numbers mean: rtprune docs analysis.
    """
    with resolved(given, config) as found:
        share = _share(high)
        if group_by is not None and group_by not in GROUPINGS:
            raise UsageError(f"unknown grouping {group_by!r}", f"Use one of {', '.join(GROUPINGS)}")
        if limit is not None and sample is not None:
            raise UsageError("--limit and --sample exclude each other", "Give one of them")
        least_of = (("limit", limit, 1), ("sample", sample, 1), ("max-tokens", max_tokens, 1), ("seed", seed, 0))
        for name, value, least in least_of:
            if value is not None and value < least:
                raise UsageError(f"{name} is {value}", f"Give a whole number of at least {least}")
        facts = {
            "high": share, "max_tokens": max_tokens, "limit": limit, "sample": sample, "seed": seed,
            "group_by": group_by,
        }  # fmt: skip
        raise typer.Exit(_analyze(inputs, folder, facts, found.ocr, found.log))


def _share(text: str) -> float | None:
    ratio = parse_ratio(text)
    share = None if ratio == DYNAMIC else float(ratio)
    if share is not None and not MIN_RATIO <= share < 1:
        raise UsageError(f"high {share:g} is out of range", f"Give dynamic or a share from {MIN_RATIO} to below 1")
    return share


def _analyze(
    inputs: list[str], folder: Path, facts: dict[str, Any], settings: OcrOptions, log_options: LogOptions
) -> ExitCode:
    from rtprune_cli.inputs import check_pages
    from rtprune_cli.outputs import find_documents
    from rtprune_cli.outputs.webpage.svg import tell_if_not_drawn

    # What can be wrong with the command is found before the model, which takes longest, is loaded.
    check_pages(settings.input.pages)
    documents = find_documents(inputs, recursive=settings.input.recursive, exclude=[folder])
    tell_if_not_drawn()

    from rtprune_cli.analysis.run import PAGE, RESULT, Analysis, AnalysisPlan, group_names
    from rtprune_cli.analysis.terminal import print_summary
    from rtprune_cli.commands.interrupts import stoppable
    from rtprune_cli.logs import make_console
    from rtprune_cli.model import locate
    from rtprune_cli.storage import make_folder

    plan = AnalysisPlan(**facts)
    decode = replace(settings.decode, max_new_tokens=plan.max_tokens, cuda_graphs=False, kernels="off")
    make_folder(folder)
    checkpoint = locate(settings.model)
    analysis = Analysis(
        folder, plan, checkpoint.resolve(replace(settings, decode=decode)), group_names(documents, plan.group_by)
    )
    with stoppable(at_once=True):
        try:
            analysis.read(documents, checkpoint, log_options)
        except (KeyboardInterrupt, EnvironmentFault):
            if analysis.pages:  # hours of reading, perhaps
                analysis.write(checkpoint)
                log.log(NOTICE, "what was read until now is in %s", folder / RESULT)
            raise
        result = analysis.write(checkpoint)
    if result["groups"] and not log_options.quiet and log_options.log_format != "json":
        print_summary(result, make_console())
    data = {"event": "summary", **{name: result[name] for name in ("pages", "failed")}}
    log.log(NOTICE, "the analysis is %s", folder / PAGE, extra={"data": data})
    return ExitCode.PARTIAL if analysis.failures else ExitCode.OK
