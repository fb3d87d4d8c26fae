"""The record of a page that was read."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from rtprune_cli.options import Mode
from rtprune_cli.records import (
    TIMES,
    AttemptRecord,
    Block,
    Decoded,
    PageBlocks,
    PageImage,
    PageRecord,
    PrunedTokens,
    Views,
    WarningRecord,
)
from rtprune_cli.report.totals import rounded


def page_record(
    page: PageImage,
    views: Views,
    pruned: PrunedTokens,
    decoded: Decoded,
    *,
    prompt: str,
    milliseconds: dict[str, float],
    flops: int,
    prune_flops: int,
    flops_speedup: float,
    attempts: tuple[AttemptRecord, ...] | None = None,
    retry_ms: float = 0.0,
    prefill_speedup: float | None = None,
    page_speedup: float | None = None,
    edit_distance: float | None = None,
    context: tuple[int, int] | None = None,
    warnings: tuple[WarningRecord, ...] = (),
) -> PageRecord:
    """The report record of a page that was read. ``milliseconds`` holds preprocess, encode and prune;
    ``flops`` are the prefill's.

    ``context``: the number of the context that the page was read in, and how many pages it has. ``attempts`` are the
    :func:`attempt` records of a page that was read more than once, ``retry_ms`` the time of those that were not kept.
    """
    record = PageRecord(
        **_of_page(page, views.mode, prompt),
        warnings=warnings,
        context=context and context[0],
        context_pages=context and context[1],
        tile_columns=views.grid[0] if views.tiles is not None else None,
        tile_rows=views.grid[1] if views.tiles is not None else None,
        visual_tokens_before=pruned.total,
        visual_tokens_after=len(pruned.keep),
        prunable=pruned.prunable,
        kept=pruned.kept,
        merged=pruned.merged,
        newlines_dropped=pruned.newlines_dropped,
        r_similarity=rounded(pruned.r_similarity, 6),
        r_density=rounded(pruned.r_density, 6),
        ratio=rounded(pruned.ratio, 6),
        retention=rounded(len(pruned.keep) / pruned.total, 6),
        output_tokens=len(decoded.token_ids),
        finish_reason=decoded.finish_reason,
        loop_tokens_cut=decoded.loop_tokens_cut,
        attempts=attempts,
        preprocess_ms=rounded(milliseconds["preprocess"], 3),
        encode_ms=rounded(milliseconds["encode"], 3),
        prune_ms=rounded(milliseconds["prune"], 3),
        prefill_ms=rounded(decoded.prefill_ms, 3),
        decode_ms=rounded(decoded.decode_ms, 3),
        retry_ms=rounded(retry_ms, 3),
        prefill_flops=flops,
        prune_flops=prune_flops,
        flops_speedup=rounded(flops_speedup, 4),
        prefill_speedup=rounded(prefill_speedup, 4),
        page_speedup=rounded(page_speedup, 4),
        edit_distance_to_unpruned=rounded(edit_distance, 6),
    )
    return _with_seconds(record)


def unread_record(page: PageImage, mode: Mode, prompt: str) -> PageRecord:
    """The report record of a page whose ``text`` is known without the model; what the model would count is 0."""
    counts: dict[str, Any] = dict.fromkeys(
        (
            "visual_tokens_before", "visual_tokens_after", "prunable", "kept", "merged", "newlines_dropped",
            "output_tokens", "loop_tokens_cut", "prefill_flops",
        ), 0,
    )  # fmt: skip
    times: dict[str, Any] = {name: 0.0 for name in TIMES if name != "rasterise_ms"}
    record = PageRecord(
        **_of_page(page, mode, prompt),
        warnings=page.warnings,
        r_similarity=0.0,
        r_density=0.0,
        ratio=1.0,
        retention=1.0,
        finish_reason="text_layer" if page.text else "blank",
        prune_flops=0,
        flops_speedup=1.0,
        **counts,
        **times,
    )
    return _with_seconds(record)


def page_blocks(record: PageRecord, markdown: str, blocks: tuple[Block, ...]) -> PageBlocks:
    """A page of NAME.json."""
    assert record.page is not None
    scale = 72 / record.dpi if record.dpi else None  # points a pixel
    return PageBlocks(
        page=record.page,
        status=record.status,
        error=record.error,
        width=record.image_width,
        height=record.image_height,
        dpi=record.dpi,
        width_points=rounded(scale and scale * (record.image_width or 0), 2),
        height_points=rounded(scale and scale * (record.image_height or 0), 2),
        markdown=markdown,
        blocks=blocks,
    )


def _of_page(page: PageImage, mode: Mode, prompt: str) -> dict[str, Any]:
    """The fields of every page that was drawn, whatever wrote its text."""
    width, height = page.size
    return {
        "document": page.document.name,
        "folder": str(page.document.folder),
        "page": page.page,
        "status": "ok",
        "reader": page.reader,
        "mode": mode,
        "prompt": prompt,
        "image_width": width,
        "image_height": height,
        "dpi": page.dpi,
        "started": page.started and _time(page.started),
        "rasterise_ms": rounded(page.rasterise_ms, 3),
    }


def _with_seconds(record: PageRecord) -> PageRecord:
    return replace(record, seconds=round(sum(record.milliseconds.values()) / 1000, 3))


def _time(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds")


def attempt(mode: str, retention: float, decoded: Decoded) -> AttemptRecord:
    """One reading of a page that was read more than once."""
    return AttemptRecord(
        mode=mode,
        retention=round(retention, 6),
        finish_reason=decoded.finish_reason,
        output_tokens=len(decoded.token_ids),
        loop_tokens_cut=decoded.loop_tokens_cut,
    )
