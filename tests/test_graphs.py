"""What keeps a GPU's queue full: without one, that it is asked for the right things, and left in order."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
import torch
from torch import Tensor

from rtprune_cli.device import graphs as module
from rtprune_cli.device.graphs import Fetch, Graphs, send

CUDA = torch.device("cuda")


class FakeCuda:
    """As much of torch.cuda as a recording touches: the current stream, captures that the allocator knows of, and how
    many recordings hold each pool."""

    def __init__(self) -> None:
        self.stream = "default"
        self.underway: list[object] = []  # pools
        self.held: dict[object, int] = {}
        self.replays = self.freed = 0
        self.end_fails: Exception | None = None
        self.lets_go = False  # of a pool, when a recording fails

    @contextmanager
    def on_stream(self, stream: str) -> Iterator[None]:
        before, self.stream = self.stream, stream
        try:
            yield
        finally:
            self.stream = before

    def pool(self) -> tuple[int, int]:
        return 0, len(self.held) + 1

    def end_allocate(self, _device: int, pool: object) -> None:
        if pool not in self.underway:
            raise RuntimeError("endAllocatePool: not currently recording to mempool_id")
        self.underway.remove(pool)

    def free_memory(self) -> None:
        assert not self.underway, "captures_underway.empty() INTERNAL ASSERT FAILED"
        self.freed += 1


@pytest.fixture
def cuda(monkeypatch: pytest.MonkeyPatch) -> FakeCuda:
    fake = FakeCuda()

    class Graph:
        def capture_begin(self, pool: object, capture_error_mode: str) -> None:
            assert fake.stream != "default"
            assert pool not in fake.held or fake.held[pool] > 0, "use_count > 0 INTERNAL ASSERT FAILED"
            fake.held[pool] = fake.held.get(pool, 0) + 1
            fake.underway.append(pool)
            self.pool = pool

        def capture_end(self) -> None:
            if fake.end_fails and fake.held[self.pool] > 1:  # torch before 2.12: the allocator is not told
                fake.held[self.pool] -= fake.lets_go
                error, fake.end_fails = fake.end_fails, None
                raise error
            fake.end_allocate(0, self.pool)

        def replay(self) -> None:
            fake.replays += 1

    for name, stub in {
        "CUDAGraph": Graph,
        "Stream": lambda: "side",
        "stream": fake.on_stream,
        "synchronize": lambda: None,
        "graph_pool_handle": fake.pool,
        "current_device": lambda: 0,
    }.items():
        monkeypatch.setattr(torch.cuda, name, stub)
    monkeypatch.setattr(torch._C, "_cuda_endAllocateToPool", fake.end_allocate, raising=False)
    monkeypatch.setattr(module, "free_memory", fake.free_memory)
    monkeypatch.setattr(module, "_next_to_nothing", lambda: None)
    return fake


def failing(*errors: Exception | None) -> Callable[[], int]:
    """A function that fails so in its first calls, and then returns 7."""
    left = list(errors)

    def work() -> int:
        error = left.pop(0) if left else None
        if error is not None:
            raise error
        return 7

    return work


def test_on_a_cpu_nothing_is_recorded() -> None:
    assert not Graphs().recording(torch.device("cpu"))
    assert not Graphs(enabled=False).recording(CUDA)


def test_on_a_cpu_what_is_sent_and_fetched_is_the_tensor() -> None:
    tensor = torch.ones(3)
    assert Fetch(tensor).get() is tensor
    assert send(tensor, torch.device("cpu")) is tensor


def test_a_key_is_recorded_when_it_comes_again_and_replayed_from_then_on(cuda: FakeCuda) -> None:
    graphs, calls = Graphs(), []

    def work() -> int:
        calls.append("work")
        return 7

    assert [graphs.run("a", work) for _ in range(4)] == [7] * 4
    assert (len(calls), cuda.replays, graphs.recorded) == (2, 3, 1)  # plainly, then to record; a recording does not run
    graphs.run("b", work)
    assert len(calls) == 3


def test_a_replay_sees_the_inputs_of_its_call(cuda: FakeCuda) -> None:
    graphs, seen = Graphs(), []

    def work(own: Tensor) -> Tensor:
        seen.append(own)
        return own

    for value in (1.0, 2.0, 3.0):
        result = graphs.run("a", work, torch.full((2,), value))
    assert result is seen[-1]  # recorded on memory of its own
    assert result.tolist() == [3, 3]


def test_the_recordings_used_last_are_kept(cuda: FakeCuda) -> None:
    graphs = Graphs(most=2)
    for key in "aabbacc":
        graphs.run(key, lambda: 7)
    assert list(graphs._recorded) == ["a", "c"]


def test_cleared_recordings_are_made_anew_in_the_same_pool(cuda: FakeCuda) -> None:
    graphs = Graphs()
    for _ in range(2):
        graphs.run("a", lambda: 7)
    graphs.clear()
    assert graphs.recorded == 0
    graphs.run("a", lambda: 7)
    assert (graphs.recorded, len(cuda.held)) == (1, 1)


@pytest.mark.parametrize("end_fails", [False, True])
def test_a_recording_that_fails_leaves_stream_and_allocator_as_they_were(
    cuda: FakeCuda, end_fails: bool, caplog: pytest.LogCaptureFixture
) -> None:
    graphs = Graphs()
    cuda.end_fails = RuntimeError("operation failed due to a previous error during capture") if end_fails else None
    work = failing(None, RuntimeError("operation not permitted when stream is capturing"))
    with caplog.at_level(logging.DEBUG, "rtprune"):
        assert [graphs.run(key, work) for key in "aaab"] == [7] * 4
    assert (cuda.stream, cuda.underway) == ("default", [])
    assert [record.levelno for record in caplog.records if "cannot be recorded" in record.message] == [logging.WARNING]
    assert graphs.failed
    assert not graphs.recording(CUDA)


@pytest.mark.parametrize("lets_go", [False, True])  # torch versions differ
def test_short_memory_is_freed_once_and_the_recording_tried_again(cuda: FakeCuda, lets_go: bool) -> None:
    graphs = Graphs()
    cuda.lets_go, cuda.end_fails = lets_go, RuntimeError("operation failed due to a previous error during capture")
    work = failing(None, torch.OutOfMemoryError())
    assert [graphs.run("a", work) for _ in range(3)] == [7] * 3
    assert (cuda.freed, graphs.recorded, graphs.failed) == (1, 1, False)
    assert len(cuda.held) == 1  # what the first one took is used again


def test_memory_that_stays_short_is_told_and_not_mistaken_for_a_failure(cuda: FakeCuda) -> None:
    graphs = Graphs()
    cuda.end_fails = RuntimeError("CUDA error: operation failed due to a previous error during capture")
    work = failing(None, torch.OutOfMemoryError(), torch.OutOfMemoryError())
    graphs.run("a", work)
    with pytest.raises(torch.OutOfMemoryError):
        graphs.run("a", work)
    assert (cuda.stream, cuda.underway, graphs.failed) == ("default", [], False)
