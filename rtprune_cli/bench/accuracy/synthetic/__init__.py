"""The synthetic pages of the benchmark: made on the spot, with a truth that is exact."""

from rtprune_cli.bench.accuracy.synthetic.dataset import open_synthetic
from rtprune_cli.bench.accuracy.synthetic.words import WORDS
from rtprune_cli.bench.accuracy.synthetic.write import LAYOUTS, SHEETS, make_pages

__all__ = ["LAYOUTS", "SHEETS", "WORDS", "make_pages", "open_synthetic"]
