"""What lies on the Hugging Face hub and in its cache on this machine: checkpoints and datasets. Downloads by name only.

:mod:`repository` fetches files and says what went wrong, :mod:`cache` knows what is here, :mod:`snapshot` fetches the
files of a revision that are needed, :mod:`checkpoints` leads from a model's name to its folder.
"""

from rtprune_cli.hub.checkpoints import (
    BUNDLED_CHECKPOINT,
    CachedModel,
    Origin,
    cached_models,
    checkpoint_folder,
    local,
    pull,
    remove,
)

__all__ = [
    "BUNDLED_CHECKPOINT",
    "CachedModel",
    "Origin",
    "cached_models",
    "checkpoint_folder",
    "local",
    "pull",
    "remove",
]
