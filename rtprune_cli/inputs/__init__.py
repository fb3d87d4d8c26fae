"""Owns the way in: paths and list files to documents, documents to upright RGB pages, one at a time."""

from rtprune_cli.inputs.documents import find_documents
from rtprune_cli.inputs.pages import count_pages, read_pages
from rtprune_cli.inputs.ranges import check_pages, parse_pages

__all__ = ["check_pages", "count_pages", "find_documents", "parse_pages", "read_pages"]
