"""Owns the device: which one and in which precision, work that is recorded for it, and how long work takes on it."""
