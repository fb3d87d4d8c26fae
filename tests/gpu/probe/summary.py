"""Step summary: steps and runs in a few lines, and the targets beside what was measured. Goes without torch."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from probe import OUT, RESULT

FILES = ("speed.json", "prefill.json", "small.json")  # of `rtprune bench speed`
WANTED = (
    "stage", "engine", "mode", "ratio", "batch_size", "pages_per_second", "output_tokens_per_second", "times_generate",
    "prune_share_of_prefill", "times_unpruned", "peak_memory_bytes", "error",
)  # fmt: skip
AS_A_RUN = "/cudnn=False/graphs=True"

Row = dict[str, Any]


def run() -> None:
    result = _read("result.json")
    for key, (took, floor, *_) in result.get("arch", {}).get("step", {}).items():
        print(f"  step {key}: {took:.2f} ms, {took / floor:.1f}x floor")
    for name in FILES:
        for row in _rows(name):
            print("  ", name, {key: _shown(row[key]) for key in WANTED if key in row})
    for name, reason in result.get("failed", {}).items():
        print(f"  {name}: {reason}")
    found = {}
    for name, least, limit, values in targets(result):
        values = values if result.get("gpu") else []  # a trial on a CPU reaches and misses nothing
        verdict = _verdict(values, limit, least)
        print(f"  target {name} {'>=' if least else '<='} {limit:g}: {verdict}")
        found[name] = [limit, values, verdict]
    if result:
        RESULT.write_text(json.dumps(result | {"targets": found}, indent=1) + "\n")


def targets(result: dict[str, Any]) -> Iterator[tuple[str, bool, float, list[float]]]:
    """Name, whether the limit is the least that is wanted or the most, the limit, and what was measured."""
    whole = [row for row in _rows("speed.json") if row["stage"] == "whole" and row["engine"] == "rtprune"]
    whole = [row for row in whole if not row["error"]]
    prefills = [row for row in _rows("prefill.json") if row["stage"] == "prefill" and "times_unpruned" in row]
    steps = result.get("arch", {}).get("step", {})
    usual = [steps[key] for key in steps if key.startswith("64/") and key.endswith(AS_A_RUN)]
    yield "pages/s over generate", True, 20, [row["times_generate"] for row in whole if row["times_generate"]]
    full = [row["output_tokens_per_second"] for row in whole if row["batch_size"] == 128]
    yield "output tokens/s at 128 rows", True, 9000, full
    yield "step over floor at 64 rows", False, 3, [took / floor for took, floor, *_ in usual]
    gains = [row["times_unpruned"]["median"] for row in prefills]
    yield "prefill large at ratio 0.84, unpruned over pruned", True, 1.15, gains
    yield "prune step's share of prefill", False, 0.02, [row["prune_share_of_prefill"] for row in prefills]


def _verdict(values: list[float], limit: float, least: bool) -> str:
    """By the worst of the values."""
    if not values:
        return "not measured"
    worst = min(values) if least else max(values)
    return f"{worst:.3g}, " + ("reached" if (worst >= limit if least else worst <= limit) else "MISSED")


def _shown(value: Any) -> Any:
    if isinstance(value, dict):  # of many ratios the one in the middle
        value = value["median"]
    return round(value, 3) if isinstance(value, float) else value


def _rows(name: str) -> list[Row]:
    """The rows of a result of `rtprune bench speed`, those that failed too."""
    rows: list[Row] = _read(name).get("rows", [])
    return rows


def _read(name: str) -> dict[str, Any]:
    path = OUT / name
    return json.loads(path.read_text()) if path.exists() else {}
