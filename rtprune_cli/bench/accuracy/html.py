"""Owns report.html: one file that shows a benchmark's summary, its pictures and the pages that lost most.

It needs no network and no other file. Texts of models and datasets are hostile: the template escapes everything, and a
content security policy lets no script run but the page's own.
"""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from rtprune_cli.bench.accuracy import table
from rtprune_cli.bench.accuracy.plots import pictures
from rtprune_cli.bench.accuracy.rows import Row
from rtprune_cli.bench.accuracy.worst import SHOWN, DiffSpan, Loss, differences, largest_losses
from rtprune_cli.bench.scoring.records import Metric
from rtprune_cli.outputs.webpage import Templates, policy_hash
from rtprune_cli.outputs.webpage.facts import FactTable, fact_tables
from rtprune_cli.outputs.webpage.svg import can_draw
from rtprune_cli.packages import pip_install
from rtprune_cli.report import SPEEDUPS
from rtprune_cli.storage import Json

if TYPE_CHECKING:
    from PIL.Image import Image

    Images = Callable[[str], Image | None]

IMAGE_SIZE = 900, 2700  # pixels, at most
JPEG_QUALITY = 70
# What a summary has besides is told as facts of the run.
OWN_PARTS = (
    "schema_version", "command", "dataset", "metrics", "bootstrap", "configurations", "best", "conclusions", "gates",
    "official",
)  # fmt: skip
Texts = Callable[[str, str], str | None]


class Text(NamedTuple):
    """A text as it is shown; ``spans`` None: there is none. ``more``: letters that are left out."""

    spans: Sequence[DiffSpan] | None
    more: int


class GroupTable(NamedTuple):
    """Groups of one kind: ``rows`` are (group, configuration)."""

    rows: Sequence[tuple[str, str]]
    columns: Sequence[table.SummaryColumn]


class WorstCase(NamedTuple):
    """What a configuration made of a page, beside what was read without pruning."""

    loss: Loss
    before: Text
    after: Text


class WorstPage(NamedTuple):
    """A page that lost, under one configuration or several; ``image`` is a JPEG as a data address."""

    sample: str
    image: str | None
    size: tuple[int, int]
    truth: Text
    cases: Sequence[WorstCase]


def comparison_page(
    summary: Json,
    rows: Sequence[Row],
    *,
    image: Images,
    text: Texts,
    truth: Callable[[str], str],
    worst: int = 12,
) -> str:
    """The page; the same input gives the same bytes.

    Args:
        summary: what :func:`rtprune_cli.bench.accuracy.summary.summarise` returns.
        rows: those that it was made of.
        image: the picture of a sample, or None where it cannot be shown.
        text: what was read under a configuration (its name, the sample), or None.
        truth: the text of a sample.
        worst: cases shown at most, over all configurations, each with its page.
    """
    from markupsafe import Markup

    templates = Templates(__package__)
    script = templates.script("bench.js")
    configurations = summary["configurations"]
    others = [metric for metric in summary["metrics"] if metric not in table.main_metrics(summary)]
    page = (
        templates.environment()
        .get_template("bench.html.jinja")
        .render(
            summary=summary,
            dataset=summary["dataset"],
            metrics=summary["metrics"],
            configurations=configurations,
            names=[row["name"] for row in configurations],
            columns=table.columns(configurations, summary),
            others=table.metric_columns(configurations, others),
            baseline=table.compared_with(configurations),
            command=summary.get("command"),
            facts=_facts(summary),
            speedups=[each for each in SPEEDUPS if any(row[each.field] for row in configurations)],
            timed=any(row["timed_pages"] for row in configurations),
            compared=any(row["relative_accuracy"] for row in configurations),
            limits=table.by_limit(summary["gates"]),
            official=_official(summary["official"]),
            beside=any(row["line"] for row in configurations),
            groups=_groups(summary),
            notes=list(dict.fromkeys(note for row in configurations for note in row["notes"])),
            pictures=[(picture.title, Markup(picture.themed)) for picture in pictures(summary)],
            drawn_by="" if can_draw() else pip_install("matplotlib"),
            pages=list(_worst_pages(summary, rows, image, text, truth, worst)),
            shown=SHOWN,
            style=Markup(templates.style("bench.css")),
            script=Markup(script),
            script_hash=policy_hash(script),
            show=table,
        )
    )
    return page.encode("utf-8", "replace").decode("utf-8")  # names of files can hold halves of letters


