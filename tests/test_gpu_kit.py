"""The kit of tests/gpu runs as far as it goes without a GPU, so that it fits the code when one is at hand."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[1]
KIT = ROOT / "tests" / "gpu"
# Packages of the project that the kit neither brings along nor asks for
ABSENT = ("ot", "jsonschema", "playwright", "apted", "pylatexenc", "fuzzysearch", "jieba", "nltk", "mypy", "sphinx")
WITHOUT = """
import sys

class Without:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {absent}:
            raise ModuleNotFoundError(name)

sys.meta_path.insert(0, Without())
"""


def environment(out: Path, **more: str) -> dict[str, str]:
    paths = os.pathsep.join([str(ROOT), str(KIT), os.environ.get("PYTHONPATH", "")])
    return {**os.environ, "DEVICE": "cpu", "OUT": str(out), "PY": sys.executable, "PYTHONPATH": paths, **more}


def run(out: Path, *command: str, **more: str) -> str:
    found = subprocess.run(
        command, cwd=ROOT, env=environment(out, **more), capture_output=True, text=True, timeout=300, check=False
    )
    assert found.returncode == 0, found.stdout[-2000:] + found.stderr[-2000:]
    return found.stdout


SLOW_FIXTURES = {"tried"}  # what uses one of them is slow


@pytest.fixture(scope="module")
def tried(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, dict[str, Any]]:
    """What the short steps say, and what they keep."""
    out = tmp_path_factory.mktemp("kit")
    said = run(out, sys.executable, "-m", "probe", "smoke", "correct", "arch", "oom", "summary")
    return said, json.loads((out / "result.json").read_text())


@pytest.mark.slow
def test_every_step_runs(tried: tuple[str, dict[str, Any]]) -> None:
    said, found = tried
    assert "FAILED" not in said
    assert "failed" not in found
    assert {"smoke", "correct", "arch", "oom", "targets"} <= found.keys()


def test_golden_numbers_are_kept(tried: tuple[str, dict[str, Any]]) -> None:
    worst, wrong_keep, wrong_tokens = tried[1]["correct"]["golden_tf32_False"]
    assert worst < 1e-4
    assert (wrong_keep, wrong_tokens) == ([], [])


@pytest.mark.parametrize("family", ["deepseek_ocr2", "unlimited_ocr"])
def test_golden_numbers_of_other_models_are_kept(tried: tuple[str, dict[str, Any]], family: str) -> None:
    worst, wrong_keep, wrong_tokens, _ = tried[1]["correct"][f"golden_{family}"]
    assert worst < 1e-4
    assert (wrong_keep, wrong_tokens) == ([], [])
    assert f"{family}, alone: tokens as golden on" in tried[0]


def test_steps_and_plans_are_kept(tried: tuple[str, dict[str, Any]]) -> None:
    arch = tried[1]["arch"]
    assert {"rates", "step", "encode", "prefill", "prune", "experts", "ampere", "plans"} <= arch.keys()
    assert all(took > 0 and floor > 0 for took, floor, *_ in arch["step"].values())


def test_no_page_is_lost_in_a_drill(tried: tuple[str, dict[str, Any]]) -> None:
    for done, count, failed, *_ in tried[1]["oom"].values():
        assert (done, failed) == (count, {})


def test_what_was_not_measured_says_so(tried: tuple[str, dict[str, Any]]) -> None:
    assert tried[1]["targets"]["output tokens/s at 128 rows"][2] == "not measured"


def test_the_script_is_one() -> None:
    subprocess.run(["bash", "-n", str(KIT / "gpu_check.sh")], check=True)


@pytest.mark.slow
def test_the_script_runs_its_steps_where_packages_are_missing(tmp_path: Path) -> None:
    """With the packages that README.md brings along to a bare machine, and no GPU: its tests are found and skipped."""
    bare = tmp_path / "bare"
    bare.mkdir()
    (bare / "sitecustomize.py").write_text(WITHOUT.format(absent=ABSENT))
    paths = os.pathsep.join([str(bare), os.environ.get("PYTHONPATH", "")])
    out = tmp_path / "out"
    said = run(out, "bash", str(KIT / "gpu_check.sh"), ONLY="smoke pytest", PYTHONPATH=paths, CUDA_VISIBLE_DEVICES="")
    assert "== smoke: rc 0" in said
    assert "== pytest: rc 0" in said
    assert "no GPU" in said
    assert {path.name for path in out.iterdir()} == {"log.txt", "summary.txt", "result.json"}


def test_a_step_that_is_unknown_is_refused(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "probe", "nothing"]
    found = subprocess.run(command, cwd=ROOT, env=environment(tmp_path), capture_output=True, text=True, check=False)
    assert found.returncode == 1
    assert found.stderr.startswith("usage: python -m probe STEP")
