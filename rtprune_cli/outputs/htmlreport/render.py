"""Owns report.html: one file that shows every page of an output folder, its visual tokens and its text.

It needs no network; of other files it shows the pictures of pages, which lie beside it. Names and texts are hostile:
the template escapes everything, the text of a page is cleaned (text.py), and a content security policy lets no script
run but the report's own. The file is made page by page, so that it may be larger than the memory.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple
from urllib.parse import quote

from rtprune_cli.outputs.htmlreport.plot import HEIGHT, PagePlot
from rtprune_cli.outputs.htmlreport.text import to_html
from rtprune_cli.outputs.webpage import Templates, policy_hash
from rtprune_cli.records import FIELDS, TIMES, PageRecord
from rtprune_cli.report import SPEEDUPS, Summary
from rtprune_cli.views.grid import NO_PLACE

NOTHING = "–"
COLUMNS = ("document", "page", "retention", "visual tokens", "ratio", "text tokens", "finish", "seconds")

Settings = Mapping[str, Any]


class Shown(NamedTuple):
    """A page of the report.

    ``text`` is its markdown, None where there is none; ``tokens`` what view.py kept of it, and ``files`` its picture
    and thumbnail, relative to the report: both None where it was read without --html.
    """

    record: PageRecord
    text: str | None
    tokens: Mapping[str, Any] | None
    files: tuple[str, str] | None


class Frame(NamedTuple):
    """What stands around the report where a program serves it: ``markup`` at the top of the page, and its own ``style``
    and ``script``, which may ask that program."""

    markup: str
    style: str
    script: str


class _Cell(NamedTuple):
    """``value`` is what a column is sorted by: "" comes last; None: the text itself."""

    text: str
    value: float | str | None = None


class _Row(NamedTuple):
    """A page in the list: ``key`` names it in links, ``state`` is what it is filtered by, ``data`` what opens."""

    key: str
    document: str
    page: _Cell
    cells: list[_Cell]
    state: str
    picture: str | None
    thumbnail: str | None
    data: str


def report_page(
    summary: Summary,
    settings: Settings | None,
    pages: Iterable[Shown],
    plots: Sequence[PagePlot] = (),
    frame: Frame | None = None,
) -> Iterator[str]:
    """The report in pieces; ``pages`` are taken one at a time.

    Args:
        summary: the totals of all pages, of :class:`rtprune_cli.report.Totals`.
        settings: those of a document's report, or None where there is none.
        pages: in the order of the list.
        plots: those of documents, in the same order.
        frame: what stands around it, if anything does.
    """
    from markupsafe import Markup

    templates = Templates(__package__)
    script, style = _own(templates)
    milliseconds = {name: total for name, total in summary["milliseconds"].items() if total}
    yield from (
        templates.environment()
        .get_template("report.html.jinja")
        .generate(
            summary=summary,
            figures=_figures(summary),
            milliseconds=milliseconds,
            longest=max(milliseconds.values(), default=1.0),
            facts=_facts(settings),
            plots=plots,
            plot_height=HEIGHT,
            columns=COLUMNS,
            rows=map(_row, pages),
            fields=Markup(_json({"fields": FIELDS, "times": TIMES})),
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
    script, style = _own(Templates(__package__))
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


def _own(templates: Templates) -> tuple[str, str]:
    """The report's script and style."""
    return templates.script("report.js"), templates.read("report.css")


def _json(value: Any) -> str:
    """JSON that can neither end the script element it stands in nor begin another."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"), default=str)
    return re.sub("<(?=[!sS])", r"\\u003c", text.replace("</", r"<\/"))


def _row(page: Shown) -> _Row:
    record, number = page.record, page.record.page
    before, after = record.visual_tokens_before, record.visual_tokens_after
    seconds = sum(record.milliseconds.values()) / 1000
    finish = str(record.finish_reason) if record.error is None else f"failed: {record.error.code}"
    finish = ", ".join([finish, *(each.code for each in record.warnings)])
    states = ["failed"] if record.failed else [str(record.finish_reason)]
    if record.visual_tokens_before and not page.tokens:
        states.append("unseen")
    state = " ".join([*states, *(["warned"] if record.warnings else [])])
    cells = [
        _Cell(_share(record.retention), _value(record.retention)),
        _Cell(NOTHING if before is None else f"{before:,} → {after:,}", _value(before)),
        _Cell(_fixed(record.ratio, 3), _value(record.ratio)),
        _Cell(NOTHING if record.output_tokens is None else f"{record.output_tokens:,}", _value(record.output_tokens)),
        _Cell(finish),
        _Cell(NOTHING, "") if record.failed else _Cell(f"{seconds:.2f}", seconds),
    ]
    picture, thumbnail = (quote(name, errors="replace") for name in page.files) if page.files else (None, None)
    data = {
        "values": list(record.to_json().values()),
        "tokens": page.tokens,
        "picture": picture,
        "html": None if page.text is None or record.failed else to_html(page.text, record.folder),
    }
    place = _Cell("all", -1) if number is None else _Cell(str(number), number)
    key = f"{record.folder}/{'document' if number is None else number}"
    return _Row(key, record.document, place, cells, state, picture, thumbnail, _json(data))


def _figures(summary: Summary) -> list[tuple[str, str, str]]:
    """What a run is told by, largest matters first: name, figure, and what a name does not say."""
    before, after = summary["visual_tokens_before"], summary["visual_tokens_after"]
    found = [
        ("pages read", f"{summary['pages']:,}"),
        ("failed", f"{summary['failed']:,}"),
        ("with warnings", f"{summary['warned']:,}" if summary["warned"] else NOTHING),
        ("visual tokens kept", _share(summary["retention"])),
        ("visual tokens saved", f"{before - after:,} of {before:,}"),
        *((f"speed-up, {each.title}", _times(summary[each.field])) for each in SPEEDUPS),
        ("edit distance to unpruned", _fixed(summary["edit_distance_to_unpruned"], 4)),
        ("text tokens", f"{summary['output_tokens']:,}"),
        ("read more than once", f"{summary['retried']:,}" if summary["retried"] else NOTHING),
        ("ended by", ", ".join(f"{name} {count:,}" for name, count in summary["finish_reasons"].items() if count)),
    ]
    meanings = {f"speed-up, {each.title}": each.meaning for each in SPEEDUPS}
    return [(name, text, meanings.get(name, "")) for name, text in found if text not in (NOTHING, "")]


def _facts(settings: Settings | None) -> list[tuple[str, str]]:
    """Settings by name: those of a group in a line."""
    if settings is None:
        return []
    groups = {name: value for name, value in settings.items() if isinstance(value, Mapping)}
    single = {name: value for name, value in settings.items() if name not in groups}
    lines = {name: ", ".join(f"{key} {_plain(item)}" for key, item in group.items()) for name, group in groups.items()}
    first = {name: lines.pop(name) for name in ("model", "versions") if name in lines}
    rest = {name.replace("_", " "): _plain(value) for name, value in single.items() if value is not None}
    return [*first.items(), *rest.items(), *lines.items()]


def _plain(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)


def _value(value: float | None) -> float | str:
    return "" if value is None else value


def _share(value: float | None) -> str:
    return NOTHING if value is None else f"{100 * value:.1f} %"


def _times(value: float | None) -> str:
    return NOTHING if value is None else f"{value:.2f} ×"


def _fixed(value: float | None, digits: int) -> str:
    return NOTHING if value is None else f"{value:.{digits}f}"
