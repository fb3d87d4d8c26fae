"""Tables of docs/benchmarks.md from docs/benchmarks/cluster/, for docs/make_benchmarks.py."""

from __future__ import annotations

import json
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from gpu_results import NOT_MEASURED

Table = tuple[list[str], list[list[str]]]  # head, rows

DRIVER_HEAD = ["pages a document", "readers", "output on", "pages/s, best", "pages/s, median", "CPU ms a page, median"]
SIMULATION_HEAD = [
    "documents",
    "readers",
    "pages/s",
    "of what the readers could",
    "writing is busy",
    "tail",
    "limited by",
]
SPEEDUP_HEAD = ["", "seconds, median", "of", "CPU s, median"]


def read(folder: Path, name: str) -> dict[str, Any]:
    """A result, without rows where there is none."""
    path = folder / f"{name}.json"
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else {"rows": []}


def where(result: dict[str, Any]) -> str:
    """Machine and versions."""
    if not result["rows"]:
        return NOT_MEASURED
    machine, versions = result["machine"], result["versions"]
    load = f"load {machine['load_before']:.1f} before and {machine['load_after']:.1f} after"
    named = ", ".join(f"{name} {number}" for name, number in versions.items())
    return f"{machine['cpu']}, {machine['cores']} cores; {named}; {load}."


def driver(folder: Path) -> Table:
    """What the one that writes can take."""
    lines = []
    for name, readers in (("driver", "in this process"), ("driver-ray", "Ray's actors")):
        for row in read(folder, name)["rows"]:
            rates, cpu = row["pages_per_second"], statistics.median(row["cpu_ms_a_page"])
            on = "tmpfs" if row["folder"] == "/dev/shm" else "a disk"
            figures = [f"{max(rates):.0f}", f"{statistics.median(rates):.0f}", f"{cpu:.2f}"]
            lines.append([str(row["pages_a_document"]), readers, on, *figures])
    return DRIVER_HEAD, lines


def hashing(folder: Path) -> str:
    """What is not in the table: inputs are small there."""
    result = read(folder, "driver")
    rate = result.get("hash_bytes_per_second")
    return where(result) + (f" SHA-256 of inputs in memory: {rate / 1e6:,.0f} MB/s." if rate else "")


def simulation(folder: Path) -> Table:
    """How busy readers are kept."""
    lines = []
    for row in read(folder, "simulation")["rows"]:
        shares = [f"{100 * row[key]:.0f} %" for key in ("utilisation", "driver", "tail")]
        lines.append([row["mix"], str(row["readers"]), f"{row['pages'] / row['seconds']:.1f}", *shares, limit(row)])
    return SIMULATION_HEAD, lines


def limit(row: dict[str, Any]) -> str:
    """What costs most, in a word."""
    if row["driver"] > 0.9:
        return "writing"
    if row["utilisation"] > 0.9:
        return "readers"
    return "too few pages: first and last ones" if row["pages"] < 2 * 512 * row["readers"] else "first and last pages"


def speedup(folder: Path) -> Table:
    """One reader on one core, two on two."""
    rows = read(folder, "two-readers")["rows"]
    lines, middle = [], {}
    for readers in sorted({row["readers"] for row in rows}):
        own = [row for row in rows if row["readers"] == readers]
        seconds, cpu = ([row[key] for row in own] for key in ("seconds", "cpu_seconds"))
        middle[readers] = statistics.median(seconds), statistics.median(cpu)
        spread = ", ".join(f"{each:.1f}" for each in seconds)
        what = f"{readers} reader{'s' * (readers > 1)} on {readers} core{'s' * (readers > 1)}"
        lines.append([what, f"{middle[readers][0]:.1f}", spread, f"{middle[readers][1]:.1f}"])
    if len(middle) == 2:
        (one, cpu_one), (two, cpu_two) = middle[1], middle[2]
        lines.append(["speed-up", f"**{one / two:.2f}x**", "", f"{2 * cpu_one / cpu_two:.2f}x at most, by CPU time"])
    return SPEEDUP_HEAD, lines


def parts(folder: Path) -> Sequence[tuple[str, Table, str]]:
    """Marker, table, machine and versions of each."""
    return [
        ("cluster-driver", driver(folder), hashing(folder)),
        ("cluster-simulation", simulation(folder), ""),
        ("cluster-speedup", speedup(folder), where(read(folder, "two-readers"))),
    ]
