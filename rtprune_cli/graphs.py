"""What keeps a GPU's queue full: work that is recorded once and replayed, and results that are fetched without a stop.

On a CPU both are the plain thing.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Hashable
from typing import Any

import torch
from torch import Tensor

log = logging.getLogger("rtprune")


class Fetch:
    """A tensor on its way to the host. What is queued after it on the device goes on meanwhile."""

    def __init__(self, tensor: Tensor) -> None:
        self._event = None
        self._host = tensor
        if tensor.is_cuda:
            self._host = torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=True)
            self._host.copy_(tensor, non_blocking=True)
            self._event = torch.cuda.Event()
            self._event.record()

    def get(self) -> Tensor:
        """The tensor on the CPU; waits until it is there."""
        if self._event is not None:
            self._event.synchronize()
        return self._host


class Graphs:
    """Runs functions of one kind, each known by a key; on a GPU a key's second run is recorded as a CUDA graph.

    A recorded function runs on the memory that it saw: what it reads and writes must stay where it is, and what it
    returns is overwritten by the next replay. The first run of a key is a plain one, since kernels are loaded and
    workspaces allocated then, which a recording may not do; it also spares the recording to keys that come only once.
    A function that cannot be recorded, as where a kernel of this GPU or precision looks at the host, is called from
    then on.
    """

    def __init__(self, enabled: bool = True) -> None:
        self._enabled = enabled
        self._seen: set[Hashable] = set()
        self._recorded: dict[Hashable, tuple[torch.cuda.CUDAGraph, Any]] = {}
        self._memory: Any = None  # one pool for all: they never run at the same time

    def recording(self, device: torch.device) -> bool:
        """Whether functions on this device are recorded at all."""
        return self._enabled and device.type == "cuda"

    def run(self, key: Hashable, function: Callable[[], Any]) -> Any:
        """The result of ``function``, called or replayed. Only for devices on which :meth:`recording` is true."""
        if key not in self._seen or not self._enabled:
            self._seen.add(key)
            return function()
        if key not in self._recorded:
            try:
                self._recorded[key] = self._record(function)
            except torch.OutOfMemoryError:
                raise
            except Exception:  # a broken GPU raises again below
                self._enabled = False
                log.info("the GPU's work cannot be recorded and is queued call by call", exc_info=True)
                return function()
        graph, result = self._recorded[key]
        graph.replay()
        return result

    def _record(self, function: Callable[[], Any]) -> tuple[torch.cuda.CUDAGraph, Any]:
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, pool=self._memory, capture_error_mode="thread_local"):
            result = function()
        self._memory = graph.pool()
        return graph, result
