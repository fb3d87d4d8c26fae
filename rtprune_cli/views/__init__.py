"""Owns what the vision encoder sees of a page, and which part of the page each visual token stands for.

preprocess.py makes views of an image, grid.py is the geometry of their tokens, tokenmap.py what became of each. torch
is not imported: workers start faster.
"""

from rtprune_cli.views.preprocess import make_views

__all__ = ["make_views"]
