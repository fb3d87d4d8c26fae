"""Visual-token pruning: tensors in, tensors out."""

from rtprune_cli.pruning.pruner import PendingPrune, Pruner, prune, untouched

__all__ = ["PendingPrune", "Pruner", "prune", "untouched"]
