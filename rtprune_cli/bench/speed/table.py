"""Owns how a result looks on a terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rtprune_cli.report.fitting import Fitted, TableColumn, joined, print_line, told_once
from rtprune_cli.report.speedups import SPEEDUPS, explained

if TYPE_CHECKING:
    from rich.console import Console

PREFILL = next(each for each in SPEEDUPS if each.field == "prefill_speedup")
STEP = "step ×"
HEADINGS = (
    "stage", "mode", "ratio", "batch", "a page", "spread", "x floor", "GB a step", "peak", PREFILL.heading, STEP,
    "left", "prune/prefill", "fewer bytes ×", "pages/s", "tokens/s", "× generate", "× ours", "error",
)  # fmt: skip
# In which order columns go where a screen is too narrow; others stay.
GOING = (
    "spread", "peak", "tokens/s", "x floor", "GB a step", "fewer bytes ×", "prune/prefill", "left", "× generate",
    "batch",
)  # fmt: skip
MEANINGS = {
    STEP: "time of a step without pruning over that with it",
    "left": "visual tokens after pruning over those before it; of contexts, of the prompt's tokens",
    "prune/prefill": "time of the prune step over that of the prefill behind it",
    "fewer bytes ×": "bytes that a step reads without pruning over those with it",
}


def line(row: dict[str, Any]) -> str:
    """A row as one line, for the log."""
    found = cells(row)
    named = HEADINGS[HEADINGS.index("peak") + 1 : -1]
    return " ".join(f"{name} {text}" if name in named else text for name, text in found.items() if text)


def print_result(result: dict[str, Any], console: Console) -> None:
    """The machine, its rates, and a table of all rows; below it what the columns are that need words."""
    where, model, rates = result["machine"], result["model"], result["rates"]
    gpu = where["gpu"]
    name = gpu["name"] if gpu else f"{where['cpu']}, {where['threads']} threads"
    title = [
        f"{model['name']} in {model['dtype']} on {name}:",
        f"{rates['bandwidth_bytes_per_second'] / 1e9:.0f} GB/s,",
        f"{rates['matmul_flops_per_second'] / 1e12:.2f} TFLOP/s",
    ]
    rows = [cells(row) for row in result["rows"]]
    columns = [
        TableColumn(
            heading, [row[heading] for row in rows], goes=GOING.index(heading) if heading in GOING else None,
            is_left=heading in ("stage", "mode", "ratio", "error"),
        )
        for heading in HEADINGS
    ]  # fmt: skip
    columns, same = told_once(columns, console.width)
    if same:
        same[0] = f"every row: {same[0]}"
    fitted = Fitted(columns, console.width)

    for text in [*joined(title, console.width, " "), *joined(same, console.width)]:
        print_line(console, text, "bold")
    print_line(console, fitted.heading, "bold")
    for text in fitted.rows:
        print_line(console, text)
    shown = {column.heading for column in fitted.columns}
    shown |= {heading for heading in HEADINGS if any(f"{heading} " in words for words in same)}
    notes = explained([PREFILL] if PREFILL.heading in shown else [])
    for text in notes + [f"{heading} = {meaning}" for heading, meaning in MEANINGS.items() if heading in shown]:
        console.print(text, style="dim", markup=False, highlight=False)


def cells(row: dict[str, Any]) -> dict[str, str]:
    """The texts of a row by :data:`HEADINGS`; the time is that of a page, or of a context of many."""
    stage = row["stage"] if row["engine"] == "rtprune" else f"{row['stage']} ({row['engine']})"
    if "pages_per_context" in row:
        stage = f"{stage} of {row['pages_per_context']}"
    found = dict.fromkeys(HEADINGS, "")
    found |= {"stage": stage, "mode": row["mode"], "ratio": row["ratio"] or "", "batch": str(row["batch_size"])}
    if row["error"]:
        return found | {"error": row["error"].replace("_", " ")}
    times = row["times_floor"]
    return found | _gains(row) | {
        "a page": _duration(row["median"] / (row["batch_size"] if "pages_per_context" in row else row["pages"])),
        "spread": f"{100 * (row['quartile_3'] - row['quartile_1']) / row['median']:.0f} %",
        "x floor": "" if times is None else f"{times:.1f}",
        "GB a step": f"{row['step_bytes'] / 1e9:.3f}" if "step_bytes" in row else "",
        "peak": f"{row['peak_memory_bytes'] / 2**30:.2f} GiB",
    }  # fmt: skip


def _gains(row: dict[str, Any]) -> dict[str, str]:
    """What a row says beside its time."""
    found = {}
    if "times_rtprune" in row:
        found["× ours"] = f"{row['times_rtprune']['median']:.1f}"
    if "times_unpruned" in row:
        heading = STEP if "times_unpruned_bytes" in row else PREFILL.heading
        found |= {heading: f"{row['times_unpruned']['median']:.3f}", "left": f"{100 * row['retention']:.1f} %"}
    if "times_unpruned_bytes" in row:
        found["fewer bytes ×"] = f"{row['times_unpruned_bytes']:.3f}"
    if "prune_share_of_prefill" in row:
        found["prune/prefill"] = f"{100 * row['prune_share_of_prefill']:.1f} %"
    if row["stage"] == "whole":
        found |= {"pages/s": f"{row['pages_per_second']:.3g}", "tokens/s": f"{row['output_tokens_per_second']:.0f}"}
        found["× generate"] = f"{row['times_generate']:.1f}" if row["times_generate"] else ""
    elif "tokens_per_second" in row:
        found["tokens/s"] = f"{row['tokens_per_second']:.0f}"
    return found


def _duration(seconds: float) -> str:
    return f"{seconds:.2f} s" if seconds >= 1 else f"{1000 * seconds:.2f} ms"
