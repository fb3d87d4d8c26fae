"""rtprune merge: the folders of shards are what one run would have written, or nothing is changed."""

from __future__ import annotations

import functools
import json
import os
import re
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import Any

import pytest
from conftest import command_line
from test_html_report import seen
from test_outputs import cut_short, finish, page, rows, with_crop, write

from rtprune_cli.errors import OutputError, UsageError
from rtprune_cli.options import OutputOptions
from rtprune_cli.outputs import FolderOutput, name_documents, take_shard
from rtprune_cli.outputs.merging import MergeResult, merge, run
from rtprune_cli.records import Document, PageResult, PageView

TINY = ("--model", "tiny", "--max-new-tokens", "8", "--html", "--raw", "--workers", "0", "-q")
FULL = OutputOptions(html=True, raw=True)
SLOW_FIXTURES = {"read"}


def document(name: str) -> Document:
    return Document(Path("in", f"{name}.pdf"), f"in/{name}.pdf", PurePosixPath(name))


def files(root: Path) -> dict[str, bytes]:
    """All files of an output folder, less the lock and the notes of shards."""
    left_out = ("lock", "owner", "shards", "tmp")
    found = {path.relative_to(root).as_posix(): path.read_bytes() for path in root.rglob("*") if path.is_file()}
    return {name: data for name, data in found.items() if not name.startswith(tuple(f".rtprune/{x}" for x in left_out))}


def timeless(name: str, data: bytes) -> object:
    """A file without its times."""
    text = data.decode("utf-8", "replace")
    if name.endswith(".jsonl"):
        return [_timeless(json.loads(line)) for line in text.splitlines()]
    if name.endswith(".json"):
        return _timeless(json.loads(text))
    return sorted(re.findall(r'<tr id="[^"]*"', text)) if name.endswith(".html") else data


def _timeless(value: Any) -> Any:
    if isinstance(value, list):
        return list(map(_timeless, value))
    if not isinstance(value, dict):
        return value
    times = ("seconds", "started", "milliseconds")
    return {key: _timeless(item) for key, item in value.items() if key not in times and not key.endswith("_ms")}


@functools.cache
def view() -> PageView | None:
    return seen(1).view


def results(own: Document) -> list[PageResult]:
    """Two pages, with crop, view and text of their own."""
    crop = replace(with_crop(1), document=own)
    record = replace(crop.record, document=own.name, folder=str(own.folder))
    other = page(2, f"text of {own.name}", document=own)
    return [replace(each, view=view()) for each in (replace(crop, record=record), other)]


def in_shards(root: Path, found: Sequence[Document], count: int, options: OutputOptions = FULL) -> list[Path]:
    """The output folders of all shards."""
    folders = []
    for number in range(1, count + 1):
        folders.append(root / str(number))
        with FolderOutput(folders[-1], options) as output:
            own, note = take_shard(found, (number, count), lambda _: "free")
            output.begin_shard(note)
            for each in own:
                finish(output, *results(each), document=each)
    return folders


def whole(root: Path, found: Sequence[Document], options: OutputOptions = FULL) -> Path:
    """The output folder of one run."""
    with FolderOutput(root, options) as output:
        for each in name_documents(found):
            finish(output, *results(each), document=each)
    return root


FOUND = [document(name) for name in ("c", "a", "x/b", "x/a")]


# --- The whole


@pytest.mark.slow
def test_shards_are_what_one_run_writes_byte_by_byte(tmp_path: Path) -> None:
    folders = in_shards(tmp_path, FOUND, 3)
    before = {folder: files(folder) for folder in folders}
    assert merge(folders, tmp_path / "whole") == MergeResult(4, 4, ())
    assert files(tmp_path / "whole") == files(whole(tmp_path / "one", FOUND))
    assert {folder: files(folder) for folder in folders} == before


