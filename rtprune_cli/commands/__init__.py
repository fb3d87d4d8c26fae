"""Owns the commands: one file each over one frame (frame.py), with flags (flags.py) and what a person sees."""
