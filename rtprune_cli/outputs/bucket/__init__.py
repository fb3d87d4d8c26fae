"""Owns an output folder in a bucket: written as a folder of this machine, the spool, and uploaded document by document.

``BucketOutput`` (output.py) is a FolderOutput on the spool. objects.py is the bucket, index.py what the spool knows of
it, syncing.py the way from there, uploads.py the way there, lease.py one run at a time.
"""

from rtprune_cli.outputs.bucket.output import BucketOutput
from rtprune_cli.outputs.bucket.spool import spool_of

__all__ = ["BucketOutput", "spool_of"]
