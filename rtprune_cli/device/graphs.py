"""What keeps a GPU's queue full: work that is recorded once and replayed, and numbers sent and fetched without a stop.

On a CPU all of it is the plain thing.
"""

from __future__ import annotations

import logging
from collections import OrderedDict
from collections.abc import Callable, Hashable, Sequence
from contextlib import suppress
from typing import Any, NamedTuple

import torch
from torch import Tensor

from rtprune_cli.failures import free_memory, is_out_of_memory

log = logging.getLogger("rtprune")


def send(tensor: Tensor, device: torch.device) -> Tensor:
    """A tensor of the host's on the device, without a wait for what is queued there: it goes by pinned memory."""
    if device.type != "cuda":
        return tensor.to(device)
    return tensor.pin_memory().to(device, non_blocking=True)


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


class _Recording(NamedTuple):
    graph: torch.cuda.CUDAGraph
    inputs: Sequence[Tensor]
    result: Any


class Graphs:
    """Runs functions of one kind, each known by a key; on a GPU a key's second run is recorded as a CUDA graph.

    A recorded function runs on the memory that it saw: its inputs are copied there before each replay, and all else
    that it reads and writes must stay where it is. The first run of a key is a plain one, since kernels are loaded and
    workspaces allocated then, which a recording may not do; it also spares the recording to keys that come only once.
    When a function cannot be recorded, all are called from then on, and a warning says so.
    """

    def __init__(self, enabled: bool = True, *, most: int = 64) -> None:
        """``most``: so many recordings are kept, those used last; each takes some 10 MB of the GPU's memory."""
        self.failed = False
        self._enabled = enabled
        self._most = most
        self._seen: set[Hashable] = set()
        self._recorded: OrderedDict[Hashable, _Recording] = OrderedDict()
        # One pool for all, since they never run at the same time, and what keeps it: a recording of next to nothing.
        # torch lets a pool go with its last recording, and keeps the memory of one that failed (pytorch issue 190308):
        # as long as the pool is used again, that is not lost.
        self._memory: Any = None
        self._keeper: _Recording | None = None
        self._stream: Any = None

    def recording(self, device: torch.device) -> bool:
        """Whether functions on this device are recorded at all."""
        return self._enabled and not self.failed and device.type == "cuda"

    @property
    def recorded(self) -> int:
        """Recordings that are kept now."""
        return len(self._recorded)

    def run(self, key: Hashable, function: Callable[..., Any], *inputs: Tensor) -> Any:
        """What ``function(*inputs)`` returns, called or replayed; the next replay writes to the same memory.

        Only for devices on which :meth:`recording` is true. The inputs of a key have one shape each.

        Raises:
            torch.OutOfMemoryError: for want of memory, also to record.
        """
        recording = self._recorded.get(key)
        if recording is None and key in self._seen and not self.failed:
            recording = self._record(function, [each.clone() for each in inputs])
            if recording is not None:
                self._keep(key, recording)
        if recording is None:
            self._seen.add(key)
            return function(*inputs)
        self._recorded.move_to_end(key)
        for mine, new in zip(recording.inputs, inputs, strict=True):
            mine.copy_(new)
        recording.graph.replay()
        return recording.result

    def clear(self) -> None:
        """Let all recordings go, as when memory that they read is used otherwise. Waits for those that still run.

        Their pool stays for those that follow.
        """
        if self._recorded:
            torch.cuda.synchronize()
        self._recorded.clear()

    def _keep(self, key: Hashable, recording: _Recording) -> None:
        if len(self._recorded) >= self._most:
            torch.cuda.synchronize()  # it may still run
            self._recorded.popitem(last=False)
        self._recorded[key] = recording

    def _record(self, function: Callable[..., Any], inputs: Sequence[Tensor]) -> _Recording | None:
        """The recording; None where there can be none. Where memory is short, what others left unused is freed once."""
        for more in (True, False):
            try:
                return self._capture(function, inputs)
            except Exception as error:  # a broken GPU raises again in the plain call
                if not is_out_of_memory(error):
                    self.failed = True
                    log.warning("the GPU's work cannot be recorded: every call is queued by itself, which is slower")
                    log.debug("the recording", exc_info=True)
                    return None
                if not more:
                    raise
            free_memory()  # outside of the handler, where no traceback keeps the function's tensors alive
        return None

    def _capture(self, function: Callable[..., Any], inputs: Sequence[Tensor]) -> _Recording:
        if self._keeper is None:
            self._memory, self._stream = torch.cuda.graph_pool_handle(), torch.cuda.Stream()
            self._keeper = _capture(_next_to_nothing, (), self._memory, self._stream)
        return _capture(function, inputs, self._memory, self._stream)


def _next_to_nothing() -> Tensor:
    return torch.zeros(1, device="cuda")


def _capture(function: Callable[..., Any], inputs: Sequence[Tensor], memory: Any, stream: Any) -> _Recording:
    """What torch.cuda.graph does, with two differences: the current stream comes back however it ends, and the memory
    that other work keeps for itself is not emptied each time."""
    graph = torch.cuda.CUDAGraph()
    torch.cuda.synchronize()
    with torch.cuda.stream(stream):
        try:
            graph.capture_begin(pool=memory, capture_error_mode="thread_local")
            result = function(*inputs)
            graph.capture_end()
        except BaseException:
            _abandon(graph, memory)
            raise
    return _Recording(graph, inputs, result)


def _abandon(graph: torch.cuda.CUDAGraph, memory: Any) -> None:
    """End a recording that failed, for the stream and for the allocator, so that both can be used again.

    Each may have ended by itself already. Before torch 2.12 the allocator does not when the stream's end fails, and
    takes a recording to be under way for ever (pytorch issue 180395).
    """
    with suppress(Exception):
        graph.capture_end()
    with suppress(Exception):
        torch._C._cuda_endAllocateToPool(torch.cuda.current_device(), memory)
