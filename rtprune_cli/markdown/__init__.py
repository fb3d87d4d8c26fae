"""Owns raw model text -> markdown, blocks and boxes. The text is hostile: scanned in linear time, never evaluated.

page.py is the way of one page: regions.py finds what the tags say, pieces.py what each part is, writing.py how it is
written, with formulas.py, tables.py and repairs.py.
"""

from rtprune_cli.markdown.page import as_written, plain_markdown, to_markdown
from rtprune_cli.markdown.regions import DET, END_DET, END_REF, GRID, REF, TAGS, opening_tag
from rtprune_cli.markdown.writing import MarkdownStyle

__all__ = [
    "DET",
    "END_DET",
    "END_REF",
    "GRID",
    "REF",
    "TAGS",
    "MarkdownStyle",
    "as_written",
    "opening_tag",
    "plain_markdown",
    "to_markdown",
]
