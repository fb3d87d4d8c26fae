"""What keeps a GPU's queue full: without one, that it is asked for the right things."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from rtprune_cli.graphs import Fetch, Graphs


class Recorded:
    def __init__(self) -> None:
        self.replays = 0

    def replay(self) -> None:
        self.replays += 1


def test_on_a_cpu_nothing_is_recorded() -> None:
    assert not Graphs().recording(torch.device("cpu"))
    assert not Graphs(enabled=False).recording(torch.device("cuda"))


def test_on_a_cpu_a_fetch_is_the_tensor() -> None:
    tensor = torch.ones(3)
    assert Fetch(tensor).get() is tensor


def test_a_key_is_recorded_when_it_comes_again_and_replayed_from_then_on(monkeypatch: pytest.MonkeyPatch) -> None:
    graphs, graph, calls = Graphs(), Recorded(), []
    monkeypatch.setattr(graphs, "_record", lambda function: (graph, function()))

    def work() -> int:
        calls.append("work")
        return 7

    assert [graphs.run("a", work) for _ in range(4)] == [7] * 4
    assert (len(calls), graph.replays) == (2, 3)  # plainly, then to record; a recording does not run
    graphs.run("b", work)
    assert len(calls) == 3


def test_work_that_cannot_be_recorded_is_called(monkeypatch: pytest.MonkeyPatch) -> None:
    graphs, tries = Graphs(), []

    def fail(_: Any) -> Any:
        tries.append(1)
        raise RuntimeError("operation not permitted when stream is capturing")

    monkeypatch.setattr(graphs, "_record", fail)
    assert [graphs.run(key, lambda: 7) for key in "aaab"] == [7] * 4
    assert len(tries) == 1
    assert not graphs.recording(torch.device("cuda"))


def test_short_memory_is_told_and_not_mistaken(monkeypatch: pytest.MonkeyPatch) -> None:
    graphs = Graphs()

    def fail(_: Any) -> Any:
        raise torch.OutOfMemoryError

    monkeypatch.setattr(graphs, "_record", fail)
    graphs.run("a", lambda: 7)
    with pytest.raises(torch.OutOfMemoryError):
        graphs.run("a", lambda: 7)
