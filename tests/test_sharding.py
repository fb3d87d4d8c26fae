"""--shard: every input in exactly one part, under the name that it has in the whole."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_outputs import OPTIONS

from rtprune_cli.errors import OutputError, UsageError
from rtprune_cli.inputs import find_files, shard_keys, shard_of
from rtprune_cli.options import OutputOptions, RunOptions
from rtprune_cli.outputs import FolderOutput, name_documents, open_output, take_shard
from rtprune_cli.outputs.layout import Layout
from rtprune_cli.outputs.shards import read_notes
from rtprune_cli.records import Document

MakePdf = Callable[..., Path]

PART = st.text(st.sampled_from("aAbé.\u0301 _2\udc80"), min_size=1, max_size=3).filter(lambda part: part.strip("."))
FEWER = settings(max_examples=40, deadline=None)
TREES = st.lists(st.lists(PART, min_size=1, max_size=3).map("/".join), min_size=1, max_size=8, unique=True)
COUNTS = st.integers(1, 5)


def tree(names: Sequence[str], top: str = "/mnt/scans") -> list[Document]:
    """Files as they are found in a folder."""
    return [Document(Path(top, f"{name}.pdf"), name, PurePosixPath(name)) for name in names]


def shards(found: Sequence[Document], count: int) -> list[list[Document]]:
    return [take_shard(found, (number, count), lambda _: "free")[0] for number in range(1, count + 1)]


# --- Which inputs


@FEWER
@given(TREES, COUNTS)
def test_every_input_is_in_one_shard_under_its_own_name(names: list[str], count: int) -> None:
    found = tree(names)
    taken = Counter(document for own in shards(found, count) for document in own)
    assert taken == Counter(name_documents(found))
    assert len({document.folder for document in taken}) == len(found)


@FEWER
@given(TREES, COUNTS)
def test_a_shard_is_the_same_where_the_folder_is_mounted_elsewhere(names: list[str], count: int) -> None:
    one, other = tree(names), tree(names, "elsewhere/deep/down")
    assert [shard_of(key, count) for key in shard_keys(one)] == [shard_of(key, count) for key in shard_keys(other)]


@FEWER
@given(TREES, st.data())
def test_neither_order_nor_new_files_move_an_input(names: list[str], data: st.DataObject) -> None:
    fewer = data.draw(st.permutations(names))[: data.draw(st.integers(1, len(names)))]
    keys = dict(zip(names, shard_keys(tree(names)), strict=True))
    assert shard_keys(tree(fewer)) == [keys[name] for name in fewer]


def test_a_shard_does_not_depend_on_the_process_or_the_version() -> None:
    # 1 and the last of the first 16 digits that sha256sum gives
    assert [shard_of(f"1904/page {n}.tif", 16) for n in range(6)] == [12, 8, 9, 5, 5, 5]


def test_shards_are_about_as_large() -> None:
    sizes = Counter(shard_of(f"{n:07}.pdf", 8) for n in range(8000))
    assert len(sizes) == 8 and max(sizes.values()) < 1100 and min(sizes.values()) > 900


def test_the_same_files_are_the_same_however_they_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("a.pdf", "x/a.pdf", "y/a.pdf"):
        (tmp_path / "scans" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "scans" / name).touch()
    monkeypatch.chdir(tmp_path / "scans")
    files = ["y/a.pdf", str(tmp_path / "scans" / "a.pdf"), "./x/../x/a.pdf"]
    ways = [find_files([way], recursive=True) for way in (".", "../scans", str(tmp_path / "scans"))]
    ways.append(find_files(files, recursive=False))
    assert {frozenset(shard_keys(way)) for way in ways} == {frozenset(("a.pdf", "x/a.pdf", "y/a.pdf"))}


def test_what_is_inside_a_document_goes_with_it() -> None:
    inside = [Document(None, f"a/{name}", PurePosixPath(f"a-attachments/{name}"), b"") for name in ("x.png", "y.png")]
    stdin = Document(None, "stdin", PurePosixPath("stdin"), b"")
    found = [*tree(["a"]), *inside, stdin]
    assert shard_keys(found) == ["a.pdf", "a.pdf", "a.pdf", "stdin"]


# --- Names


def test_what_stands_in_one_folder_changes_no_name_in_another() -> None:
    found = tree(["x/0001", "y/0001"])
    found = [Document(each.path, each.name, PurePosixPath("0001")) for each in found]
    held = {PurePosixPath("0001")}
    named = [
        str(document.folder)
        for number in (1, 2, 3)
        for document in take_shard(found, (number, 3), lambda d: "other" if d.folder in held else "free")[0]
    ]
    # Of the first the place is taken; it does not go to that of the second, which another shard may write
    assert sorted(named) == ["0001_2", "0001_3"]


def test_the_note_says_what_the_whole_is(tmp_path: Path) -> None:
    found = tree(["a", "b/c", "b/d"])
    notes = [take_shard(found, (number, 2), lambda _: "free")[1] for number in (1, 2)]
    assert {**notes[0].places, **notes[1].places} == {"a": 0, "b/c": 1, "b/d": 2}
    assert len({note.inputs for note in notes}) == 1
    assert notes[0].inputs != take_shard(found[1:], (1, 2), lambda _: "free")[1].inputs
    with FolderOutput(tmp_path, OPTIONS) as output:
        for note in reversed(notes):
            output.begin_shard(note)
    (tmp_path / ".rtprune" / "shards" / "3-of-9.json").write_text('{"number": 3}')
    assert read_notes(Layout(tmp_path)) == notes


# --- The command


@pytest.mark.parametrize("text", ["3", "3/", "a/b", "-1/2", "1/2/3", "", "0/3", "4/3", "0/0"])
def test_a_shard_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="shard"):
        RunOptions(shard=text)


def test_a_shard_is_what_is_listed(make_pdf: MakePdf, rtprune: Any, tmp_path: Path) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    for name in "abcde":
        make_pdf("one").rename(folder / f"{name}.pdf")
    flags = "--model", "no", "--offline", "--dry-run", "-o", tmp_path / "out"
    runs = [rtprune("ocr", folder, *flags, "--shard", f"{number}/2") for number in (1, 2)]
    listed = [line.split("\t")[0] for run in runs for line in run.stdout.splitlines()]
    assert sorted(listed) == [str(folder / f"{name}.pdf") for name in "abcde"]
    assert not (tmp_path / "out").exists()
    assert f"shard 1/2: {len(runs[0].stdout.splitlines())} of 5 documents" in runs[0].stderr


def test_a_shard_without_documents_is_no_error(make_pdf: MakePdf, rtprune: Any, tmp_path: Path) -> None:
    empty = next(n for n in (1, 2) if shard_of("doc.pdf", 2) != n)
    result = rtprune("ocr", make_pdf("one"), "-o", tmp_path / "out", "--shard", f"{empty}/2", "--html", "--model", "no")
    assert result.exit_code == 0
    assert f"shard {empty}/2: 0 of 1 documents; there is nothing to read" in result.stderr
    (note,) = (tmp_path / "out" / ".rtprune" / "shards").iterdir()
    assert json.loads(note.read_text())["documents"] == 1


def test_shards_that_meet_in_a_folder_are_told_to_part(tmp_path: Path) -> None:
    options = OutputOptions(output=str(tmp_path / "out"))
    with (
        open_output(options, shard="1/2"),
        pytest.raises(OutputError, match=r"shard 1/2, since .* Each shard needs a folder of its own while it runs"),
        open_output(options, shard="2/2"),
    ):
        pass


def test_the_report_does_not_say_which_shard_it_was(tmp_path: Path) -> None:
    from rtprune_cli.model import locate
    from rtprune_cli.options import ModelOptions, OcrOptions
    from rtprune_cli.pipeline import run_settings

    model = ModelOptions(model="tiny", device="cpu")
    one, other = (OcrOptions(model=model, run=RunOptions(shard=shard)) for shard in (None, "1/2"))
    assert run_settings(locate(model), one) == run_settings(locate(model), other)
