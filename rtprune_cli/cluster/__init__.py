"""Owns reading on many GPUs and machines with Ray: readers that only read, and this process, which alone writes.

dispatch.py says which reader gets which pages, and what becomes of those of a reader that is lost: it knows nothing of
Ray, so that it can be tried without. remote.py is a reader, in its own process; driver.py starts readers, listens to
them, and is to the pipeline what a reader in this process would be; link.py has all that is Ray's own.
"""

from rtprune_cli.cluster.driver import ClusterSource, cluster_source

__all__ = ["ClusterSource", "cluster_source"]
