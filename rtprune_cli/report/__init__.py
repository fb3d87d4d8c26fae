"""Owns what a run says of itself: records of pages that were read, totals, the table. Fields: docs/report-format.md."""

from rtprune_cli.report.flops import prefill_flops
from rtprune_cli.report.page import attempt, page_blocks, page_record, unread_record
from rtprune_cli.report.speedups import SPEEDUPS
from rtprune_cli.report.table import print_table
from rtprune_cli.report.totals import Summary, Totals, summarise

__all__ = [
    "SPEEDUPS",
    "Summary",
    "Totals",
    "attempt",
    "page_blocks",
    "page_record",
    "prefill_flops",
    "print_table",
    "summarise",
    "unread_record",
]
