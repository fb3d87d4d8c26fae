"""Owns `rtprune merge`: the documents of several output folders in one of them.

What stands in a folder (found.py), what of it is taken and what cannot be (choice.py), and the taking (run.py).
"""

from rtprune_cli.outputs.merging.run import MergeResult, merge

__all__ = ["MergeResult", "merge"]
