"""Owns report.html: one file that shows every page of an output folder, its visual tokens and its text.

It needs no network; of other files it shows the pictures of pages, which lie beside it. Names and texts are hostile:
the template escapes everything, the text of a page is cleaned (text.py), and a content security policy lets no script
run but the report's own. The file is made page by page, so that it may be larger than the memory.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cache
from typing import Any, NamedTuple
from urllib.parse import quote

from rtprune_cli.outputs.htmlreport.documents import DocumentRow, document_table, read_when, told_speedups
from rtprune_cli.outputs.htmlreport.figures import NOTHING, ReportCell, change, counted, fixed, moment, share, times
from rtprune_cli.outputs.htmlreport.plot import HEIGHT, PagePlot
from rtprune_cli.outputs.htmlreport.text import to_html
from rtprune_cli.outputs.webpage import Templates, policy_hash
from rtprune_cli.outputs.webpage.facts import FactTable, fact_tables
from rtprune_cli.records import FIELDS, TIMES, PageRecord
from rtprune_cli.report import SPEEDUPS, Summary
from rtprune_cli.report.speedups import Speedup
from rtprune_cli.views.grid import NO_PLACE

KEPT_AND_MERGED = "chosen by their norm, and merged into those; newlines and separators are not counted"

Settings = Mapping[str, Any]


class Shown(NamedTuple):
    """A page of the report.

    ``text`` is its markdown, None where there is none; ``tokens`` what view.py kept of it, and ``files`` its picture
    and thumbnail, relative to the report: both None where it was read without --html. ``markdown`` is the file of its
    document, None where it is not written.
    """

    record: PageRecord
    text: str | None
    tokens: Mapping[str, Any] | None
    files: tuple[str, str] | None
    markdown: str | None = None


class Frame(NamedTuple):
    """What stands around the report where a program serves it: ``markup`` at the top of the page, and its own ``style``
    and ``script``, which may ask that program."""

    markup: str
    style: str
    script: str


class _Row(NamedTuple):
    """A page in the list: ``key`` names it in links, ``state`` is what it is filtered by, ``data`` what opens."""

    key: str
    document: str
    page: ReportCell
    cells: list[ReportCell]
    state: str
    picture: str | None
    thumbnail: str | None
    data: str


def report_page(
    summary: Summary,
    settings: Settings | None,
    documents: Sequence[DocumentRow],
    pages: Iterable[Shown],
    plots: Sequence[PagePlot] = (),
    frame: Frame | None = None,
) -> Iterator[str]:
    """The report in pieces; ``pages`` are taken one at a time.

    Args:
        summary: the totals of all pages, of :class:`rtprune_cli.report.Totals`.
        settings: those of a document's report, or None where there is none.
        documents: in the order of the list, each with its sums.
        pages: in the order of the list.
        plots: those of documents, in the same order.
        frame: what stands around it, if anything does.
    """
    from markupsafe import Markup

    templates = Templates(__package__)
    script, style = _own()
    speedups = told_speedups(summary)
    columns = page_columns(speedups)
    milliseconds = {name: total for name, total in summary["milliseconds"].items() if total}
    told = [(each.heading.removesuffix(" ×"), each.field) for each in SPEEDUPS]
    yield from (
        templates.environment()
        .get_template("report.html.jinja")
        .generate(
            summary=summary,
            figures=_figures(summary),
            milliseconds=milliseconds,
            longest=max(milliseconds.values(), default=1.0),
            facts=_facts(settings),
            documents=document_table(documents, speedups),
            read_when=read_when(documents),
            speedups=speedups,
            plots=plots,
            plot_height=HEIGHT,
            columns=columns,
            rows=(_row(page, speedups) for page in pages),
            fields=Markup(_json({"fields": FIELDS, "times": TIMES, "columns": columns, "speedups": told})),
            markup=Markup,
            style=Markup(style),
            unplaced=f"Of this model nothing is drawn over the page but boxes: {NO_PLACE}.",
            script=Markup(script),
            policy=Markup(security_policy(frame)),
            frame=None if frame is None else Frame(*map(Markup, frame)),
        )
    )


def security_policy(frame: Frame | None = None) -> str:
    """What the page allows itself: its own script and style by their hashes, those of ``frame``, and pictures."""
    script, style = _own()
    scripts, styles = ([script], [style]) if frame is None else ([script, frame.script], [style, frame.style])
    rules = {
        "default-src": "'none'",
        "img-src": "'self' file:",
        "style-src": " ".join(f"'sha256-{policy_hash(each)}'" for each in styles),
        "script-src": " ".join(f"'sha256-{policy_hash(each)}'" for each in scripts),
        **({} if frame is None else {"connect-src": "'self'"}),
        "base-uri": "'none'",
        "form-action": "'none'",
    }
    return "; ".join(f"{name} {value}" for name, value in rules.items())


@cache
def _own() -> tuple[str, str]:
    """The report's script and style."""
    templates = Templates(__package__)
    return templates.script("report.js"), templates.style("report.css")


