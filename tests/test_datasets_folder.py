"""A user's own pages as a dataset."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from rtprune_cli.bench.accuracy.datasets.base import Dataset
from rtprune_cli.bench.accuracy.datasets.files import read_json, read_jsonl, read_text
from rtprune_cli.bench.accuracy.datasets.folder import open_folder, page_of
from rtprune_cli.errors import InputError, UsageError


def page(path: Path, truth: str | None = "text", suffix: str = ".txt") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (8, 8)).save(path)
    if truth is not None:
        path.with_suffix(suffix).write_text(truth, encoding="utf-8")
    return path


def cer(dataset: Dataset, number: int, prediction: str | None) -> float:
    part = dataset.score(dataset.samples[number].truth, prediction).scores["cer"][0]
    return part.total / part.weight


def test_images_meet_the_texts_of_their_name_in_order(tmp_path: Path) -> None:
    page(tmp_path / "b.png", "second")
    page(tmp_path / "A.JPG", "first")
    dataset = open_folder(tmp_path)
    assert [(sample.id, sample.source.name, sample.text) for sample in dataset.samples] == [
        ("A", "A.JPG", "first"),
        ("b", "b.png", "second"),
    ]
    assert dataset.samples[0].groups == {}
    assert cer(dataset, 0, "# first") == 0
    assert cer(dataset, 1, None) == 1


def test_a_truth_in_markdown_is_flattened_and_one_in_text_is_not(tmp_path: Path) -> None:
    page(tmp_path / "a.png", "# *Title*", ".md")
    page(tmp_path / "b.png", "# *Title*")
    assert [sample.text for sample in open_folder(tmp_path).samples] == ["Title", "# *Title*"]


def test_the_first_subfolder_is_a_group(tmp_path: Path) -> None:
    page(tmp_path / "forms" / "2024" / "a.png")
    page(tmp_path / "b.png")
    samples = {sample.id: sample.groups for sample in open_folder(tmp_path).samples}
    assert samples == {"forms/2024/a": {"folder": "forms"}, "b": {"folder": "."}}


def test_groups_are_read_from_a_file(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    page(tmp_path / "x" / "a.png")
    groups: dict[str, Any] = {"x/a": {"layout": "form", "language": ["en", "de"]}, "gone": {"layout": "form"}}
    (tmp_path / "groups.json").write_text(json.dumps(groups))
    with caplog.at_level(logging.WARNING, "rtprune"):
        (sample,) = open_folder(tmp_path).samples
    assert sample.groups == {"folder": "x", "layout": "form", "language": ["en", "de"]}
    assert "groups.json has names of no page: 1, the first is 'gone'" in caplog.text


@pytest.mark.parametrize("groups", ["[]", '{"a": "form"}', '{"a": {"layout": 1}}'])
def test_groups_of_another_form_are_refused(tmp_path: Path, groups: str) -> None:
    page(tmp_path / "a.png")
    (tmp_path / "groups.json").write_text(groups)
    with pytest.raises(InputError, match=r"groups\.json"):
        open_folder(tmp_path)


def test_what_has_no_partner_is_left_out_with_a_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    page(tmp_path / "a.png")
    page(tmp_path / "b.png", None)
    page(tmp_path / "c.png", None)
    (tmp_path / "README.md").write_text("about")
    page(tmp_path / ".hidden" / "d.png", None)
    with caplog.at_level(logging.WARNING, "rtprune"):
        assert len(open_folder(tmp_path).samples) == 1
    assert f"images without a text are left out: 2, the first is {tmp_path / 'b.png'}" in caplog.text
    assert "texts without an image are left out: 1" in caplog.text


def test_a_folder_without_pages_is_refused(tmp_path: Path) -> None:
    page(tmp_path / "a.png", None)
    with pytest.raises(InputError, match="no page with a truth"):
        open_folder(tmp_path)
    with pytest.raises(UsageError, match="does not exist"):
        open_folder(tmp_path / "none")
    with pytest.raises(UsageError, match="is not a folder"):
        open_folder(tmp_path / "a.png")


def test_two_images_or_truths_of_one_name_are_refused(tmp_path: Path) -> None:
    page(tmp_path / "a.png")
    page(tmp_path / "a.jpg")
    with pytest.raises(InputError, match=r"two images of one name: a\.jpg and a\.png"):
        open_folder(tmp_path)
    (tmp_path / "a.jpg").unlink()
    (tmp_path / "a.md").write_text("text")
    with pytest.raises(InputError, match="two truths of one name"):
        open_folder(tmp_path)


def test_a_truth_that_is_not_utf8_is_named(tmp_path: Path) -> None:
    page(tmp_path / "a.png")
    (tmp_path / "a.txt").write_bytes(b"caf\xe9")
    with pytest.raises(InputError, match=r"a\.txt is not UTF-8 \(byte 3\)"):
        open_folder(tmp_path)


def test_the_pages_of_a_document_have_a_truth_each(tmp_path: Path, make_pdf: Any) -> None:
    make_pdf("one", "two", "three", name="scan.pdf")
    (tmp_path / "scan.p1.txt").write_text("one")
    (tmp_path / "scan.p03.txt").write_text("three")
    samples = open_folder(tmp_path).samples
    assert {(sample.id, sample.page, sample.source.name) for sample in samples} == {
        ("scan.p1", 1, "scan.pdf"),
        ("scan.p03", 3, "scan.pdf"),
    }


def test_one_text_for_several_pages_is_refused(tmp_path: Path, make_pdf: Any) -> None:
    make_pdf("one", "two", name="scan.pdf")
    (tmp_path / "scan.txt").write_text("one two")
    with pytest.raises(InputError, match=r"scan\.pdf has 2 pages and one text") as caught:
        open_folder(tmp_path)
    assert "scan.p1.txt" in caught.value.hint


def test_a_document_of_one_page_has_one_text(tmp_path: Path, make_pdf: Any) -> None:
    make_pdf("one", name="scan.pdf")
    (tmp_path / "scan.txt").write_text("one")
    assert [sample.id for sample in open_folder(tmp_path).samples] == ["scan"]


def test_without_images_every_truth_is_a_page(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("text")
    (tmp_path / "scan.p2.txt").write_text("text")
    (tmp_path / "readme.txt").write_text("about")
    dataset = open_folder(tmp_path, images=False)
    assert [(sample.id, sample.page) for sample in dataset.samples] == [("a", 1), ("scan.p2", 2)]
    with pytest.raises(InputError):
        open_folder(tmp_path)


def test_predictions_are_found_as_rtprune_ocr_writes_them(tmp_path: Path, make_pdf: Any) -> None:
    page(tmp_path / "sub" / "a.png", "text")
    make_pdf("one", "two", name="scan.pdf")
    (tmp_path / "scan.p2.txt").write_text("two")
    dataset = open_folder(tmp_path)
    scan, a = sorted(dataset.samples, key=lambda sample: len(sample.groups["folder"]))
    out = tmp_path / "out"
    assert dataset.find(out, a) is dataset.find(out, scan) is None
    for path, text in {
        "sub/a/a.md": "<!-- page 1 -->\n\ntext\n",
        "scan/scan.md": "<!-- page 1 -->\n\none\n\n<!-- page 2 -->\n\ntwo\n",
    }.items():
        (out / path).parent.mkdir(parents=True)
        (out / path).write_text(text)
    for sample in (a, scan):
        found = dataset.find(out, sample)
        assert found is not None
        assert dataset.score(sample.truth, found.read_text()).scores["cer"][0].total == 0
    (out / "scan.p2.md").write_text("own")
    assert dataset.find(out, scan) == out / "scan.p2.md"


def test_a_page_is_cut_out_at_its_marker() -> None:
    both = "<!-- page 2 -->\n\ntwo\n\n<!-- page 3 failed: loop: it repeats -->\n"
    assert (page_of(both, 2) or "").strip() == "two"
    assert page_of(both, 3) is None and page_of(both, 1) is None
    assert page_of("no markers", 7) == "no markers"
    assert page_of("<!-- document failed: unreadable -->\n", 1) is None


def test_the_version_is_of_the_truths(tmp_path: Path) -> None:
    page(tmp_path / "a.png", "text")
    before = open_folder(tmp_path).version
    assert open_folder(tmp_path).version == before
    (tmp_path / "a.txt").write_text("text!")
    assert open_folder(tmp_path).version != before


def test_a_byte_order_mark_is_no_text(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes(b"\xef\xbb\xbftext\r\nmore")
    assert read_text(tmp_path / "a.txt") == "text\nmore"


def test_broken_json_is_named_with_its_line(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text('{"a": "\u2028"}\n\n{"a": }\n', encoding="utf-8")
    with pytest.raises(InputError, match=r"line 3 of .*a\.jsonl is not valid JSON"):
        read_jsonl(path)
    with pytest.raises(InputError, match=r"line 3 of .*is not valid JSON|line 1 of"):
        read_json(path)
    path.write_text('{"a": 1}\n[1]\n')
    with pytest.raises(InputError, match=r"line 2 of .*is not a JSON object"):
        read_jsonl(path)
    path.write_text("[" * 100_000)
    with pytest.raises(InputError, match="nested too deep"):
        read_json(path)
    with pytest.raises(InputError, match=r"cannot read .*no such file"):
        read_json(tmp_path / "none.json")
