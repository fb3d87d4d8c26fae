"""Formulas as pictures: what draws them, TeX or a browser, and what keeps what was drawn."""
