"""Owns what a document that was read is converted to: plain text, a DoclingDocument, a PDF that can be searched.

find.py and blocks_file.py find and read NAME.json; text.py, docling.py and searchable.py make one form each. Of the
last, lines.py finds where lines stand, by ink.py and words.py, and layer.py writes them in the font of glyphless.py.
"""

from rtprune_cli.convert.run import FORMATS, ConvertOptions, convert

__all__ = ["FORMATS", "ConvertOptions", "convert"]
