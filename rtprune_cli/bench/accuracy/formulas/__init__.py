"""Formulas as pictures: what draws them, and what keeps what was drawn."""
