"""Owns reading from Python: any source in, typed pages out. torch and the model are loaded at the first page."""

from rtprune_cli.api.page import ReadPage
from rtprune_cli.api.reading import Reader, read
from rtprune_cli.api.sources import Readable

__all__ = ["ReadPage", "Readable", "Reader", "read"]
