"""Owns reading on many GPUs and machines with Ray: readers that only read, and this process, which alone writes.

dispatch.py says which reader gets which pages, and what becomes of those of a reader that is lost: it knows nothing of
Ray, so that it can be tried without. remote.py is a reader, in its own process; crew.py starts readers, and hears them
by listening.py; driver.py gives them pages, and is to the pipeline what a reader in this process would be; shipping.py
is how documents that only the driver sees get to readers; link.py has all that is Ray's own.
"""

from rtprune_cli.cluster.driver import ClusterSource, cluster_source, find_the_same

__all__ = ["ClusterSource", "cluster_source", "find_the_same"]
