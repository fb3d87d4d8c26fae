"""docs/simulate_cluster.py: many readers in simulated time, with the cluster's own Dispatcher."""

from __future__ import annotations

from dataclasses import replace
from types import ModuleType

import pytest
from conftest import load_script


@pytest.fixture(scope="module")
def simulate() -> ModuleType:
    return load_script("simulate_cluster")


def test_eight_readers_read_every_page_once_and_are_kept_busy(simulate: ModuleType) -> None:
    """That each page comes once is seen to by the simulation."""
    card, costs = replace(simulate.h200(), rows=32), simulate.Costs(page=0.001, document=0.002)
    runs = [simulate.Simulation(card, costs, 8, (20, 50), room=64, seed=3).run() for _ in range(2)]
    assert runs[0].seconds == runs[1].seconds and runs[0].pages == 1000
    assert runs[0].utilisation > 0.7 and 0 < runs[0].driver < 0.5 and runs[0].tail < 0.4


def test_one_that_writes_slowly_is_what_limits(simulate: ModuleType) -> None:
    card = replace(simulate.h200(), rows=32)
    found = simulate.Simulation(card, simulate.Costs(page=0.1, document=0.0), 8, (500, 1), room=64).run()
    assert found.driver > 0.9 and found.seconds == pytest.approx(50, rel=0.1)


def test_a_reader_alone_takes_what_its_card_says(simulate: ModuleType) -> None:
    """One page after the other, then two together, of a card whose steps take longer with more rows."""
    card = simulate.Card(page=1.0, steps=((1, 0.1), (2, 0.15)), rows=1)
    assert simulate.alone(card, [10, 20]) == pytest.approx(1 + 10 * 0.1 + 1 + 20 * 0.1)
    # The second is looked at while the first waits; ten steps of both, and ten of the longer one.
    assert simulate.alone(replace(card, rows=2), [10, 20]) == pytest.approx(2 + 10 * 0.15 + 10 * 0.1)
