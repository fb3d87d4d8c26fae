"""Owns what becomes of what goes wrong: a page's failure and its error, short memory in all its guises, a GPU that is
gone, and the names by which pages are told.

A command wraps its work on a page in :func:`at_page`. torch is not imported: workers that prepare pages start faster.
"""

from __future__ import annotations

import gc
import logging
import sys
import traceback
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from rtprune_cli.errors import EnvironmentFault, OutOfMemoryError, PageFailedError, RtpruneError

if TYPE_CHECKING:
    from rtprune_cli.records import Document, WarningRecord

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


class PageFailure(Exception):
    """A failure on its way to where its page is known."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(failure.kind)
        self.failure = failure


def page_name(document: Document, page: int) -> str:
    """What messages call a page."""
    return f"page {page} of {document.name}"


# --- Boundaries: where exceptions become errors for the user


@contextmanager
def at_page(document: Document, page: int, *, goes_on: bool = False) -> Iterator[None]:
    """Inside, whatever goes wrong is the failure of one page, of which no memory is kept.

    Args:
        goes_on: the command that is run again goes on where it stopped.

    Raises:
        PageFailedError: any exception, but what is an RtpruneError already.
        EnvironmentFault: the GPU is gone, and with it all pages after this one.
    """
    name = page_name(document, page)
    try:
        with gpu_watched(lambda: name, goes_on=goes_on):
            yield
    except RtpruneError:
        raise
    except Exception as error:
        log.debug("%s failed", name, exc_info=True)
        for each in _chain(error):
            traceback.clear_frames(each.__traceback__)  # they keep the page's tensors alive
        failure = failure_of(error)
        if failure.out_of_memory:
            free_memory()
        raise page_error(name, failure) from None


@contextmanager
def gpu_watched(at: Callable[[], str] = str, *, goes_on: bool = False) -> Iterator[None]:
    """Inside, a GPU that is gone ends the run: every page after it would fail with the same error.

    Args:
        at: names the page at work, where one is.
        goes_on: the command that is run again goes on where it stopped.

    Raises:
        EnvironmentFault: the GPU is gone.
    """
    try:
        yield
    except Exception as error:
        if not is_gpu_gone(error):
            raise
        name, again = at(), ": it goes on where it stopped" if goes_on else ""
        raise EnvironmentFault(
            f"the GPU failed{f' at {name}' if name else ''}",
            f"Run the same command again{again}; -vv shows the traceback",
        ) from error


def page_error(name: str, failure: Failure) -> PageFailedError:
    """What the failure of a page, called ``name``, is to the user."""
    if failure.out_of_memory:
        hint = "Use a smaller --mode, --dtype bfloat16, or --device cpu"
        return OutOfMemoryError(f"{name} does not fit into memory on its own", hint)
    hint = "Use --dtype bfloat16 or float32" if failure.kind == OVERFLOW else "Run again with -vv for the traceback"
    return PageFailedError(f"{name} could not be read ({failure.kind})", hint)


def tell(document: Document, page: int | None, error: RtpruneError) -> None:
    """Say on the log why a page, or with ``page`` None a document, failed."""
    data = {"event": "failure", "document": document.name, "page": page, "code": error.code}
    log.error("%s", error, extra={"data": data})


def tell_warnings(document: Document, page: int | None, warnings: Iterable[WarningRecord]) -> None:
    """Say on the log what may be missing or wrong on a page."""
    for each in warnings:
        data = {"event": "warning", "document": document.name, "page": page, "code": each.code}
        name = document.name if page is None else page_name(document, page)
        text = each.message if each.message.startswith(document.name) else f"{name}: {each.message}"
        log.warning("%s", text, extra={"data": data})


# --- What an exception means


def failure_of(error: Exception) -> Failure:
    """What an exception means for its pages.

    Raises:
        torch.AcceleratorError: the GPU is gone, and with it everything after; see :func:`gpu_watched`.
    """
    if isinstance(error, PageFailure):
        return error.failure
    if is_gpu_gone(error):
        raise error
    return Failure(type(error).__name__, is_out_of_memory(error))


def is_gpu_gone(error: BaseException) -> bool:
    """Whether the GPU's context is broken: the driver has given up this process."""
    torch = _torch()
    return torch is not None and isinstance(error, torch.AcceleratorError) and not is_out_of_memory(error)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether memory was short, the GPU's or the host's, by this error or by one that it came of.

    An error in cleaning up, as at the end of a recording, hides the one that began it.
    """
    torch = _torch()
    kinds = (MemoryError,) if torch is None else (MemoryError, torch.OutOfMemoryError)
    return any(
        isinstance(each, kinds) or (isinstance(each, RuntimeError) and any(text in str(each) for text in OUT_OF_MEMORY))
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
    torch = _torch()
    if torch is not None and torch.cuda.is_available():
        try:
            torch.cuda.empty_cache()
        except RuntimeError:  # before torch 2.12 after a recording that failed, see graphs.py
            log.debug("the GPU's unused memory could not be given back", exc_info=True)


def _torch() -> Any:
    """torch where it is loaded, as it is in every process in which one of its errors can be raised."""
    return sys.modules.get("torch")
