"""Datasets and checkpoints of a hub on loopback: pulled, resumed, found offline, listed, removed, read."""

from __future__ import annotations

import errno
import io
import json
import shutil
from collections import namedtuple
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from conftest import GOLDEN, GOLDEN2, OCR2, UNLIMITED
from mockhub import MockHub, serving
from test_omnidocbench import block, page

from rtprune_cli.bench.accuracy.datasets import open_published
from rtprune_cli.bench.accuracy.datasets.base import Sample
from rtprune_cli.bench.accuracy.datasets.published import PUBLISHED, cached_datasets, dataset_folder, pull_dataset
from rtprune_cli.errors import EnvironmentFault, HubError, InputError, RtpruneError
from rtprune_cli.hub import checkpoint_folder
from rtprune_cli.tiny.drawing import render
from rtprune_cli.tiny.evaluate import held_out

OMNIDOCBENCH, OLMOCR = "datasets/opendatalab/OmniDocBench", "datasets/allenai/olmOCR-bench"
V1_5 = PUBLISHED["omnidocbench"].repository.releases["v1.5"]
MAIN, PDFS = "a" * 40, "bench_data/pdfs"
NAMES = ["p[1].jpg", "p2.png", "p3.png"]  # a name that would be a pattern is none
FILES = {
    "OmniDocBench.json": json.dumps([page(block("text_block", name, 1), image=name) for name in NAMES]).encode(),
    **{f"images/{name}": name.encode() for name in [*NAMES, "of no page.png"]},
    "pdfs/p2.pdf": b"not read",
    "README.md": b"not read",
}


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[MockHub]:
    """A hub with two releases of OmniDocBench and an empty cache here."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("huggingface_hub.file_download.time.sleep", lambda _: None)
    with serving(monkeypatch) as found:
        found.add(OMNIDOCBENCH, V1_5, FILES, "v1_5")
        found.add(OMNIDOCBENCH, MAIN, {**FILES, "images/p2.png": b"drawn anew"}, "main")
        yield found


def first(count: int) -> Any:
    def choose(samples: list[Sample]) -> list[Sample]:
        return samples[:count]

    return choose


# --- Fetching ----------------------------------------------------------------------------------------------------


def test_what_is_read_is_pulled_and_nothing_else_and_said_before(hub: MockHub, rtprune: Any, tmp_path: Path) -> None:
    result = rtprune("datasets", "pull", "omnidocbench")
    folder = tmp_path / "cache" / "datasets--opendatalab--OmniDocBench" / "snapshots" / V1_5
    assert result.stdout.strip() == str(folder)
    assert sorted(hub.got) == sorted(name for name in FILES if name.startswith(("Omni", "images/")))
    size = sum(len(data) for name, data in FILES.items() if name.startswith("images/"))
    assert f"fetching page images of opendatalab/OmniDocBench v1.5 into {tmp_path}" in result.stderr
    assert f": 4 files, {size / 1e3:.1f} kB. OmniDocBench is for research use only" in result.stderr
    assert rtprune("datasets", "pull", "omnidocbench", "-q").stderr == ""
    assert len(hub.got) == 5  # all was there


def test_only_the_pages_that_are_asked_for_are_fetched(hub: MockHub) -> None:
    dataset = open_published("omnidocbench", None, first(1))
    assert hub.got == ["OmniDocBench.json", "images/p[1].jpg"]
    assert [sample.source.read_text() for sample in dataset.samples] == ["p[1].jpg"]
    assert dataset.identity["repository"] == "opendatalab/OmniDocBench" and dataset.identity["revision"] == V1_5
    open_published("omnidocbench", None, first(3), images=False)
    assert len(hub.got) == 2
    open_published("omnidocbench", None, first(3))
    assert hub.got[2:] == ["images/p2.png", "images/p3.png"] or hub.got[2:] == ["images/p3.png", "images/p2.png"]


def test_a_file_that_is_cut_goes_on_and_those_that_came_are_not_sent_again(hub: MockHub) -> None:
    hub.cuts["OmniDocBench.json"] = 1
    hub.cuts["images/p3.png"] = 100  # for good
    with pytest.raises(HubError, match=r"OmniDocBench could not be fetched .* rtprune datasets pull omnidocbench"):
        pull_dataset("omnidocbench", None)
    assert hub.got.count("OmniDocBench.json") == 2  # its two halves
    before = set(hub.got) - {"images/p3.png"}
    hub.got.clear()
    hub.cuts.clear()
    folder = pull_dataset("omnidocbench", None)
    assert "images/p3.png" in hub.got and not before & set(hub.got)
    assert all((folder / name).read_bytes() == FILES[name] for name in (*before, *hub.got))


def test_a_revision_is_a_release_a_branch_or_a_commit(hub: MockHub) -> None:
    assert pull_dataset("omnidocbench", "v1.5") == pull_dataset("omnidocbench", "v1_5")
    folder = pull_dataset("omnidocbench", "main")
    assert folder.name == MAIN and (folder / "images" / "p2.png").read_bytes() == b"drawn anew"
    assert dataset_folder("omnidocbench", "main") == folder == dataset_folder("omnidocbench", MAIN)


def test_pdfs_without_a_test_are_pages_whether_they_are_here_or_not(hub: MockHub) -> None:
    row = {"pdf": "b/2.pdf", "page": 1, "id": "1", "type": "present", "text": "x", "max_diffs": 0}
    gone = {**row, "pdf": "b/gone.pdf", "id": "2"}
    tests = "\n".join(map(json.dumps, (row, gone))).encode()
    files = {
        "bench_data/tables.jsonl": tests,
        **{f"{PDFS}/{name}.pdf": name.encode() for name in ("a/1", "b/2", "c/3")},
    }
    hub.add(OLMOCR, MAIN, files, "main")
    dataset = open_published("olmocr-bench", None, first(2))
    assert [sample.id for sample in dataset.samples] == ["a/1_pg1_repeat1", "b/2_pg1_repeat1"]
    assert sorted(hub.got) == [f"{PDFS}/a/1.pdf", f"{PDFS}/b/2.pdf", "bench_data/tables.jsonl"]


# --- What can go wrong -------------------------------------------------------------------------------------------


def test_offline_reads_what_is_here_and_says_how_to_get_the_rest(hub: MockHub) -> None:
    with pytest.raises(
        HubError, match=r"is not on this machine\. On a machine with network: rtprune datasets pull omni"
    ):
        open_published("omnidocbench", None, first(1), offline=True)
    open_published("omnidocbench", None, first(1))
    hub.got.clear()
    assert len(open_published("omnidocbench", None, first(1), offline=True).samples) == 1
    with pytest.raises(HubError, match=r"2 of 3 page images of .* are not on this machine\. .* datasets pull omni"):
        open_published("omnidocbench", None, first(3), offline=True)
    with pytest.raises(HubError, match=r"'v1.6' of .* is not on this machine\. Here is --dataset-revision v1\.5\. "):
        open_published("omnidocbench", "v1.6", first(1), offline=True)
    assert hub.got == []


def test_without_an_answer_what_is_here_is_read(hub: MockHub, monkeypatch: pytest.MonkeyPatch) -> None:
    open_published("omnidocbench", None, first(1))
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "http://127.0.0.1:9")
    assert len(open_published("omnidocbench", None, first(1)).samples) == 1
    with pytest.raises(HubError, match="may be here in part"):
        pull_dataset("omnidocbench", None)
    with pytest.raises(HubError, match=r"'main' of .* is not on this machine and the hub cannot be reached"):
        open_published("omnidocbench", "main", first(1))


@pytest.mark.parametrize(
    ("name", "refused", "message"),
    [
        ("omnidocbench", None, r"has no revision 'v9'\. Leave --dataset-revision out for v1\.5, or give v1\.6"),
        ("omnidocbench", (403, "GatedRepo"), r"needs permission\. Accept its terms on the hub, then: hf auth login"),
        ("olmocr-bench", None, r"the hub knows no dataset 'allenai/olmOCR-bench'\. Give rtprune bench a folder"),
        ("ocean-ocr", None, r"is not on the hub\. Get it by: git clone https://github.com/guoxy25/Ocean-OCR"),
        ("books", None, r"no dataset 'books' on the hub\. Use one of omnidocbench, olmocr-bench"),
    ],
)
def test_what_cannot_be_had_says_why_and_what_next(
    hub: MockHub, name: str, refused: tuple[int, str] | None, message: str
) -> None:
    if refused:
        hub.refused[OMNIDOCBENCH] = refused
    with pytest.raises(RtpruneError, match=message):
        pull_dataset(name, "v9")


def test_a_repository_of_another_form_is_told(hub: MockHub) -> None:
    hub.add(OMNIDOCBENCH, "b" * 40, {"README.md": b""}, "empty")
    hub.add(OMNIDOCBENCH, "c" * 40, {k: v for k, v in FILES.items() if k != "images/p2.png"}, "lacking")
    with pytest.raises(HubError, match="revision 'empty' of opendatalab/OmniDocBench holds no annotations"):
        pull_dataset("omnidocbench", "empty")
    with pytest.raises(InputError, match=r"lacks 1 of 3 page images, first images/p2\.png"):
        open_published("omnidocbench", "lacking", first(3))


def test_a_full_disk_is_found_before_and_told_after(hub: MockHub, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = namedtuple("usage", "total used free")
    with monkeypatch.context() as patch:
        patch.setattr(shutil, "disk_usage", lambda _: usage(10**9, 10**9, 1000))
        with pytest.raises(
            EnvironmentFault, match=r"no room for .* kB of opendatalab/OmniDocBench: .* has 1\.0 kB free"
        ):
            pull_dataset("omnidocbench", None)
    assert hub.got == []

    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("huggingface_hub.file_download._chmod_and_move", full)
    with pytest.raises(HubError, match=r"the disk of .* is full: .* HF_HUB_CACHE to a folder on another disk"):
        pull_dataset("omnidocbench", None)


def test_an_interrupted_download_says_that_it_goes_on(
    hub: MockHub, rtprune: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("huggingface_hub.snapshot_download", stop)
    result = rtprune("datasets", "pull", "omnidocbench")
    assert result.exit_code == 130
    assert "files that have arrived are kept: the same command fetches the rest" in result.stderr


# --- The cache ---------------------------------------------------------------------------------------------------


def test_what_is_here_is_listed_found_and_removed(hub: MockHub, rtprune: Any) -> None:
    assert "none is here: rtprune datasets pull omnidocbench" in rtprune("datasets", "list").stderr
    folders = [pull_dataset("omnidocbench", None), pull_dataset("omnidocbench", "main")]
    lines = [line.split("\t") for line in rtprune("datasets", "list").stdout.splitlines()]
    assert sorted(line[:3] for line in lines) == [["omnidocbench", "main", MAIN], ["omnidocbench", "v1.5", V1_5]]
    assert rtprune("datasets", "path", "omnidocbench").stdout.strip() == str(folders[0])
    assert rtprune("datasets", "path", "omnidocbench", "--revision", "main").stdout.strip() == str(folders[1])
    assert rtprune("datasets", "remove", "omnidocbench").stdout.startswith("removed omnidocbench, 0.0 MiB freed")
    assert not any(folder.exists() for folder in folders) and cached_datasets() == []
    result = rtprune("datasets", "remove", "omnidocbench")
    assert result.exit_code == 2 and "is not in the cache" in result.stderr
    assert rtprune("datasets", "path", "omnidocbench").exit_code == 3


def test_a_model_is_pulled_as_it_was_and_found_offline(hub: MockHub) -> None:
    checkpoint = GOLDEN / "checkpoint"
    files = {path.name: path.read_bytes() for path in checkpoint.iterdir() if path.is_file()}
    hub.add("someone/ocr", MAIN, {**files, "modeling.py": b"code"}, "main")
    found = checkpoint_folder("someone/ocr")
    assert found.revision == MAIN and "modeling.py" not in hub.got
    assert checkpoint_folder("someone/ocr", offline=True) == found
    with pytest.raises(
        EnvironmentFault, match=r"someone/ocr has no revision 'v9'\. Leave --revision out for the newest"
    ):
        checkpoint_folder("someone/ocr", "v9")


@pytest.mark.parametrize(("name", "folder"), [("deepseek-ai/DeepSeek-OCR-2", OCR2), ("baidu/Unlimited-OCR", UNLIMITED)])
def test_models_of_other_families_are_pulled_and_listed(hub: MockHub, rtprune: Any, name: str, folder: str) -> None:
    """Their weights are one numbered file with an index."""
    own, weights = GOLDEN2 / folder / "checkpoint", "model-00001-of-000001.safetensors"
    files = {"config.json": (own / "config.json").read_bytes(), weights: (own / "model.safetensors").read_bytes()}
    hub.add(name, MAIN, {**files, "model.safetensors.index.json": b"{}", "modeling.py": b"code"}, "main")
    pulled = rtprune("models", "pull", name)
    assert pulled.exit_code == 0 and "modeling.py" not in hub.got and hub.got.count(weights) == 1, pulled.output
    listed = [line.split("\t") for line in rtprune("models", "list").stdout.splitlines()]
    assert [row[:2] for row in listed[1:]] == [[name, MAIN]] and listed[1][3] == pulled.stdout.strip()
    assert rtprune("models", "path", name).stdout == pulled.stdout
    assert rtprune("models", "remove", name).exit_code == 0


# --- The benchmark -----------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_the_benchmark_reads_its_pages_from_the_hub(hub: MockHub, rtprune: Any, tmp_path: Path) -> None:
    drawn = list(held_out(0, 3))
    files = {"OmniDocBench.json": json.dumps([
        page(block("text_block", each.text, 1), image=f"{number}.png") for number, each in enumerate(drawn)
    ]).encode()}  # fmt: skip
    for number, each in enumerate(drawn):
        buffer = io.BytesIO()
        render(each).save(buffer, "PNG")
        files[f"images/{number}.png"] = buffer.getvalue()
    hub.add(OMNIDOCBENCH, V1_5, files)
    out, few = tmp_path / "out", ["--limit", "2", "--resamples", "100"]
    cheap = ["--model", "tiny", "--methods", "none", "--max-new-tokens", "20", "--workers", "0"]
    result = rtprune("bench", "--dataset", "omnidocbench", *cheap, *few, "-o", out)
    assert result.exit_code == 0, result.stderr
    assert sorted(hub.got) == ["OmniDocBench.json", "images/0.png", "images/1.png"]
    rows = [json.loads(line) for line in (out / "results.jsonl").read_text("utf-8").splitlines()]
    assert [row["sample"] for row in rows] == ["0", "1"]
    expected = {"repository": "opendatalab/OmniDocBench", "revision": V1_5}
    for found in (*rows, json.loads((out / "summary.json").read_text("utf-8"))):
        assert expected.items() <= found["dataset"].items()
    assert f"opendatalab/OmniDocBench at {V1_5[:12]}" in (out / "report.html").read_text("utf-8")
    command = [
        "bench",
        "score",
        "--dataset",
        "omnidocbench",
        "--predictions",
        out / "predictions" / "none",
        "--offline",
    ]
    assert rtprune(*command, *few, "-o", tmp_path / "scores").exit_code == 0


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["omnidocbench", "--offline"], "On a machine with network: rtprune datasets pull omnidocbench"),
        (
            ["omnidocbench", "--data", ".", "--dataset-revision", "v1.5"],
            "--dataset-revision is for datasets of the hub",
        ),
        (["synthetic", "--dataset-revision", "v1.5"], "--dataset-revision is for datasets of the hub"),
        (["ocean-ocr"], "the dataset ocean-ocr is not on the hub. Get it by: git clone"),
        (["folder"], "the dataset folder needs a folder. Give it with --data"),
    ],
)
def test_the_benchmark_says_where_a_dataset_comes_from(
    hub: MockHub, rtprune: Any, tmp_path: Path, flags: list[str], message: str
) -> None:
    result = rtprune("bench", "--model", "tiny", "-o", tmp_path / "out", "--dataset", *flags)
    assert result.exit_code in (2, 3) and message in result.stderr
    assert hub.got == []
