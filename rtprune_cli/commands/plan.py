"""What a run would do: --dry-run."""

from __future__ import annotations

import logging
from collections.abc import Iterable

from rtprune_cli.commands.wording import counted, page_ranges
from rtprune_cli.logs import NOTICE
from rtprune_cli.outputs import Output
from rtprune_cli.records import DocumentPlan, failed
from rtprune_cli.report import Totals

log = logging.getLogger("rtprune")


def print_plan(plans: Iterable[DocumentPlan], output: Output) -> Totals:
    """What a run would do, a line a document on standard output: name, pages to read, what is done, where it goes.

    Tabs separate; the totals hold the documents that cannot be read.
    """
    totals, documents, pages, done = Totals(), 0, 0, 0
    for plan in plans:
        todo = [page for page in plan.pages if page not in plan.earlier.pages]
        state = f"{len(plan.earlier.pages)} done" if plan.earlier.pages else "new"
        if plan.error is not None:
            totals.add(failed(plan.document, None, plan.error).record)
            state = f"failed: {plan.error.code}: {plan.error.message}"
        print(plan.document.name, page_ranges(todo) or "-", state, output.place(plan.document), sep="\t")
        documents, pages, done = documents + 1, pages + len(todo), done + plan.earlier.finished
    parts = [counted(documents, "document"), f"{counted(pages, 'page')} to read"]
    parts += [f"{done} done before"] * bool(done) + [f"{totals.failed} failed"] * bool(totals.failed)
    log.log(NOTICE, "%s", ", ".join(parts))
    return totals
