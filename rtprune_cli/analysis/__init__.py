"""Where the decoder looks while it writes: the two-pass claim of RTPrune, measured (docs/analysis.md).

Data flows one way: attention.py reads one page and records where the decoder looked, trajectory.py makes numbers of a
page, report.py means over pages with intervals, plots.py pictures, run.py runs all of it over documents.
Letters: N visual tokens of a page, P of them prunable, L decoder layers, T steps, K tokens in the context, R draws of
the null.
"""
