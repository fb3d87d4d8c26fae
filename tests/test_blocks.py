"""NAME.json: blocks as data, their schema, and what the documentation's programs make of them."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from test_outputs import PAPER, begin, cut_short, page, write

import rtprune_cli
from rtprune_cli.markdown import to_markdown
from rtprune_cli.options import OutputOptions
from rtprune_cli.outputs import FolderOutput
from rtprune_cli.records import DocumentBlocks, Earlier, PageResult, parse

ROOT = Path(__file__).parents[1]
SCHEMA = json.loads((Path(rtprune_cli.__file__).parent / "blocks.schema.json").read_text())
RAW = (
    "<|ref|>title<|/ref|><|det|>[[100, 50, 900, 120]]<|/det|>\n# Ferry times\n\n"
    "<|ref|>table<|/ref|><|det|>[[100, 200, 900, 500]]<|/det|>\n<table><tr><td>Sat</td></tr></table>\n\n"
    "<|ref|>table_caption<|/ref|><|det|>[[100, 510, 900, 540]]<|/det|>\nFrom the quay\n\n"
    "<|ref|>equation<|/ref|><|det|>[[100, 600, 900, 650]]<|/det|>\n\\[x \\quad (1)\\]"
)


def read_page(number: int, raw: str = RAW) -> PageResult:
    found = to_markdown(raw, size=(1998, 999), page=number)
    result = page(number)
    record = replace(result.record, image_width=1998, image_height=999, dpi=144, input_sha256="ab")
    return replace(result, markdown=found, record=record)


def blocks_of(folder: Path) -> Any:
    return json.loads((folder / f"{folder.name}.json").read_bytes())


def test_the_file_has_the_blocks_in_the_order_of_the_markdown(tmp_path: Path) -> None:
    document = blocks_of(write(tmp_path, read_page(1)))
    jsonschema.validate(document, SCHEMA)
    assert document["document"]["sha256"] == "ab"
    (found,) = document["pages"]
    assert (found["width"], found["height"], found["width_points"], found["height_points"]) == (1998, 999, 999, 499.5)
    assert [(block["label"], block["text"] or block["html"] or block["latex"]) for block in found["blocks"]] == [
        ("title", "Ferry times"),
        ("table", "<table><tr><td>Sat</td></tr></table>"),
        ("table_caption", "From the quay"),
        ("equation", "x \\tag{1}"),
    ]
    assert found["blocks"][0]["box"] == [200, 50, 1800, 120]
    assert found["blocks"][0]["box_relative"] == [0.1001, 0.0501, 0.9009, 0.1201]


def test_a_box_stands_in_one_line(tmp_path: Path) -> None:
    text = (write(tmp_path, read_page(1)) / "paper.json").read_text()
    assert '"box": [200, 50, 1800, 120],' in text


def test_the_file_comes_back_as_records(tmp_path: Path) -> None:
    found = parse(DocumentBlocks, blocks_of(write(tmp_path, read_page(1), page(2, error="torn"))))
    assert [each.status for each in found.pages] == ["ok", "failed"]
    assert found.pages[0].blocks == read_page(1).markdown.blocks


def test_blocks_survive_an_interrupt(tmp_path: Path) -> None:
    cut_short(tmp_path, read_page(1))
    with FolderOutput(tmp_path, OutputOptions()) as output:
        begin(output)
        output.add(read_page(2))
        output.finish(PAPER, [1, 2], {})
    assert [len(each["blocks"]) for each in blocks_of(tmp_path / "paper")["pages"]] == [4, 4]


def test_a_document_that_was_moved_says_where_it_lies_now(tmp_path: Path) -> None:
    folder = write(tmp_path, read_page(1))
    before = blocks_of(folder)
    moved = replace(PAPER, path=Path("elsewhere/paper.pdf"), name="elsewhere/paper.pdf")
    with FolderOutput(tmp_path, OutputOptions()) as output:
        output.skip(moved, output.earlier(moved, "f").records)
    after = blocks_of(folder)
    assert after["document"]["path"] == str(Path("elsewhere/paper.pdf").absolute())
    assert after["pages"] == before["pages"] and '"box": [200, 50,' in (folder / "paper.json").read_text()


def test_no_json_takes_away_what_an_earlier_run_wrote(tmp_path: Path) -> None:
    write(tmp_path, read_page(1))
    folder = write(tmp_path, read_page(1), options=OutputOptions(json=False))
    assert not (folder / "paper.json").exists()


def test_a_finished_document_without_its_blocks_is_read_again(tmp_path: Path) -> None:
    write(tmp_path, read_page(1), options=OutputOptions(json=False))
    assert FolderOutput(tmp_path, OutputOptions()).earlier(PAPER, "f") == Earlier()
    assert FolderOutput(tmp_path, OutputOptions(json=False)).earlier(PAPER, "f").finished


@pytest.mark.parametrize(
    "change", [{"box": [1, 2, 3]}, {"level": 7}, {"confidence": 1.0}, {"label": None}, {"more": 1}]
)
def test_the_schema_refuses_a_wrong_block(change: dict[str, Any], tmp_path: Path) -> None:
    document = blocks_of(write(tmp_path, read_page(1)))
    document["pages"][0]["blocks"][0].update(change)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(document, SCHEMA)


def test_blocks_of_a_real_run_fit_the_schema(make_pdf: Callable[..., Path], rtprune: Any, tmp_path: Path) -> None:
    flags = ["--model", "tiny", "--max-new-tokens", "5", "-o", tmp_path / "out"]
    assert rtprune("ocr", make_pdf("one", "two"), *flags).exit_code == 0
    document = blocks_of(tmp_path / "out" / "doc")
    jsonschema.validate(document, SCHEMA)
    rows = [json.loads(line) for line in (tmp_path / "out" / "report.jsonl").read_text().splitlines()]
    assert {row["input_sha256"] for row in rows} == {document["document"]["sha256"]}
    assert {row["text_path"] for row in rows} == {"doc/doc.md"}
    assert all(row["started"].endswith("+00:00") and row["seconds"] > 0 for row in rows)


def test_settings_are_said_in_the_words_of_their_flags(
    make_pdf: Callable[..., Path], rtprune: Any, tmp_path: Path
) -> None:
    flags = ["--model", "tiny", "--max-new-tokens", "1", "-o", tmp_path / "out"]
    assert rtprune("ocr", make_pdf("one"), *flags).exit_code == 0
    found = json.loads((tmp_path / "out" / "doc" / "doc.report.json").read_bytes())["settings"]
    assert (found["prune"]["ratio"], found["decode"]["batch_size"], found["input"]["workers"]) == ("dynamic",) + (
        "auto",
    ) * 2


# --- The programs of the documentation


def program(page: str, name: str) -> str:
    text = (ROOT / page).read_text(encoding="utf-8")
    found = re.search(rf"<!-- {name} -->\n```python\n(.*?)```", text, re.DOTALL)
    assert found is not None
    return found[1]


def run_program(source: str, folder: Path, *arguments: str) -> str:
    return subprocess.run(
        [sys.executable, "-c", source, *arguments], cwd=folder, capture_output=True, text=True, check=True
    ).stdout


def test_the_cookbooks_chunks_have_page_and_box(tmp_path: Path) -> None:
    long = RAW.replace("From the quay", "From the quay. " * 100)
    write(tmp_path / "out", read_page(1), read_page(2, long))
    found = [
        json.loads(line) for line in run_program(program("docs/cookbook.md", "chunks"), tmp_path, "out").splitlines()
    ]
    assert [chunk["page"] for chunk in found] == [1, 2, 2]
    assert {chunk["heading"] for chunk in found} == {"Ferry times"}
    assert found[0]["text"].startswith("Ferry times\n\n<table>") and len(found[0]["boxes"]) == 4
    assert "From the quay" in found[1]["text"] and "<table>" in found[1]["text"]


def test_the_readmes_example_prints_the_blocks(tmp_path: Path) -> None:
    folder = write(tmp_path, read_page(1))
    place = tmp_path / "out" / "notice"
    place.mkdir(parents=True)
    (place / "notice.json").write_bytes((folder / "paper.json").read_bytes())
    assert run_program(program("README.md", "blocks"), tmp_path).startswith("1 [200, 50, 1800, 120] Ferry times\n")
