"""Formulas drawn by TeX, for what compares them as pictures."""

from rtprune_cli.bench.accuracy.formulas.render import render_formulas
from rtprune_cli.bench.accuracy.formulas.tools import tex_tools

__all__ = ["render_formulas", "tex_tools"]
