"""The faults of tests/faults.py with small counts: real processes, killed, interrupted and fed with rubbish."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import faults
import pytest


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory) -> faults.Reference:
    return faults.make_reference(tmp_path_factory.mktemp("reference"))


def can_mount(folder: Path) -> bool:
    if shutil.which("mount") is None:
        return False
    tried = subprocess.run(["mount", "-t", "tmpfs", "tmpfs", folder], capture_output=True, check=False).returncode == 0
    return tried and subprocess.run(["umount", folder], check=False).returncode == 0


@pytest.mark.slow
def test_killed_runs_go_on(tmp_path: Path, reference: faults.Reference) -> None:
    assert "every byte equal" in faults.kill_again_and_again(tmp_path, reference, 7).result


@pytest.mark.slow
def test_interrupted_runs_go_on(tmp_path: Path, reference: faults.Reference) -> None:
    faults.interrupt(tmp_path, reference, 1, faults.INTERRUPTS[1:])  # the first signal of two is one of them


@pytest.mark.slow
def test_a_full_disk_is_said_once_and_leaves_nothing_half_written(tmp_path: Path, reference: faults.Reference) -> None:
    if not can_mount(tmp_path):
        pytest.skip("needs the right to mount a tmpfs")
    faults.fill_the_disk(tmp_path, reference, (96,))


@pytest.mark.slow
def test_a_second_run_is_refused_while_the_first_writes(tmp_path: Path, reference: faults.Reference) -> None:
    faults.second_run(tmp_path, reference, 1)


@pytest.mark.slow
def test_every_bad_file_keeps_its_place(tmp_path: Path) -> None:
    faults.read_a_zoo(tmp_path)


@pytest.mark.slow
def test_signals_arrive_while_a_page_is_drawn(tmp_path: Path) -> None:
    faults.signals_while_drawing(tmp_path / "endless", 1)
    faults.signals_while_drawing(tmp_path / "slow", 1, slow=True)


@pytest.mark.slow
def test_a_page_without_an_end_fails_alone(tmp_path: Path) -> None:
    faults.page_time_outs(tmp_path, seconds=6)  # where other tests are at work an innocent page may take a second


@pytest.mark.slow
def test_shares_that_refuse_names_locks_and_syncs_cost_what_they_refuse(tmp_path: Path) -> None:
    faults.poor_shares(tmp_path)
