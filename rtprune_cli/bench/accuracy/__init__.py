"""The benchmark of accuracy: pages with a known text, read by several methods of pruning, scored and compared."""