def page_key(record: PageRecord) -> str:
    """What a page is called in links: its document's folder and its number."""
    return f"{record.folder}/{'document' if record.page is None else record.page}"


def page_columns(speedups: Sequence[Speedup]) -> list[str]:
    """The headings of the list."""
    told = [each.heading for each in speedups]
    figures = ["visual tokens", "kept", "merged", "retention", "ratio", *told, "text tokens", "finish", "seconds"]
    return ["document", "page", *figures]


def _json(value: Any) -> str:
    """JSON that can neither end the script element it stands in nor begin another."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"), default=str)
    return re.sub("<(?=[!sS])", r"\\u003c", text.replace("</", r"<\/"))


def _row(page: Shown, speedups: Sequence[Speedup]) -> _Row:
    record, number = page.record, page.record.page
    seconds = sum(record.milliseconds.values()) / 1000
    finish = str(record.finish_reason) if record.error is None else f"failed: {record.error.code}"
    finish = ", ".join([finish, *(each.code for each in record.warnings)])
    states = ["failed"] if record.failed else [str(record.finish_reason)]
    if record.visual_tokens_before and not page.tokens:
        states.append("unseen")
    state = " ".join([*states, *(["warned"] if record.warnings else [])])
    cells = [
        change(record.visual_tokens_before, record.visual_tokens_after),
        counted(record.kept),
        counted(record.merged),
        share(record.retention),
        fixed(record.ratio, 3),
        *(times(getattr(record, each.field)) for each in speedups),
        counted(record.output_tokens),
        ReportCell(finish),
        fixed(None if record.failed else seconds, 2),
    ]
    picture, thumbnail = (quote(name, errors="replace") for name in page.files) if page.files else (None, None)
    text = None if record.failed else page.text
    data = {
        "values": list(record.to_json().values()),
        "tokens": page.tokens,
        "picture": picture,
        "html": None if text is None else to_html(text, record.folder),
        "text": text,
        "file": page.markdown and (page.markdown, quote(page.markdown, errors="replace")),
        "read": record.started and f"{moment(record.started)} UTC",
    }
    place = ReportCell("all", -1) if number is None else ReportCell(str(number), number)
    return _Row(page_key(record), record.document, place, cells, state, picture, thumbnail, _json(data))


def _figures(summary: Summary) -> list[tuple[str, str, str]]:
    """What a run is told by, largest matters first: name, figure, and what a name does not say."""
    before, after = summary["visual_tokens_before"], summary["visual_tokens_after"]
    retention = summary["retention"]
    found = [
        ("pages read", f"{summary['pages']:,}", ""),
        ("failed", f"{summary['failed']:,}", ""),
        ("with warnings", _unless_none(summary["warned"]), ""),
        ("text tokens", f"{summary['output_tokens']:,}", ""),
        ("read more than once", _unless_none(summary["retried"]), ""),
        ("visual tokens", change(before, after).text, f"before and after pruning: {share(retention).text} stay"),
        ("kept and merged", f"{summary['kept']:,} and {summary['merged']:,}", KEPT_AND_MERGED),
        *((f"speed-up, {each.title}", _factor(summary[each.field]), each.meaning) for each in SPEEDUPS),
        ("edit distance to unpruned", fixed(summary["edit_distance_to_unpruned"], 4).text, ""),
        ("ended by", ", ".join(f"{name} {n:,}" for name, n in summary["finish_reasons"].items() if n), ""),
    ]
    asked = {"visual tokens", "kept and merged"} if not before else set()  # of the model, for no page
    return [each for each in found if each[1] not in (NOTHING, "") and each[0] not in asked]


def _facts(settings: Settings | None) -> list[FactTable]:
    """Settings as tables: what was run, then how."""
    if settings is None:
        return []
    first = {name: settings[name] for name in ("model", "versions") if name in settings}
    return fact_tables("reading", {**first, **settings})


def _unless_none(count: int) -> str:
    return f"{count:,}" if count else NOTHING


def _factor(value: float | None) -> str:
    return NOTHING if value is None else f"{value:.2f} ×"
