"""Owns pages on their way through the model: prepared pages in, results out, in order.

steps.py is the way of one page: begin there. engine.py does its steps for many pages at once, memory.py says for how
many, reader.py keeps their order. prompts.py decodes prompts that are no page's own, for probes.
"""

from rtprune_cli.engine.reader import PageReader

__all__ = ["PageReader"]