@pytest.mark.slow
def test_it_can_be_done_again_and_shard_by_shard(tmp_path: Path) -> None:
    one, two, three = in_shards(tmp_path / "out", FOUND, 3)
    merged = tmp_path / "out" / "whole"
    assert merge([two], merged).missing == ("shards are missing: 1/3, 3/3",)
    assert merge([one, one, three], merged).missing == ()
    once = files(merged)
    assert once == files(whole(tmp_path / "one", FOUND))
    assert merge(list((tmp_path / "out").iterdir()), merged) == MergeResult(4, 0, ())
    assert files(merged) == once


@pytest.mark.parametrize("link", [True, False])
def test_files_are_links_or_copies_and_journals_are_always_copies(tmp_path: Path, link: bool) -> None:
    write(tmp_path / "a", page(1))
    merge([tmp_path / "a"], tmp_path / "whole", link=link)
    shared = {
        name for name in files(tmp_path / "a") if os.path.samefile(tmp_path / "a" / name, tmp_path / "whole" / name)
    }
    assert shared == ({"paper/paper.md", "paper/paper.json", "paper/paper.report.json"} if link else set())


def test_files_are_copied_where_there_are_no_links(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_links(*_: object) -> None:
        raise OSError(18, "Invalid cross-device link")

    write(tmp_path / "a", with_crop(1))
    monkeypatch.setattr("os.link", no_links)
    merge([tmp_path / "a"], tmp_path / "whole")
    assert files(tmp_path / "whole") == files(tmp_path / "a")


def test_md_only_failures_and_killed_runs_come_along(tmp_path: Path) -> None:
    bare, broken = OutputOptions(md_only=True), document("broken")
    with FolderOutput(tmp_path / "a", bare) as output:
        finish(output, page(1))
        output.add(page(None, document=broken, error="cannot be opened"))
        output.finish(broken, [], {})
    killed = FolderOutput(tmp_path / "b", OutputOptions())
    killed.__enter__()
    finish(killed, page(1, document=FOUND[0]), page(2, document=FOUND[0], error="no"), document=FOUND[0])
    killed._lock.release()
    assert merge([tmp_path / "a", tmp_path / "b"], tmp_path / "whole") == MergeResult(3, 3, ())
    texts = {"paper.md", "broken.md", "c/c.md", "c/c.json", "c/c.report.json", "report.jsonl"}
    assert {name for name in files(tmp_path / "whole") if not name.startswith(".")} == texts
    assert rows(tmp_path / "whole") == [("c", 1), ("c", 2)]


def test_records_alone_are_enough(tmp_path: Path) -> None:
    """Where .rtprune was deleted, as it may be."""
    write(tmp_path / "a", page(1))
    shutil.rmtree(tmp_path / "a" / ".rtprune")
    for added in (1, 1):  # without a journal nobody knows that it is done
        assert merge([tmp_path / "a"], tmp_path / "whole") == MergeResult(1, added, ())
    assert files(tmp_path / "whole") == files(tmp_path / "a")
    assert not (tmp_path / "a" / ".rtprune").exists()


# --- Going on


@pytest.mark.slow
def test_a_merge_that_is_killed_anywhere_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folders = in_shards(tmp_path, FOUND[:2], 2)
    expected = files(whole(tmp_path / "one", FOUND[:2]))
    put = run.link_or_copy
    steps = sum(not name.startswith(("report.", ".rtprune/tmp")) for name in expected)
    for last in range(0, steps, 3):
        left = last

        def stop(*args: Any, **kwargs: Any) -> None:
            nonlocal left
            left -= 1
            if left < 0:
                raise KeyboardInterrupt
            put(*args, **kwargs)

        target = tmp_path / f"whole-{last}"
        monkeypatch.setattr(run, "link_or_copy", stop)
        if last % 2:  # without a tidy end
            monkeypatch.setattr(FolderOutput, "__exit__", lambda self, *_: self._lock.release())
        with pytest.raises(KeyboardInterrupt):
            merge(folders, target)
        monkeypatch.undo()
        assert merge(folders, target).documents == 2
        assert files(target) == expected


def test_a_shard_that_is_read_further_is_taken_further(tmp_path: Path) -> None:
    cut_short(tmp_path / "a", with_crop(1))
    assert merge([tmp_path / "a"], tmp_path / "whole").missing == ("documents that are not read to their end: 1",)
    write(tmp_path / "a", page(2))
    assert merge([tmp_path / "a"], tmp_path / "whole") == MergeResult(1, 1, ())
    assert merge([tmp_path / "a"], tmp_path / "whole") == MergeResult(1, 0, ())
    assert rows(tmp_path / "whole") == rows(tmp_path / "a")


def test_what_the_whole_has_read_further_stays(tmp_path: Path) -> None:
    cut_short(tmp_path / "a", page(1))
    merge([tmp_path / "a"], tmp_path / "whole")
    write(tmp_path / "whole", page(2))
    before = files(tmp_path / "whole")
    assert merge([tmp_path / "a"], tmp_path / "whole") == MergeResult(1, 0, ())
    assert files(tmp_path / "whole") == before


def test_a_page_that_fails_everywhere_is_no_collision(tmp_path: Path) -> None:
    """Each run tries it again, and notes it again."""
    for folder in ("a", "whole", "a"):
        if folder == "whole":
            merge([tmp_path / "a"], tmp_path / "whole")
        write(tmp_path / folder, *([page(1)] if not (tmp_path / folder).exists() else []), page(2, error=folder))
    assert merge([tmp_path / "a"], tmp_path / "whole") == MergeResult(1, 0, ())
    write(tmp_path / "a", page(2))
    assert merge([tmp_path / "a"], tmp_path / "whole") == MergeResult(1, 1, ())
    assert files(tmp_path / "whole") == files(tmp_path / "a")


def test_shards_of_different_inputs_are_told(tmp_path: Path) -> None:
    one, _ = in_shards(tmp_path / "a", FOUND, 2, OutputOptions())
    _, two = in_shards(tmp_path / "b", FOUND[:-1], 2, OutputOptions())
    assert merge([one, two], tmp_path / "whole").missing[0].startswith("the shards of 2 were not given the same inputs")


# --- What is refused


def refused(*folders: Path, into: Path) -> str:
    before = files(into) if into.exists() else None
    with pytest.raises(OutputError) as caught:
        merge(folders, into)
    assert (files(into) if into.exists() else None) == before
    return str(caught.value)


def test_one_document_finished_twice_is_one(tmp_path: Path) -> None:
    write(tmp_path / "a", page(1))
    write(tmp_path / "b", page(1))
    assert merge([tmp_path / "a", tmp_path / "b"], tmp_path / "whole") == MergeResult(1, 1, ())


@pytest.mark.parametrize("there", [False, True])
def test_two_texts_for_one_place_are_refused_by_name(tmp_path: Path, there: bool) -> None:
    write(tmp_path / "a", page(1))
    write(tmp_path / "b", page(1, "other"), fingerprint="g")
    if there:
        merge([tmp_path / "a"], tmp_path / "whole")
    message = refused(*[tmp_path / "a"][there:], tmp_path / "b", into=tmp_path / "whole")
    assert str(tmp_path / ("whole" if there else "a")) in message and str(tmp_path / "b") in message
    assert "paper.pdf" in message


def test_a_document_that_one_shard_has_not_finished_is_refused(tmp_path: Path) -> None:
    write(tmp_path / "a", page(1))
    cut_short(tmp_path / "b", page(1))
    assert "(not finished)" in refused(tmp_path / "a", tmp_path / "b", into=tmp_path / "whole")


def test_names_that_meet_are_refused(tmp_path: Path) -> None:
    for folder, name in (("a", "paper"), ("b", "Paper"), ("c", "paper.md/x")):
        own = document(name)
        with FolderOutput(tmp_path / folder, OutputOptions()) as output:
            finish(output, page(1, document=own), document=own)
    assert "'Paper/Paper.md'" in refused(tmp_path / "a", tmp_path / "b", into=tmp_path / "whole")
    assert "'paper.md/x/x.md'" in refused(tmp_path / "c", tmp_path / "a", into=tmp_path / "whole")


@pytest.mark.parametrize("name", ["paper/paper.md", "paper"])
def test_files_of_others_are_not_replaced(tmp_path: Path, name: str) -> None:
    write(tmp_path / "a", page(1))
    (tmp_path / "whole" / name).parent.mkdir(parents=True)
    (tmp_path / "whole" / name).write_text("mine")
    assert "is in the way of 'paper/paper.md'" in refused(tmp_path / "a", into=tmp_path / "whole")


def test_a_folder_that_a_run_has_is_refused(tmp_path: Path) -> None:
    with FolderOutput(tmp_path / "a", OutputOptions()):
        assert "Merge again when it has ended" in refused(tmp_path / "a", into=tmp_path / "whole")
    assert merge([tmp_path / "a"], tmp_path / "whole") == MergeResult(0, 0, ())


def test_a_folder_without_results_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    for folder in (tmp_path / "a", tmp_path / "none"):
        with pytest.raises(UsageError, match="Name output folders"):
            merge([folder], tmp_path / "whole")
    assert not (tmp_path / "whole").exists()


# --- With the model


@pytest.fixture(scope="module")
def read(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, Any]]:
    """A folder with inputs, the output of three shards, merged, and that of one run; and the command line."""
    root = tmp_path_factory.mktemp("shards")
    (root / "in" / "x").mkdir(parents=True)
    import pymupdf

    for name in ("a", "x/a", "x/c"):
        with pymupdf.open() as made:
            made.new_page(width=400, height=400).insert_text((30, 80), f"text {name[-1]}", fontsize=32)
            made.save(root / "in" / f"{name}.pdf")
    (root / "in" / "a.tif").write_bytes(b"")  # fails, and takes a name
    with command_line() as rtprune:
        for number in (1, 2, 3):
            flags = "--shard", f"{number}/3", "-o", root / "out" / str(number), *TINY
            assert rtprune("ocr", root / "in", "-r", *flags).exit_code in (0, 4)
        assert rtprune("ocr", root / "in", "-r", "-o", root / "one", *TINY).exit_code == 4
        result = rtprune("merge", *(root / "out").iterdir(), "-o", root / "whole")
        assert result.exit_code == 0, result.stderr
        assert "4 documents" in result.stderr
        yield root, rtprune


