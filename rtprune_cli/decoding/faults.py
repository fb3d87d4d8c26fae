"""What can go wrong with a page, and short memory."""

from __future__ import annotations

import gc
from dataclasses import dataclass

import torch


@dataclass(frozen=True)
class Failure:
    """A page that could not be read: ``kind`` is the exception's name, or says what was wrong with the numbers."""

    kind: str
    out_of_memory: bool = False


def failure_of(error: Exception) -> Failure:
    """What an exception means for its pages.

    Raises:
        torch.AcceleratorError: the GPU's context is broken, and with it everything after.
    """
    out_of_memory = is_out_of_memory(error)
    if isinstance(error, torch.AcceleratorError) and not out_of_memory:
        raise error
    return Failure(type(error).__name__, out_of_memory)


def is_out_of_memory(error: Exception) -> bool:
    """Of the GPU's memory or the host's. On a CPU torch raises a plain RuntimeError with the allocator's name."""
    return isinstance(error, (torch.OutOfMemoryError, MemoryError)) or "DefaultCPUAllocator" in str(error)


def free_memory() -> None:
    """Give back what is not in use, to the device too."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