def _worst_pages(
    summary: Json, rows: Sequence[Row], image: Images, text: Texts, truth: Callable[[str], str], worst: int
) -> Iterator[WorstPage]:
    """The pages, that with the largest loss first."""
    metrics = [Metric(each["name"], each["title"], each["lower"]) for each in summary["metrics"]]
    headline = [each["name"] for each in summary["metrics"] if each["headline"]]
    by_page: dict[str, list[Loss]] = {}
    baselines = {each["name"]: each["baseline"] for each in summary["configurations"]}
    for loss in largest_losses(rows, metrics, headline, worst, baselines):
        by_page.setdefault(loss.sample, []).append(loss)
    for sample, losses in sorted(by_page.items(), key=lambda item: (-max(loss.size for loss in item[1]), item[0])):
        picture, size = _jpeg(image(sample))
        real = truth(sample)
        cases = [_case(loss, text(loss.baseline, sample), text(loss.configuration, sample), real) for loss in losses]
        yield WorstPage(sample, picture, size, _text(real), cases)


def _case(loss: Loss, before: str | None, after: str | None, truth: str) -> WorstCase:
    if before is None or after is None:  # nothing to tell apart
        return WorstCase(loss, _text(before), _text(after))
    left, right = differences(before, after, truth)
    return WorstCase(loss, _text(before, left), _text(after, right))


def _text(text: str | None, spans: Sequence[DiffSpan] | None = None) -> Text:
    if text is None:
        return Text(None, 0)
    return Text(spans or [DiffSpan(text[:SHOWN], "")], max(0, len(text) - SHOWN))


def _jpeg(image: Image | None) -> tuple[str | None, tuple[int, int]]:
    if image is None:
        return None, (0, 0)
    small = image.convert("RGB")
    small.thumbnail(IMAGE_SIZE)
    buffer = io.BytesIO()
    small.save(buffer, "JPEG", quality=JPEG_QUALITY, optimize=True)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode(), small.size


def _groups(summary: Json) -> dict[str, GroupTable]:
    """A table for each kind of group, a row a group and configuration."""
    kinds: dict[str, list[tuple[str, str, Json]]] = {}
    for configuration in summary["configurations"]:
        for name, group in configuration["groups"].items():
            kind, _, value = name.partition(": ")
            kinds.setdefault(kind, []).append((value, configuration["name"], group))
    found = {}
    for kind, rows in kinds.items():
        rows.sort(key=lambda row: row[0])  # stable: configurations stay in their order
        columns = table.columns([group for _, _, group in rows], summary)
        found[kind] = GroupTable([(value, name) for value, name, _ in rows], columns)
    return found


def _facts(summary: Json) -> list[FactTable]:
    """What was run, where and how."""
    dataset = summary["dataset"]
    facts = {"dataset": f"{dataset['name']}, version {dataset['version']}"}
    return fact_tables("run", facts | {name: value for name, value in summary.items() if name not in OWN_PARTS})


def _official(official: Json | None) -> tuple[list[str], list[tuple[str, list[str]]]]:
    """The benchmark's own totals: configurations, and a row a figure with a text for each of them."""
    found = {name: dict(_flat(totals)) for name, totals in (official or {}).items()}
    names = dict.fromkeys(name for totals in found.values() for name in totals)
    return list(found), [(name, [_number(totals.get(name)) for totals in found.values()]) for name in names]


def _flat(value: Any, name: str = "") -> Iterable[tuple[str, Any]]:
    if not isinstance(value, Mapping):
        return [(name, value)]
    inner = ((f"{name}: {key}" if name else str(key), item) for key, item in value.items())
    return [pair for key, item in inner for pair in _flat(item, key)]


def _number(value: Any) -> str:
    if value is None:
        return "n/a"
    return f"{value:.4f}" if isinstance(value, float) else _plain(value)


def _plain(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
