"""Owns pages made ready for the model, in worker processes: rasterised and resized, ahead of the reader if it pays."""

from rtprune_cli.prepare.guarded import guard, read_pages, select_pages, with_attachments
from rtprune_cli.prepare.pool import Job
from rtprune_cli.prepare.preparer import Preparer, available_cores, own_cores, worker_count

__all__ = [
    "Job",
    "Preparer",
    "available_cores",
    "guard",
    "own_cores",
    "read_pages",
    "select_pages",
    "with_attachments",
    "worker_count",
]
