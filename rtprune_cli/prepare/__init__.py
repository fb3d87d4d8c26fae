"""Owns pages made ready for the model: rasterised and resized, here or in worker processes ahead of the reader."""

from rtprune_cli.prepare.pool import Job
from rtprune_cli.prepare.preparer import Preparer, available_cores, worker_count

__all__ = ["Job", "Preparer", "available_cores", "worker_count"]
