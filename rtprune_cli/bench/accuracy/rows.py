"""One page read under one configuration and scored: the rows of results.jsonl."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from rtprune_cli.bench.scoring.records import Marks, Part
from rtprune_cli.records import PageRecord
from rtprune_cli.storage import atomic_write, to_json

SCHEMA_VERSION = 1

SampleStatus = Literal["ok", "failed", "missing"]


@dataclass(frozen=True)
class Row:
    """``status``: ``failed`` when the model was asked and no text came, ``missing`` when there is no prediction.

    ``page`` is the page's record as `rtprune ocr` reports it, None where no model was run. ``prediction`` is the file
    with the text, as a path below the output folder or as it was given.
    """

    configuration: str
    sample: str
    groups: Mapping[str, str | Sequence[str]]
    status: SampleStatus
    marks: Marks
    page: PageRecord | None = None
    prediction: str | None = None


def write_rows(path: Path, rows: Iterable[Row], common: Mapping[str, Mapping[str, Any]]) -> None:
    """Write results.jsonl; ``common`` is what the rows of a configuration share: method, settings, model, versions.

    Raises:
        OutputError: it cannot be written.
    """
    lines = [
        {
            "schema_version": SCHEMA_VERSION,
            "sample": row.sample,
            "groups": row.groups,
            "configuration": row.configuration,
            **common[row.configuration],
            "status": row.status,
            "prediction": row.prediction,
            "scores": {name: _score(parts) for name, parts in row.marks.scores.items()},
            "notes": row.marks.notes,
            "page": {} if row.page is None else row.page.to_json(),
        }
        for row in rows
    ]
    atomic_write(path, b"".join(map(to_json, lines)))


def _score(parts: Sequence[Part]) -> dict[str, Any]:
    """The sums, so that anybody can add pages up otherwise, and the page's own value."""
    total, weight = sum(part.total for part in parts), sum(part.weight for part in parts)
    score: dict[str, Any] = {"value": total / weight if weight else None, "total": total, "weight": weight}
    if any(part.stratum for part in parts):
        score["strata"] = {part.stratum: [part.total, part.weight] for part in parts}
    return score
