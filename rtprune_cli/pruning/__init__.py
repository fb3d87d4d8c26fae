"""Visual-token pruning: tensors in, tensors out."""

from rtprune_cli.pruning.rtprune import PendingPrune, Pruner, prune

__all__ = ["PendingPrune", "Pruner", "prune"]
