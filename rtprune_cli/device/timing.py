"""How long work on a device takes: a stopwatch that waits for the queue, and spans that are read later."""

from __future__ import annotations

import time
from typing import Any

import torch


class Stopwatch:
    """Milliseconds of work on a device since the watch was made; waits for a GPU's queue."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._start = self._now()

    def stop(self) -> float:
        """Milliseconds until now; may be called again."""
        return (self._now() - self._start) * 1000

    def _now(self) -> float:
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)
        return time.perf_counter()


class Span:
    """The time that a device spends on what is queued between the span's making and its end, without a wait."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._start = self._stop = self._mark()

    def end(self) -> Span:
        """Nothing that is queued later belongs to it."""
        self._stop = self._mark()
        return self

    @property
    def milliseconds(self) -> float:
        """Waits until the device has passed the end."""
        if self._device.type == "cuda":
            self._stop.synchronize()
            return float(self._start.elapsed_time(self._stop))
        return float(self._stop - self._start) * 1000

    def _mark(self) -> Any:
        if self._device.type != "cuda":
            return time.perf_counter()
        event = torch.cuda.Event(enable_timing=True)
        event.record()
        return event
