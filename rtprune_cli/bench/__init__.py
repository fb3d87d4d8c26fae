"""Measuring rtprune on the machine at hand. Nothing of a run imports this."""
