"""Visual-token pruning: tensors in, tensors out.

:func:`prune` does the whole step for one page; :func:`prune_pages` for pages with their newlines, as the encoder makes
them. The steps, each over a batch of B pages of N tokens: :func:`importance` and :func:`cosines` of the tokens;
:func:`similarity_ratio` and :func:`text_density`, the two measures of :func:`dynamic_ratio`; :func:`budget`, how many
stay, and :func:`choose`, which; :func:`transport_plan` and :func:`merge`, where the others go;
:func:`drop_repeated_newlines`. Source: RTPrune (ICML 2026), arXiv 2605.00392, section 4.
"""

from rtprune_cli.pruning.merging import merge
from rtprune_cli.pruning.pruner import PendingPrune, Pruner, prune_pages, untouched
from rtprune_cli.pruning.rtprune import (
    budget,
    choose,
    cosines,
    drop_repeated_newlines,
    dynamic_ratio,
    importance,
    similarity_ratio,
    text_density,
)
from rtprune_cli.pruning.tensors import prune
from rtprune_cli.pruning.transport import pot_plan, sinkhorn, transport_plan

__all__ = [
    "PendingPrune",
    "Pruner",
    "budget",
    "choose",
    "cosines",
    "drop_repeated_newlines",
    "dynamic_ratio",
    "importance",
    "merge",
    "pot_plan",
    "prune",
    "prune_pages",
    "similarity_ratio",
    "sinkhorn",
    "text_density",
    "transport_plan",
    "untouched",
]
