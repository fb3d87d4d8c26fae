"""Measuring rtprune on the machine at hand: its speed, and its accuracy by the benchmarks' scoring. No run needs it."""
