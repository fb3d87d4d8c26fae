"""docs/make_benchmarks.py on what the GPU kit leaves; tests/test_bench_speed.py has the rest of the page."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from conftest import DOCS

H200 = {"name": "NVIDIA H200", "memory_gib": 139.8, "driver": "580.95", "cuda": "13.0"}
Result = dict[str, Any]
Cells = dict[str, list[str]]  # those of each line of a table, by its first


@pytest.fixture
def write(make_benchmarks: ModuleType, tmp_path: Path) -> Callable[..., str]:
    """A function that makes the page of some cards, each given as its files without .json."""

    def make(**cards: dict[str, Result]) -> str:
        page = tmp_path / "benchmarks.md"
        page.write_text((DOCS / "benchmarks.md").read_text(encoding="utf-8"), encoding="utf-8")
        for card, files in cards.items():
            folder = tmp_path / "gpu" / card
            folder.mkdir(parents=True)
            for name, result in files.items():
                (folder / f"{name}.json").write_text(json.dumps(result))
        make_benchmarks.write(page, tmp_path, tmp_path)
        return page.read_text(encoding="utf-8")

    return make


def cells(page: str, name: str) -> Cells:
    """The first table of a part of the page that is made, its head included."""
    made = page.partition(f"make_benchmarks.py: {name} -->")[2].partition("<!-- end -->")[0]
    lines = made.strip().partition("\n\n")[0].splitlines()
    split = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    return {first: others for first, *others in split}


@pytest.fixture
def kit() -> Result:
    """result.json, as tests/gpu/probe keeps it."""
    return {
        "smoke": {
            "versions": {"torch": "2.11.0+cu130"},
            "gpu": "NVIDIA H200",
            "total": 150e9,
            "cudnn": 91900,
            "cuda": "13.0",
            "grouped_mm": {"bfloat16": True, "float32": False},
            "step_attention": ["void at::(anonymous namespace)::fmha<float>(int)"],
        },
        "correct": {
            "golden_tf32_False": [3e-6, [], ["a/base/0.5 graphs=True"]],
            "decode_bfloat16": [8, 7, 8, 5, False],
        },
        "arch": {
            "rates": [4.3e12, 8e14],
            "step": {
                "64/283/cudnn=True/graphs=True": [9.0, 3.0, 400.0, 9.0],
                "64/283/cudnn=False/graphs=True": [6.0, 3.0, 40.0, 6.0],
                "64/283/cudnn=False/graphs=False": [30.0, 3.0, 40.0, 30.0],
                "96/913/cudnn=False/graphs=True": [8.0, 4.0, 40.0, 8.0],
                "1/283/cudnn=True/graphs=True": [2.0, 0.5, 400.0, 2.0],
            },
            "profile_step_64_cudnn_False": {
                "kernels": 2,
                "top": [["gemm", 9, 5.0], ["void fmha_cutlass<int>", 9, 1.0]],
            },
            "ampere": {"bfloat16/64": [12.0, 3.0, 4, False], "bfloat16/1": [4.0, 0.5, 0, True]},
            "encode": {"base/8/cudnn=False": [50.0, 10.0, 900.0, 4e9, 5e9]},
            "prefill": {"16x283/cudnn=False": [15.0, 5.0, 90.0, 1.2e9]},
            "prune": [30.0, 20.0, 3.0, 4.0, 3.0, 3.0],
        },
        "workers": {"workers": [0, 12.5, 4000]},
        "oom": {"24 GB card": [36, 36, {"OutOfMemoryError": 1}, 12, 6, ["20.1", "21.5"]]},
    }


@pytest.fixture
def timed() -> Callable[..., Result]:
    """A function that makes a speed.json of rows."""
    header = json.loads((DOCS / "benchmarks" / "cpu-full-size.json").read_text(encoding="utf-8")) | {"rows": []}

    def make(*rows: Result, command: str = "rtprune bench speed --stages whole", **settings: Any) -> Result:
        machine, every = header["machine"] | {"gpu": H200}, header["settings"] | settings
        return header | {"machine": machine, "settings": every, "command": command, "rows": list(rows)}

    return make


def whole(**changes: Any) -> Result:
    row = {"stage": "whole", "engine": "rtprune", "mode": "base", "ratio": "dynamic", "batch_size": 64, "error": None}
    row |= {"pages": 128, "median": 20.0, "quartile_1": 20.0, "quartile_3": 20.0, "peak_memory_bytes": 30 * 2**30}
    row |= {"pages_per_second": 6.4, "output_tokens_per_second": 12345.6, "times_generate": 99.0}
    return row | changes


# --- The table of cards ------------------------------------------------------------------------------------------


def test_without_results_nothing_is_measured(write: Callable[..., str]) -> None:
    head, *lines = cells(page := write(), "gpu").values()
    assert head == ["H100", "H200"]
    assert len(lines) > 20 and {cell for line in lines[1:] for cell in line} == {"not measured"}
    assert {line[1] for line in list(cells(page, "targets").values())[2:]} == {"not measured"}


@pytest.mark.parametrize(
    ("question", "expected"),
    [
        ("card", "NVIDIA H200, 139.7 GiB"),
        ("versions", "torch 2.11.0+cu130, CUDA 13.0, cuDNN 9.19.0"),
        ("bandwidth, matrix products in bfloat16", "4,300 GB/s, 800 TFLOP/s"),
        ("attention kernel of a step, as torch chooses", "`at::fmha`"),
        ("attention kernel of a step, in a run", "`fmha_cutlass`"),
        ("golden results in float32, TF32 off", "features within 3.0e-06; kept tokens equal; texts: 1 differ"),
        ("decode step, recorded, 64 rows, prompts of 283 tokens", "6 ms, 2.0x floor, 10,667 tokens/s"),
        ("decode step, recorded, 96 rows, prompts of 913 tokens", "8 ms, 2.0x floor, 12,000 tokens/s"),
        ("`grouped_mm` can be recorded in bfloat16", "yes"),
        ("`grouped_mm` can be recorded in float32", "no"),
        ("bfloat16: recorded steps write what plain ones do", "8 of 8 pages"),
        ("bfloat16: pages together write what each does alone", "7 of 8 pages"),
        ("decode step in bfloat16, experts as on an Ampere card, 64 rows", "12 ms, 4.0x floor"),
        ("decode step in bfloat16, experts as on an Ampere card, 1 row", "4 ms, 8.0x floor; not recorded"),
        ("encode base, 8 pages", "50 ms, 5.0x floor; peak 4.00 of 5.00 GB planned"),
        ("prefill, 16 prompts of 283 tokens", "15 ms, 3.0x floor; peak 1.20 GB"),
        ("prune step of 8 pages", "3 ms (first 30 ms)"),
        (
            "out-of-memory drill: 24 GB card",
            "36 of 36 pages out, failed: 1 OutOfMemoryError; rows 12 to 6; peak 20.1 GB allocated, 21.5 GB reserved",
        ),
        ("`rtprune ocr --workers`, bundled model", "workers: 12.50 s, return code 0"),
    ],
)
def test_the_kit_s_result_is_in_the_column_of_its_card(
    write: Callable[..., str], kit: Result, question: str, expected: str
) -> None:
    assert cells(write(h200={"result": kit}), "gpu")[question] == ["not measured", expected]


def test_a_step_timed_with_cudnn_s_attention_only_says_so(write: Callable[..., str], kit: Result) -> None:
    cell = cells(write(h200={"result": kit}), "gpu")["decode step, recorded, 1 row, prompts of 283 tokens"][1]
    assert cell == "2 ms, 4.0x floor, 500 tokens/s; with cuDNN's attention, which a run does not use"


def test_the_speed_of_a_card_is_in_its_column(write: Callable[..., str], timed: Callable[..., Result]) -> None:
    prefill = {"stage": "prefill", "engine": "rtprune", "mode": "large", "ratio": "0.84", "batch_size": 8}
    prefill |= {"error": "out_of_memory"}
    rows = whole(), whole(ratio="1", error="out_of_memory")
    gpu = cells(write(h200={"speed": timed(*rows), "prefill": timed(prefill)}), "gpu")
    assert gpu["card"][1] == "NVIDIA H200, 139.8 GiB"
    assert gpu["whole: pages/s (over `generate`)"][1] == (
        "6.4, 99.0x (base, ratio dynamic, 64 rows); out_of_memory (base, ratio 1, 64 rows)"
    )
    assert gpu["whole: output tokens/s"][1].startswith("12,346 (base, ratio dynamic, 64 rows)")
    assert gpu["mode large: prefill, unpruned / pruned"] == ["not measured"] * 2


def test_a_share_of_the_card_has_its_peak_beside_its_limit(
    write: Callable[..., str], timed: Callable[..., Result]
) -> None:
    gpu = cells(write(h200={"small": timed(whole(mode="gundam"), memory_fraction=0.3)}), "gpu")
    assert gpu["peak of a whole on a share of the card"][1] == "30.0 of 41.9 GiB (gundam, ratio dynamic, 64 rows)"


def test_another_card_has_a_column_too(write: Callable[..., str], kit: Result) -> None:
    kit["smoke"]["gpu"] = "NVIDIA L4"
    gpu = cells(write(l4={"result": kit}), "gpu")
    assert gpu[""] == ["H100", "H200", "L4"] and gpu["card"][2] == "NVIDIA L4, 139.7 GiB"


@pytest.mark.parametrize("section", ["smoke", "correct", "arch", "workers", "oom"])
def test_a_run_that_was_cut_short_lacks_parts(write: Callable[..., str], kit: Result, section: str) -> None:
    short = cells(write(h100={"result": {}}, h200={"result": {section: kit[section]}}), "gpu")
    assert {line[0] for line in list(short.values())[2:]} == {"not measured"}
    assert 1 <= sum(line[1] != "not measured" for line in list(short.values())[2:]) < len(short) / 2


def test_values_may_be_missing_in_a_section(write: Callable[..., str], kit: Result) -> None:
    empty = {name: {} for name in kit} | {"arch": {"step": {}, "encode": {}, "prefill": {}, "prune": [3.0]}}
    assert {line[1] for line in list(cells(write(h200={"result": empty}), "gpu").values())[2:]} == {"not measured"}


def test_files_of_two_cards_are_refused(write: Callable[..., str], kit: Result, timed: Callable[..., Result]) -> None:
    kit["smoke"]["gpu"] = "NVIDIA H100 80GB HBM3"
    with pytest.raises(SystemExit, match=r"h200 should have the results of one GPU.* NVIDIA H100 .* and NVIDIA H200"):
        write(h200={"result": kit, "speed": timed()})


def test_a_trial_of_the_kit_on_a_cpu_is_refused(write: Callable[..., str], kit: Result) -> None:
    del kit["smoke"]["gpu"]
    with pytest.raises(SystemExit, match=r"h200 should have the results of one GPU, and has those of a CPU"):
        write(h200={"result": kit})


# --- The rest of the page ----------------------------------------------------------------------------------------


def test_a_section_below_says_when_and_by_which_command(
    write: Callable[..., str], timed: Callable[..., Result]
) -> None:
    section = write(h200={"speed": timed(whole(), command="rtprune bench speed --own")}).partition("### h200-speed")[2]
    assert "NVIDIA H200" in section and "2026-11-25;" in section.partition("```")[0]
    assert section.partition("```bash\n")[2].startswith("rtprune bench speed --own\n```")


def test_targets_name_the_card(write: Callable[..., str], kit: Result, timed: Callable[..., Result]) -> None:
    h100 = timed(whole(times_generate=50.0))
    h100["machine"] = h100["machine"] | {"gpu": H200 | {"name": "NVIDIA H100 80GB HBM3"}}
    page = write(h200={"result": kit, "speed": timed(whole())}, h100={"speed": h100})
    found = cells(page, "targets")
    assert found["mode base, pages/s over `generate`"][1] == "50.0x (H100); 99.0x (H200)"
    assert found["decode step at batch 64 over its floor"][1] == "2.0x (H200)"
