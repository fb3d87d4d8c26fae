"""Predictions against the truth: texts in, numbers out. Nothing here reads files or runs a model."""
