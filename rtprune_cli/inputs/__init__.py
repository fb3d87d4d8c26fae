"""Owns the way in: paths and list files to documents, documents to upright RGB pages, one at a time."""

from rtprune_cli.inputs.content import content_hash
from rtprune_cli.inputs.documents import find_files
from rtprune_cli.inputs.fetching import fetcher
from rtprune_cli.inputs.pages import read_pages, select_pages
from rtprune_cli.inputs.ranges import check_pages, parse_pages
from rtprune_cli.inputs.sharding import shard_keys, shard_of

__all__ = [
    "check_pages",
    "content_hash",
    "fetcher",
    "find_files",
    "parse_pages",
    "read_pages",
    "select_pages",
    "shard_keys",
    "shard_of",
]
