"""Owns pages on their way through the model: prepared pages in, results out, in order.

steps.py is the way of one page: begin there; contexts.py that of pages which are read as one text. active.py is either
under way, engine.py does the steps of many at once, memory.py says of how many, reader.py keeps their order. prompts.py
decodes prompts that are no page's own, for probes.
"""

from rtprune_cli.engine.reader import PageReader, StepFacts

__all__ = ["PageReader", "StepFacts"]