def test_three_shards_are_one_run(read: tuple[Path, Any]) -> None:
    root, _ = read
    one, merged = files(root / "one"), files(root / "whole")
    assert one.keys() == merged.keys()
    assert [name for name in one if timeless(name, one[name]) != timeless(name, merged[name])] == []


def test_the_whole_is_done(read: tuple[Path, Any]) -> None:
    root, rtprune = read
    listed = rtprune("ocr", root / "in", "-r", "-o", root / "whole", *TINY, "--dry-run")
    states = dict(line.split("\t")[0:3:2] for line in listed.stdout.splitlines())
    assert sorted(states.values()) == ["1 done"] * 3 + [states[str(root / "in" / "a.tif")]]


def test_a_merge_without_a_folder_is_refused(rtprune: Any, tmp_path: Path) -> None:
    result = rtprune("merge", tmp_path)
    assert (result.exit_code, "Give it with -o" in result.stderr) == (2, True)


def test_a_missing_shard_is_told_and_has_a_code(rtprune: Any, tmp_path: Path) -> None:
    one, *_ = in_shards(tmp_path, FOUND, 3, OutputOptions())
    result = rtprune("merge", one, "-o", tmp_path / "whole")
    assert result.exit_code == 4
    assert "warning: shards are missing: 2/3, 3/3. Run the shards that are not done, then merge again" in result.stderr
