"""Owns what an exception means for the pages at work: short memory in all its guises, or a GPU that is gone."""

from __future__ import annotations

import gc
import logging
from collections.abc import Iterator
from dataclasses import dataclass

import torch

log = logging.getLogger("rtprune")

# torch.OutOfMemoryError covers the caching allocator alone. The driver (graphs, pinned memory, handles), cuBLAS and
# cuDNN have errors of their own, and on a CPU torch raises a plain RuntimeError.
OUT_OF_MEMORY = (
    "out of memory",
    "DefaultCPUAllocator",
    "CUBLAS_STATUS_ALLOC_FAILED",
    "CUDNN_STATUS_ALLOC_FAILED",
    "CUSOLVER_STATUS_ALLOC_FAILED",
    "cudaErrorMemoryAllocation",
)

OVERFLOW = "the numbers overflow"  # what a page's failure is called whose logits are not numbers


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


def is_out_of_memory(error: BaseException) -> bool:
    """Whether memory was short, the GPU's or the host's, by this error or by one that it came of.

    An error in cleaning up, as at the end of a recording, hides the one that began it.
    """
    return any(
        isinstance(each, (torch.OutOfMemoryError, MemoryError))
        or (isinstance(each, RuntimeError) and any(text in str(each) for text in OUT_OF_MEMORY))
        for each in _chain(error)
    )


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        error = error.__cause__ or error.__context__


def free_memory() -> None:
    """Give back what is not in use, to the device too; never fails, since it is called where something just did."""
    gc.collect()
    if torch.cuda.is_available():
        try:
            torch.cuda.empty_cache()
        except RuntimeError:  # before torch 2.12 after a recording that failed, see graphs.py
            log.debug("the GPU's unused memory could not be given back", exc_info=True)
