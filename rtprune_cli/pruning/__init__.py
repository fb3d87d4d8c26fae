"""Visual-token pruning: tensors in, tensors out."""

from rtprune_cli.pruning.rtprune import prune

__all__ = ["prune"]
