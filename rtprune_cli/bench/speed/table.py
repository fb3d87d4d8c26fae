"""Owns how a result looks on a terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rtprune_cli.report.speedups import SPEEDUPS, explained

if TYPE_CHECKING:
    from rich.console import Console

HEADINGS = ("stage", "mode", "ratio", "batch", "a page", "spread", "x floor", "GB a step", "peak", "")
PREFILL = next(each for each in SPEEDUPS if each.field == "prefill_speedup")
LEFT = ("stage", "mode", "ratio", "")


def line(row: dict[str, Any]) -> str:
    """A row as one line, for the log."""
    return " ".join(cell for cell in cells(row) if cell)


def print_result(result: dict[str, Any], console: Console) -> None:
    """The machine, its rates, and a table of all rows."""
    from rich.table import Table

    where, model, rates = result["machine"], result["model"], result["rates"]
    gpu = where["gpu"]
    name = gpu["name"] if gpu else f"{where['cpu']}, {where['threads']} threads"
    table = Table(
        title=f"{model['name']} in {model['dtype']} on {name}: "
        f"{rates['bandwidth_bytes_per_second'] / 1e9:.0f} GB/s, {rates['matmul_flops_per_second'] / 1e12:.2f} TFLOP/s"
    )
    columns = list(zip(*map(cells, result["rows"]), strict=True)) or [()] * len(HEADINGS)
    shown = [(heading, column) for heading, column in zip(HEADINGS, columns, strict=True) if any(column)]
    for heading, _ in shown:
        table.add_column(heading, justify="left" if heading in LEFT else "right")
    for row in zip(*(column for _, column in shown), strict=True):
        table.add_row(*row)
    console.print(table)
    pruned = [row for row in result["rows"] if not row["error"] and "times_unpruned" in row]
    if any("prune_share_of_prefill" in row for row in pruned):
        for sentence in explained([PREFILL]):
            console.print(sentence, style="dim", markup=False, highlight=False)
    if any("times_unpruned_bytes" in row for row in pruned):
        console.print("step ×: time of a step without pruning over that with it", style="dim", highlight=False)


def cells(row: dict[str, Any]) -> list[str]:
    """The texts of a row, one for each of :data:`HEADINGS`; the time is that of a page, or of a context of many."""
    stage = row["stage"] if row["engine"] == "rtprune" else f"{row['stage']} ({row['engine']})"
    if "pages_per_context" in row:
        stage = f"{stage} of {row['pages_per_context']}"
    start = [stage, row["mode"], row["ratio"] or "", str(row["batch_size"])]
    if row["error"]:
        return [*start, "", "", "", "", "", row["error"].replace("_", " ")]
    times = row["times_floor"]
    return [
        *start,
        _duration(row["median"] / (row["batch_size"] if "pages_per_context" in row else row["pages"])),
        f"{100 * (row['quartile_3'] - row['quartile_1']) / row['median']:.0f} %",
        "" if times is None else f"{times:.1f}",
        f"{row['step_bytes'] / 1e9:.3f}" if "step_bytes" in row else "",
        f"{row['peak_memory_bytes'] / 2**30:.2f} GiB",
        _remark(row),
    ]


def _remark(row: dict[str, Any]) -> str:
    if "times_rtprune" in row:
        return f"{row['times_rtprune']['median']:.1f} x ours"
    if "times_unpruned_bytes" in row:
        gain, fewer = row["times_unpruned"]["median"], row["times_unpruned_bytes"]
        return f"step × {gain:.3f} at {100 * row['retention']:.1f} % of the tokens, bytes of a step × {1 / fewer:.3f}"
    if "times_unpruned" in row:
        gain, share = row["times_unpruned"]["median"], row["prune_share_of_prefill"]
        kept = f"{100 * row['retention']:.1f} % of the tokens"
        return f"{PREFILL.heading} {gain:.3f} at {kept}, prune step {100 * share:.1f} % of the prefill"
    if row["stage"] == "whole":
        against = f", {row['times_generate']:.1f} x generate" if row["times_generate"] else ""
        return f"{row['pages_per_second']:.3g} pages/s, {row['output_tokens_per_second']:.0f} tokens/s{against}"
    if "tokens_per_second" in row:
        return f"{row['tokens_per_second']:.0f} tokens/s"
    return ""


def _duration(seconds: float) -> str:
    return f"{seconds:.2f} s" if seconds >= 1 else f"{1000 * seconds:.2f} ms"
