"""What a run says about itself: page records, totals, the table on the terminal. Fields: docs/report-format.md."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from rtprune_cli.errors import RtpruneError
from rtprune_cli.records import Decoded, Document, PageImage, PrunedTokens, Views

if TYPE_CHECKING:
    from rich.console import Console

SCHEMA_VERSION = 1
TABLE_PAGES = 20  # a longer run is summarised below its first pages

Record = dict[str, Any]

# One order for every record, so that a failed page has the same columns as a good one.
FIELDS = (
    "schema_version", "document", "folder", "page", "status", "error",
    "mode", "prompt", "image_width", "image_height", "dpi", "tile_columns", "tile_rows",
    "visual_tokens_before", "visual_tokens_after", "prunable", "kept", "merged", "newlines_dropped",
    "r_similarity", "r_density", "ratio", "retention",
    "output_tokens", "finish_reason", "loop_tokens_cut", "attempts",
    "rasterise_ms", "preprocess_ms", "encode_ms", "prune_ms", "prefill_ms", "decode_ms", "retry_ms",
    "flops_speedup", "prefill_speedup", "edit_distance_to_unpruned",
)  # fmt: skip


def page_record(
    page: PageImage,
    views: Views,
    pruned: PrunedTokens,
    decoded: Decoded,
    *,
    prompt: str,
    milliseconds: dict[str, float],
    flops_speedup: float,
    attempts: list[Record] | None = None,
    retry_ms: float = 0.0,
    prefill_speedup: float | None = None,
    edit_distance: float | None = None,
) -> Record:
    """The report record of a page that was read. ``milliseconds`` holds preprocess, encode and prune.

    ``attempts`` are the :func:`attempt` records of a page that was read more than once, ``retry_ms`` the time of those
    that were not kept.
    """
    width, height = page.image.size
    return _record(
        page.document,
        page.page,
        status="ok",
        mode=views.mode,
        prompt=prompt,
        image_width=width,
        image_height=height,
        dpi=page.dpi,
        tile_columns=views.grid[0] if views.tiles is not None else None,
        tile_rows=views.grid[1] if views.tiles is not None else None,
        visual_tokens_before=pruned.total,
        visual_tokens_after=len(pruned.keep),
        prunable=pruned.prunable,
        kept=pruned.kept,
        merged=pruned.merged,
        newlines_dropped=pruned.newlines_dropped,
        r_similarity=_round(pruned.r_similarity, 6),
        r_density=_round(pruned.r_density, 6),
        ratio=_round(pruned.ratio, 6),
        retention=_round(len(pruned.keep) / pruned.total, 6),
        output_tokens=len(decoded.token_ids),
        finish_reason=decoded.finish_reason,
        loop_tokens_cut=decoded.loop_tokens_cut,
        attempts=attempts,
        rasterise_ms=_round(page.rasterise_ms, 3),
        preprocess_ms=_round(milliseconds["preprocess"], 3),
        encode_ms=_round(milliseconds["encode"], 3),
        prune_ms=_round(milliseconds["prune"], 3),
        prefill_ms=_round(decoded.prefill_ms, 3),
        decode_ms=_round(decoded.decode_ms, 3),
        retry_ms=_round(retry_ms, 3),
        flops_speedup=_round(flops_speedup, 4),
        prefill_speedup=_round(prefill_speedup, 4),
        edit_distance_to_unpruned=_round(edit_distance, 6),
    )


def attempt(mode: str, retention: float, decoded: Decoded) -> Record:
    """One reading of a page that was read more than once."""
    return {
        "mode": mode,
        "retention": _round(retention, 6),
        "finish_reason": decoded.finish_reason,
        "output_tokens": len(decoded.token_ids),
        "loop_tokens_cut": decoded.loop_tokens_cut,
    }


def failure_record(document: Document, page: int | None, error: RtpruneError) -> Record:
    """The record of a page that failed, or with ``page`` None of a document that could not be opened."""
    return _record(document, page, status="failed", error={"code": error.code, "message": error.message})


def _record(document: Document, page: int | None, **values: Any) -> Record:
    known = {"schema_version": SCHEMA_VERSION, "document": document.name, "folder": str(document.folder)}
    known |= {"page": page, **values}
    return {name: known.get(name) for name in FIELDS}


def _round(value: float | None, digits: int) -> float | None:
    return None if value is None else round(float(value), digits)


def prefill_flops(text_config: Any, tokens: int) -> int:
    """Floating-point operations of the decoder's prefill over ``tokens``, counted from its sizes.

    Two per multiply-add: attention projections, causal scores and their weighted sum, the dense or the routed and
    shared expert MLPs with the router, and the output layer for the last token only.
    """
    hidden, layers = text_config.hidden_size, text_config.num_hidden_layers
    key_value = text_config.num_key_value_heads * text_config.head_dim
    projections = 2 * tokens * hidden * (2 * hidden + 2 * key_value)
    attention = 2 * tokens * (tokens + 1) * hidden
    dense = 6 * tokens * hidden * text_config.intermediate_size
    experts = text_config.num_experts_per_tok + text_config.n_shared_experts
    sparse = 6 * tokens * hidden * text_config.moe_intermediate_size * experts
    sparse += 2 * tokens * hidden * text_config.n_routed_experts
    kinds = text_config.mlp_layer_types
    mlp = kinds.count("dense") * dense + kinds.count("sparse") * sparse
    return int(layers * (projections + attention) + mlp + 2 * hidden * text_config.vocab_size)


class Totals:
    """The sums of a run, kept while it goes on; its size does not grow with the pages that were read."""

    def __init__(self) -> None:
        self.rows: list[Record] = []  # the first ones, for the table
        self.failures: list[Record] = []
        self.stopped: str | None = None  # why the run ended early
        self.pages = self.retried = 0
        self.visual_tokens_before = self.visual_tokens_after = self.output_tokens = 0
        self._finish_reasons = dict.fromkeys(("eos", "length", "loop"), 0)
        self._milliseconds = {name: 0.0 for name in FIELDS if name.endswith("_ms")}
        self._means = {name: _Mean() for name in ("flops_speedup", "prefill_speedup", "edit_distance_to_unpruned")}

    def add(self, row: Record) -> None:
        """Count a page record."""
        if len(self.rows) < TABLE_PAGES:
            self.rows.append(row)
        if row["status"] == "failed":
            self.failures.append({name: row[name] for name in ("document", "page", "error")})
            return
        self.pages += 1
        self.retried += row["attempts"] is not None
        self.visual_tokens_before += row["visual_tokens_before"]
        self.visual_tokens_after += row["visual_tokens_after"]
        self.output_tokens += row["output_tokens"]
        self._finish_reasons[row["finish_reason"]] += 1
        for name in self._milliseconds:
            self._milliseconds[name] += row[name]
        for name, mean in self._means.items():
            mean.add(row[name])

    @property
    def failed(self) -> int:
        """Pages, and documents as a whole, that failed."""
        return len(self.failures)

    @property
    def retention(self) -> float | None:
        """Visual tokens after over before, all pages together; None when no page was read."""
        return self.visual_tokens_after / self.visual_tokens_before if self.visual_tokens_before else None

    def summary(self) -> Record:
        """Totals as a record; means and shares are None when no page was read. The speed-ups are means over pages."""
        return {
            "pages": self.pages,
            "failed": self.failed,
            "retried": self.retried,
            "visual_tokens_before": self.visual_tokens_before,
            "visual_tokens_after": self.visual_tokens_after,
            "retention": _round(self.retention, 6),
            "output_tokens": self.output_tokens,
            "finish_reasons": dict(self._finish_reasons),
            "milliseconds": {name[:-3]: round(total, 3) for name, total in self._milliseconds.items()},
            **{name: _round(mean.value, 6) for name, mean in self._means.items()},
        }


class _Mean:
    """Of the values that are there."""

    def __init__(self) -> None:
        self._total, self._count = 0.0, 0

    def add(self, value: float | None) -> None:
        if value is not None:
            self._total, self._count = self._total + value, self._count + 1

    @property
    def value(self) -> float | None:
        return self._total / self._count if self._count else None


def summarise(records: Iterable[Record]) -> Record:
    """:meth:`Totals.summary` of records at hand."""
    totals = Totals()
    for record in records:
        totals.add(record)
    return totals.summary()


def print_table(totals: Totals, console: Console) -> None:
    """The first pages of a run and its totals as a table."""
    from rich.markup import escape
    from rich.table import Table

    total = totals.summary()
    optional = {
        "prefill ×": total["prefill_speedup"] is not None,
        "edit dist.": total["edit_distance_to_unpruned"] is not None,
    }
    table = Table(title="rtprune", title_justify="left", header_style="bold", show_footer=True)
    table.add_column(
        "document",
        f"{total['pages']} page{'s' * (total['pages'] != 1)}"
        + (f", {total['failed']} failed" if total["failed"] else ""),
    )
    table.add_column("page", justify="right")
    table.add_column("mode")
    table.add_column(
        "visual tokens", f"{total['visual_tokens_before']} → {total['visual_tokens_after']}", justify="right"
    )
    table.add_column("retention", _percent(total["retention"]), justify="right")
    table.add_column("text tokens", str(total["output_tokens"]), justify="right")
    table.add_column("finish")
    table.add_column("seconds", f"{sum(total['milliseconds'].values()) / 1000:.2f}", justify="right")
    table.add_column("FLOPs ×", _times(total["flops_speedup"]), justify="right")
    if optional["prefill ×"]:
        table.add_column("prefill ×", _times(total["prefill_speedup"]), justify="right")
    if optional["edit dist."]:
        table.add_column("edit dist.", f"{total['edit_distance_to_unpruned']:.4f}", justify="right")
    for row in totals.rows:
        table.add_row(*_cells(row, escape, optional))
    if (more := totals.pages + totals.failed - len(totals.rows)) > 0:
        table.add_row(f"… {more} more in the report")
    console.print(table)


def _cells(row: Record, escape: Any, optional: dict[str, bool]) -> list[str]:
    page = "–" if row["page"] is None else str(row["page"])
    name = escape(row["document"].replace("\n", " "))
    if row["status"] == "failed":
        return [name, page, "", "", "", "", f"[red]failed: {row['error']['code']}[/red]"]
    seconds = sum(row[field] for field in FIELDS if field.endswith("_ms")) / 1000
    cells = [
        name,
        page,
        row["mode"],
        f"{row['visual_tokens_before']} → {row['visual_tokens_after']}",
        _percent(row["retention"]),
        str(row["output_tokens"]),
        row["finish_reason"] if row["finish_reason"] == "eos" else f"[yellow]{row['finish_reason']}[/yellow]",
        f"{seconds:.2f}",
        _times(row["flops_speedup"]),
    ]
    if optional["prefill ×"]:
        cells.append(_times(row["prefill_speedup"]))
    if optional["edit dist."]:
        cells.append(f"{row['edit_distance_to_unpruned']:.4f}")
    return cells


def _percent(share: float | None) -> str:
    return "–" if share is None else f"{100 * share:.1f} %"


def _times(factor: float | None) -> str:
    return "–" if factor is None else f"{factor:.2f}"
