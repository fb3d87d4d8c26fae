"""`rtprune bench glyphs`: do characters whose visual tokens are merged survive? On pages where their places are known.

plan.py says what is compared, places.py on which tokens a glyph lies, probe.py reads the pages, figures.py makes rates
with intervals of what came out right, run.py writes the files, table.py shows them.
"""
