"""Paths, page ranges and files to page images."""

from __future__ import annotations

import hashlib
import io
import logging
import os
import struct
import subprocess
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any

import pymupdf
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from rtprune_cli.errors import (
    EmptyFileError,
    EncryptedError,
    InputError,
    PageRangeError,
    RtpruneError,
    UnsupportedFileError,
    UsageError,
)
from rtprune_cli.inputs import (
    check_pages,
    content_hash,
    find_files,
    parse_pages,
    read_pages,
    select_pages,
)
from rtprune_cli.inputs import mupdf as pdf_pages
from rtprune_cli.inputs.formats import Raster
from rtprune_cli.options import InputOptions
from rtprune_cli.outputs import find_documents, name_documents, naming
from rtprune_cli.outputs.layout import is_written
from rtprune_cli.outputs.naming import Occupancy
from rtprune_cli.records import Document, PageFault, PageImage


def make_pdf(path: Path, pages: int = 1, **save: Any) -> Path:
    """Page N is 72 x 36 * N points and black, so that pages can be told apart by height."""
    with pymupdf.open() as pdf:
        for number in range(1, pages + 1):
            page = pdf.new_page(width=72, height=36 * number)
            page.draw_rect(pymupdf.Rect(0, 0, 36, 36 * number), fill=(0, 0, 0))
        pdf.save(path, **save)
    return path


def make_image(path: Path, mode: str = "RGB", size: tuple[int, int] = (8, 4), color: Any = None, **save: Any) -> Path:
    Image.new(mode, size, color if color is not None else 0).save(path, **save)
    return path


def document(path: Path) -> Document:
    return Document(path, path.name, PurePosixPath(path.stem))


def read(path: Path, **options: Any) -> list[PageImage | PageFault]:
    return list(read_pages(document(path), InputOptions(**options)))


def images(path: Path, **options: Any) -> list[PageImage]:
    pages = [page for page in read(path, **options) if isinstance(page, PageImage)]
    assert [page.page for page in pages] == select_pages(document(path), InputOptions(**options))
    return pages


def faults(path: Path, **options: Any) -> list[PageFault]:
    return [page for page in read(path, **options) if isinstance(page, PageFault)]


def only_image(path: Path, **options: Any) -> Image.Image:
    (page,) = images(path, **options)
    assert page.image.mode == "RGB"
    return page.image


def folders(documents: list[Document]) -> list[str]:
    return [str(found.folder) for found in documents]


def wanting(*places: str) -> list[Document]:
    """A file for each place in the output folder."""
    return [Document(Path(f"/{number}.pdf"), f"{number}.pdf", PurePosixPath(p)) for number, p in enumerate(places)]


def fails(kind: type[RtpruneError], path: Path, **options: Any) -> RtpruneError:
    with pytest.raises(kind) as caught:
        read(path, **options)
    error = caught.value
    assert type(error) is kind
    assert path.name in error.message
    assert error.hint
    assert "\n" not in str(error)
    return error


def note_pages_made(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The numbers of the PDF pages that are rasterised from now on."""
    made: list[int] = []
    original = pdf_pages._pdf_page

    def note(pdf: object, document: Document, number: int, options: InputOptions) -> Raster:
        made.append(number)
        return original(pdf, document, number, options)

    monkeypatch.setattr(pdf_pages, "_pdf_page", note)
    return made


relaxed = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])  # the machine may be busy


# --- Which documents


def test_folder_gives_its_supported_files_sorted(tmp_path: Path) -> None:
    for name in ("b.png", "a.PDF", "notes.txt", ".hidden.pdf"):
        (tmp_path / name).write_bytes(b"x")
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "c.pdf").write_bytes(b"x")
    assert folders(find_documents([str(tmp_path)], recursive=False)) == ["a", "b"]


def test_recursive_folder_mirrors_its_subfolders(tmp_path: Path) -> None:
    for name in ("c.pdf", "2020/a.pdf", "2020/05/a.pdf", ".git/x.pdf"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
    assert folders(find_documents([str(tmp_path)], recursive=True)) == ["c", "2020/a", "2020/05/a"]


def test_loops_of_links_end(tmp_path: Path) -> None:
    (tmp_path / "a.pdf").write_bytes(b"x")
    (tmp_path / "loop").symlink_to(tmp_path)
    (tmp_path / "self.pdf").symlink_to(tmp_path / "self.pdf")
    assert folders(find_documents([str(tmp_path)], recursive=True)) == ["a"]


def test_excluded_folder_is_not_searched(tmp_path: Path) -> None:
    for name in ("a.pdf", "out/a/images/page-0001-1.png"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
    assert folders(find_documents([str(tmp_path)], recursive=True, exclude=[tmp_path / "out"])) == ["a"]


def test_same_stems_are_numbered_with_a_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    paths = []
    for folder in ("x", "y", "z"):
        (tmp_path / folder).mkdir()
        paths.append(str(make_image(tmp_path / folder / "scan.png")))
    with caplog.at_level(logging.WARNING, "rtprune"):
        assert folders(find_documents(paths, recursive=False)) == ["scan", "scan_2", "scan_3"]
    assert "scan_2" in caplog.text


def test_stems_that_differ_in_case_or_normal_form_are_numbered(tmp_path: Path) -> None:
    names = ["a.pdf", "A.png", "\u00e9.pdf", "e\u0301.png"]
    for name in names:
        (tmp_path / name).write_bytes(b"x")
    found = find_documents([str(tmp_path / name) for name in names], recursive=False)
    assert folders(found) == ["a", "A_2", "\u00e9", "e\u0301_2"]


def test_folder_never_meets_a_file_of_another_document(tmp_path: Path) -> None:
    names = ["report.jsonl.pdf", "a.pdf", "a.md.pdf", "a/a.md.pdf"]
    (tmp_path / "a").mkdir()
    for name in names:
        (tmp_path / name).write_bytes(b"x")
    assert folders(find_documents([str(tmp_path)], recursive=True)) == ["a.md", "a_2", "report.jsonl_2", "a/a.md"]


def test_output_folder_reached_through_a_link_is_not_read(tmp_path: Path) -> None:
    (tmp_path / "in" / "out").mkdir(parents=True)
    for name in ("a.pdf", "out/b.pdf"):
        (tmp_path / "in" / name).touch()
    (tmp_path / "link").symlink_to(tmp_path / "in" / "out")
    found = find_files([str(tmp_path / "in")], recursive=True, exclude=[tmp_path / "link"])
    assert [item.name for item in found] == [str(tmp_path / "in" / "a.pdf")]


def test_crops_beside_the_inputs_are_not_read(tmp_path: Path) -> None:
    (tmp_path / "a" / "images").mkdir(parents=True)
    for name in ("a.pdf", "a/images/page-0001-1.png", "a/images/mine.png"):
        (tmp_path / name).touch()
    found = find_documents([str(tmp_path)], recursive=True, exclude=[tmp_path])
    assert [item.name for item in found] == [str(tmp_path / "a.pdf"), str(tmp_path / "a/images/mine.png")]


def test_pictures_for_the_reports_are_not_read_and_scans_of_such_names_are(tmp_path: Path) -> None:
    written = ["a/report/page-0001.jpg", "a/report/page-0001.thumb.jpg", "a/page-0002.kept.png"]
    scans = ["b/report/page-0001.jpg", "b/page-0002.kept.png"]
    for name in [*written, *scans, "a/report/page-0001.json", "a/page-0002.json"]:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    assert [name for name in written + scans if is_written(str(tmp_path / name))] == written


@pytest.mark.parametrize("name", [".rtprune", "report.jsonl", "report.html"])
def test_what_the_run_writes_is_no_place_for_a_document(name: str) -> None:
    named = name_documents(wanting(name, f"{name.upper()}/x"))
    assert folders(named) == [f"{name}_2", f"{name.upper()}_2/x"]


@pytest.mark.parametrize("name", ["images/page-0001-1.png", "report/page-0001.jpg", "report/page-0001.json"])
def test_folders_that_are_crops_or_views_of_a_document_are_numbered(name: str) -> None:
    assert folders(name_documents(wanting("a", f"a/{name}"))) == ["a", f"a/{name}_2"]
    assert folders(name_documents(wanting(f"a/{name}", "a"))) == [f"a/{name}", "a_2"]
    assert folders(name_documents(wanting("a", f"a/{name}/x", f"b/{name}"))) == ["a", f"a/{name}_2/x", f"b/{name}"]


def test_folders_that_are_files_of_a_document_are_numbered() -> None:
    named = name_documents(wanting("a", "a.md/b", "a.md/c", "a/a.md/d", "report.jsonl/e"))
    assert folders(named) == ["a", "a.md_2/b", "a.md_2/c", "a/a.md_2/d", "report.jsonl_2/e"]


def test_place_that_another_document_has_on_disk_is_left_alone(caplog: pytest.LogCaptureFixture) -> None:
    named = name_documents(wanting("a"), lambda document: "other" if str(document.folder) in ("a", "a_2") else "free")
    assert folders(named) == ["a_3"]
    assert "goes to a_3: the name a is taken" in caplog.text


def test_documents_find_their_places_again_in_another_order_without_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    files = wanting("a", "a", "a", "b")
    first = name_documents(files)
    owners = {document.folder: document.path for document in first}
    caplog.clear()

    def occupancy(document: Document) -> Occupancy:
        owner = owners.get(document.folder)
        return "free" if owner is None else "own" if owner == document.path else "other"

    assert name_documents(reversed(files[1:]), occupancy) == first[:0:-1]
    assert not caplog.text


def test_numbers_given_away_are_not_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    tried: list[str] = []
    original = naming._Namer._free
    monkeypatch.setattr(naming._Namer, "_free", lambda self, key: tried.append(key) or original(self, key))
    assert folders(name_documents(wanting(*["0001"] * 500)))[-1] == "0001_500"
    assert len(tried) < 3 * 500


def test_files_are_found_as_they_were_given_before_they_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("a.pdf", "a.png"):
        (tmp_path / name).write_bytes(b"x")
    found = find_files(["a.pdf", "a.png"], recursive=False)
    assert found == [
        Document(Path("a.pdf"), "a.pdf", PurePosixPath("a")),
        Document(Path("a.png"), "a.png", PurePosixPath("a")),
    ]
    assert not caplog.text
    assert [(named.path, str(named.folder)) for named in name_documents(found)] == [
        (Path("a.pdf"), "a"),
        (Path("a.png"), "a_2"),
    ]


def test_path_given_twice_is_one_document(tmp_path: Path) -> None:
    path = make_image(tmp_path / "a.png")
    assert len(find_documents([str(path), str(tmp_path), f"{tmp_path}/./a.png"], recursive=False)) == 1


@pytest.mark.parametrize("name", ["two\nlines.pdf", "a b.pdf", "😀.pdf", "[bold]x[1].pdf", "-.pdf", "x" * 240 + ".pdf"])
def test_odd_names_are_found_and_shown_on_one_line(tmp_path: Path, name: str) -> None:
    make_pdf(tmp_path / name)
    (found,) = find_documents([str(tmp_path)], recursive=False)
    assert "\n" not in found.name
    assert len(os.fsencode(found.stem)) <= 200
    assert select_pages(found, InputOptions()) == [1]


def test_name_that_is_not_utf8_can_be_shown_and_read(tmp_path: Path) -> None:
    source = os.fsencode(make_pdf(tmp_path / "a.pdf"))
    os.rename(source, source.replace(b"a.pdf", b"\xff.pdf"))
    (found,) = find_documents([str(tmp_path)], recursive=False)
    assert str(found.folder) == "_"
    assert found.name.encode()
    assert select_pages(found, InputOptions()) == [1]


@pytest.mark.parametrize("name", ["...pdf", "..", "a/../b.pdf", "/etc/x.pdf", "..\\x.pdf"])
def test_folder_never_climbs(tmp_path: Path, name: str) -> None:
    (claimed,) = name_documents([Document(Path(name), name, PurePosixPath(name).with_suffix(""))])
    assert ".." not in claimed.folder.parts
    assert not claimed.folder.is_absolute()
    assert "\\" not in str(claimed.folder)


def test_list_file_names_documents(tmp_path: Path) -> None:
    paths = [make_image(tmp_path / "a.png"), make_image(tmp_path / " b.png")]
    (tmp_path / "list.txt").write_bytes(b"\xef\xbb\xbf" + f"{paths[0]}\r\n\n{paths[1]}\n".encode())
    found = find_documents([], recursive=False, files_from=str(tmp_path / "list.txt"))
    assert [item.path for item in found] == paths


def test_list_on_standard_input_separated_by_nul(tmp_path: Path) -> None:
    path = make_image(tmp_path / "two\nlines.png")
    stdin = io.BytesIO(os.fsencode(path) + b"\0")
    assert [found.path for found in find_documents([], recursive=False, files_from="-", null=True, stdin=stdin)] == [
        path
    ]


def test_nul_list_without_the_flag_says_so(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="--null"):
        find_documents([], recursive=False, files_from="-", stdin=io.BytesIO(b"a.pdf\0b.pdf\0"))


def test_dash_is_a_document_on_standard_input(tmp_path: Path) -> None:
    blob = make_pdf(tmp_path / "a.pdf", pages=2).read_bytes()
    (found,) = find_documents(["-", "-"], recursive=False, stdin=io.BytesIO(blob))
    assert (found.path, found.name, str(found.folder)) == (None, "stdin", "stdin")
    assert len(list(read_pages(found, InputOptions()))) == 2


def test_image_on_standard_input(tmp_path: Path) -> None:
    blob = make_image(tmp_path / "a.png").read_bytes()
    (found,) = find_documents(["-"], recursive=False, stdin=io.BytesIO(blob))
    assert len(list(read_pages(found, InputOptions()))) == 1


def test_list_and_document_cannot_share_standard_input() -> None:
    with pytest.raises(UsageError):
        find_documents(["-"], recursive=False, files_from="-", stdin=io.BytesIO())


@pytest.mark.parametrize("stdin", [b"", b"\n\n"])
def test_empty_list_is_a_usage_error(stdin: bytes) -> None:
    with pytest.raises(UsageError, match="no files"):
        find_documents([], recursive=False, files_from="-", stdin=io.BytesIO(stdin))


@pytest.mark.parametrize("path", ["missing.pdf", "bad\0name"])
def test_missing_path_is_a_usage_error(path: str) -> None:
    with pytest.raises(UsageError, match="does not exist"):
        find_documents([path], recursive=False)


def test_folder_without_supported_files_is_a_usage_error(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    make_image(tmp_path / "sub" / "a.png")
    with pytest.raises(UsageError, match="-r"):
        find_documents([str(tmp_path)], recursive=False)


def test_named_pipe_is_read_once_and_kept(tmp_path: Path) -> None:
    blob = make_pdf(tmp_path / "a.pdf").read_bytes()
    os.mkfifo(tmp_path / "pipe")
    writer = os.open(tmp_path / "pipe", os.O_RDWR)
    child = os.fork()
    if not child:
        os.write(writer, blob)
        os._exit(0)
    os.close(writer)
    (found,) = find_documents([str(tmp_path / "pipe")], recursive=False)
    os.waitpid(child, 0)
    assert select_pages(found, InputOptions()) == [page.page for page in read_pages(found, InputOptions())] == [1]


# --- Which pages


@pytest.mark.parametrize(
    ("spec", "pages"),
    [
        (None, [1, 2, 3, 4, 5, 6, 7]),
        ("1,3,5-end", [1, 3, 5, 6, 7]),
        ("5-", [5, 6, 7]),
        ("end", [7]),
        ("3,1,2-3", [3, 1, 2]),
        (" 2 - 3 , 07", [2, 3, 7]),
        ("7-end", [7]),
    ],
)
def test_page_ranges(spec: str | None, pages: list[int]) -> None:
    assert parse_pages(spec, 7) == pages


@pytest.mark.parametrize(
    "spec", ["", ",", "1,", "0", "-3", "a", "3-1", "1-2-3", "1;2", "end-3", "٣", "1" * 5000, "00-2"]
)
def test_malformed_page_ranges_are_refused_before_opening(spec: str) -> None:
    with pytest.raises(PageRangeError) as caught:
        check_pages(spec)
    assert caught.value.hint
    assert len(str(caught.value)) < 200


@pytest.mark.parametrize("spec", ["8", "5-8", "8-end", "1-999999999"])
def test_pages_outside_the_document_name_its_count(spec: str) -> None:
    check_pages(spec)
    with pytest.raises(PageRangeError, match="7 pages"):
        parse_pages(spec, 7)


@pytest.mark.slow
@relaxed
@given(st.text("0123456789-,end ", max_size=12) | st.text(max_size=8), st.integers(0, 30))
def test_page_ranges_give_pages_or_a_page_range_error(spec: str, count: int) -> None:
    try:
        pages = parse_pages(spec, count)
    except PageRangeError:
        return
    assert pages
    assert len(set(pages)) == len(pages)
    assert all(1 <= page <= count for page in pages)


# --- PDF


def test_pdf_pages_are_rasterised_at_the_dpi_in_the_order_asked(tmp_path: Path) -> None:
    pages = images(make_pdf(tmp_path / "a.pdf", pages=3), pages="3,1", dpi=144)
    assert [(page.page, page.image.size, page.dpi) for page in pages] == [(3, (144, 216), 144), (1, (144, 72), 144)]
    assert pages[0].image.getpixel((10, 10)) == (0, 0, 0)
    assert pages[0].image.getpixel((140, 10)) == (255, 255, 255)


def test_pages_are_selected_without_being_rasterised(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pdf_pages, "_pdf_page", lambda *_: pytest.fail("rasterised"))
    path = make_pdf(tmp_path / "a.pdf", pages=5)
    assert select_pages(document(path), InputOptions()) == [1, 2, 3, 4, 5]
    assert select_pages(document(path), InputOptions(pages="3,1-2")) == [3, 1, 2]


def test_selecting_pages_fails_as_reading_them_does(tmp_path: Path) -> None:
    with pytest.raises(PageRangeError, match="3 pages"):
        select_pages(document(make_pdf(tmp_path / "a.pdf", pages=3)), InputOptions(pages="9"))
    with pytest.raises(InputError, match="gone"):
        select_pages(document(tmp_path / "gone.pdf"), InputOptions())


def test_pages_to_skip_are_neither_rasterised_nor_yielded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = note_pages_made(monkeypatch)
    path = make_pdf(tmp_path / "a.pdf", pages=5)
    pages = list(read_pages(document(path), InputOptions(pages="4,1-3", dpi=20), skip={1, 4, 5}))
    assert [page.page for page in pages] == made == [2, 3]


def test_rotated_pdf_page_is_upright(tmp_path: Path) -> None:
    with pymupdf.open() as pdf:
        pdf.new_page(width=72, height=36).set_rotation(90)
        pdf.save(tmp_path / "a.pdf")
    assert only_image(tmp_path / "a.pdf", dpi=72).size == (36, 72)


def test_page_range_outside_the_pdf_names_the_file(tmp_path: Path) -> None:
    assert "3 pages" in fails(PageRangeError, make_pdf(tmp_path / "a.pdf", pages=3), pages="9").message


def test_encrypted_pdf_asks_for_the_password(tmp_path: Path) -> None:
    path = make_pdf(tmp_path / "a.pdf", encryption=pymupdf.PDF_ENCRYPT_AES_256, user_pw="u", owner_pw="o")
    assert fails(EncryptedError, path).hint == "Give --password"
    assert "wrong" in fails(EncryptedError, path, password="bad").message
    assert len(read(path, password="u")) == len(read(path, password="o")) == 1


def test_pdf_with_an_owner_password_only_is_read(tmp_path: Path) -> None:
    path = make_pdf(tmp_path / "a.pdf", encryption=pymupdf.PDF_ENCRYPT_AES_256, user_pw="", owner_pw="o")
    assert len(read(path)) == 1


def test_unknown_encryption_is_reported_as_encryption(tmp_path: Path) -> None:
    path = make_pdf(tmp_path / "a.pdf", encryption=pymupdf.PDF_ENCRYPT_AES_256, user_pw="u", owner_pw="o")
    path.write_bytes(path.read_bytes().replace(b"/Standard", b"/Strange1"))
    assert "cannot be read" in fails(EncryptedError, path).message


def test_pdf_without_pages_is_an_input_error(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "a.pdf"
    path.write_bytes(
        b"%PDF-1.4\n1 0 obj<</Type/Catalog/Pages 2 0 R>>endobj\n2 0 obj<</Type/Pages/Kids[]/Count 0>>endobj\n"
    )
    fails(InputError, path)
    assert capfd.readouterr() == ("", "")


def test_pages_lost_in_a_truncated_pdf_are_faults_and_the_others_are_read(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    noise = io.BytesIO()
    Image.effect_noise((200, 200), 90).save(noise, "JPEG")
    with pymupdf.open() as pdf:
        for _ in range(3):
            page = pdf.new_page()
            page.insert_text((72, 72), "text")
            page.insert_image(page.rect, stream=noise.getvalue() + os.urandom(1))
        whole = pdf.tobytes()
    path = tmp_path / "a.pdf"
    path.write_bytes(whole[: len(whole) // 2])
    pages = read(path, dpi=20)
    assert [page.page for page in pages] == [1, 2, 3]
    assert isinstance(pages[0], PageImage)
    assert isinstance(pages[2], PageFault)
    assert "page 3" in pages[2].error.message
    assert "damaged" in caplog.text
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("share", [0.05, 0.1, 0.3])
def test_pdf_cut_before_its_pages_is_damaged(tmp_path: Path, share: float) -> None:
    path = make_pdf(tmp_path / "a.pdf", pages=4)
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * share)])
    assert "damaged" in fails(InputError, path).message


@pytest.mark.parametrize("share", [0.8, 0.9, 0.99])
def test_pdf_cut_behind_its_pages_is_read(tmp_path: Path, share: float, caplog: pytest.LogCaptureFixture) -> None:
    path = make_pdf(tmp_path / "a.pdf", pages=4)
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * share)])
    assert [page.page for page in images(path, dpi=20)] == [1, 2, 3, 4]
    assert "repaired" in caplog.text


@pytest.mark.parametrize("broken", ["[(not a page)]", "<< /Type /Page /Contents 9999 0 R >>"])
def test_broken_page_among_good_ones_is_a_fault(tmp_path: Path, broken: str) -> None:
    path = make_pdf(tmp_path / "a.pdf", pages=3)
    with pymupdf.open(path) as pdf:
        pdf.update_object(pdf.page_xref(1), broken)
        pdf.saveIncr()
    assert [(page.page, type(page)) for page in read(path, dpi=20)] == [(1, PageImage), (2, PageFault), (3, PageImage)]


def test_blank_page_of_a_sound_pdf_is_a_page(tmp_path: Path) -> None:
    with pymupdf.open() as pdf:
        pdf.new_page()
        pdf.save(tmp_path / "a.pdf")
    assert only_image(tmp_path / "a.pdf", dpi=20).convert("L").getcolors() == [(166 * 234, 255)]


def test_failing_page_keeps_its_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    original = pdf_pages._pdf_page

    def fail_on_two(pdf: object, document: Document, number: int, options: InputOptions) -> Raster:
        if number == 2:
            raise RuntimeError("code=4: secret\n" + "x" * 500)
        return original(pdf, document, number, options)

    monkeypatch.setattr(pdf_pages, "_pdf_page", fail_on_two)
    path = make_pdf(tmp_path / "a.pdf", pages=3)
    pages = read(path, pdf_reader="pymupdf")
    assert [(page.page, type(page)) for page in pages] == [(1, PageImage), (2, PageFault), (3, PageImage)]
    (fault,) = faults(path, pdf_reader="pymupdf")
    assert "secret" not in str(fault.error)
    assert fault.error.hint


def test_huge_pdf_page_is_refused_before_it_is_rasterised(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = make_pdf(tmp_path / "a.pdf", pages=2)
    monkeypatch.setattr(pymupdf.Page, "get_displaylist", lambda *_, **__: pytest.fail("rasterised"))
    (fault, _) = read(path, max_pixels=1000, dpi=100)
    assert isinstance(fault, PageFault)
    assert "--dpi" in fault.error.hint
    assert "100 x 50" in fault.error.message


# --- Images


@pytest.mark.parametrize("suffix", ["png", "jpg", "tif", "webp", "bmp", "gif", "jp2"])
def test_every_image_format_is_read(tmp_path: Path, suffix: str) -> None:
    path = make_image(tmp_path / f"a.{suffix}", size=(32, 16), color=(255, 0, 0))
    red, green, blue = only_image(path).getpixel((5, 5))
    assert red > 240
    assert green < 15
    assert blue < 15


def test_every_frame_of_a_tiff_is_a_page(tmp_path: Path) -> None:
    frames = [Image.new(mode, (4, 4 * n), 255) for n, mode in ((1, "1"), (2, "L"), (3, "P"))]
    frames[0].save(tmp_path / "a.tif", save_all=True, append_images=frames[1:])
    pages = images(tmp_path / "a.tif", pages="3,1-2")
    assert [(page.page, page.image.size, page.dpi) for page in pages] == [
        (3, (4, 12), None),
        (1, (4, 4), None),
        (2, (4, 8), None),
    ]


def test_only_the_first_frame_of_an_animation_is_read(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    frames = [Image.new("RGB", (4, 4), color) for color in ("red", "blue")]
    frames[0].save(tmp_path / "a.gif", save_all=True, append_images=frames[1:])
    assert only_image(tmp_path / "a.gif").getpixel((0, 0))[0] > 240
    assert "animated" in caplog.text


@pytest.mark.parametrize("suffix", ["png", "tif"])
def test_sixteen_bits_are_scaled_to_eight(tmp_path: Path, suffix: str) -> None:
    path = make_image(tmp_path / f"a.{suffix}", "I;16", color=32768)
    assert only_image(path).getpixel((0, 0)) == (128, 128, 128)


@pytest.mark.parametrize(("value", "grey"), [(32896, 127), (2056, 127), (0, 255)])
def test_sixteen_bit_tiff_with_white_as_zero(tmp_path: Path, value: int, grey: int) -> None:
    path = make_image(tmp_path / "a.tif", "I;16", color=value, tiffinfo={262: 0})
    assert only_image(path).getpixel((0, 0)) == (grey, grey, grey)


@pytest.mark.parametrize("suffix", ["png", "tif"])
@pytest.mark.parametrize(("paper", "grey"), [(4095, 255), (4096, 16), (255, 16), (0, 0)])
def test_twelve_bits_in_sixteen_are_not_black(tmp_path: Path, suffix: str, paper: int, grey: int) -> None:
    path = make_image(tmp_path / f"a.{suffix}", "I;16", color=paper)
    assert only_image(path).getpixel((0, 0)) == (grey, grey, grey)


@pytest.mark.parametrize(
    ("tags", "grey"),
    [
        ({281: 1023}, 255),
        ({341: 2046.0}, 128),
        ({281: 8184}, 32),
        ({281: 65535}, 64),  # what is written when nobody knows
        ({281: 1000}, 64),  # less than the page has
        ({341: float("nan")}, 64),
    ],
)
def test_white_that_a_tiff_declares_is_believed_if_it_can_be(tmp_path: Path, tags: dict[int, float], grey: int) -> None:
    path = make_image(tmp_path / "a.tif", "I;16", color=1023, tiffinfo=tags)
    assert only_image(path).getpixel((0, 0)) == (grey, grey, grey)


def test_twelve_bit_tiff_is_scaled_by_its_bits(tmp_path: Path) -> None:
    tags = {256: 2, 257: 1, 258: 12, 259: 1, 262: 1, 273: 8, 277: 1, 278: 1, 279: 3}
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags.items())
    pixels = b"\xff\xf8\x00"  # 4095 and 2048
    header = struct.pack("<2sHI", b"II", 42, 12) + pixels + b"\0"
    (tmp_path / "a.tif").write_bytes(header + struct.pack("<H", len(tags)) + entries + bytes(4))
    assert [only_image(tmp_path / "a.tif").getpixel((x, 0))[0] for x in (0, 1)] == [255, 128]


@pytest.mark.parametrize(("mode", "value"), [("F", 0.5), ("F", 127.5), ("I", 128), ("I", 2056), ("I", 32768)])
def test_thirty_two_bit_tiff_is_scaled_by_its_range(tmp_path: Path, mode: str, value: float) -> None:
    assert only_image(make_image(tmp_path / "a.tif", mode, color=value)).getpixel((0, 0)) == (128, 128, 128)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -5.0])
def test_floats_that_are_no_grey_do_not_stop_the_run(tmp_path: Path, value: float) -> None:
    (page,) = read(make_image(tmp_path / "a.tif", "F", color=value))
    assert page.page == 1


def test_cmyk_is_converted(tmp_path: Path) -> None:
    path = make_image(tmp_path / "a.tif", "CMYK", color=(0, 255, 255, 0))
    assert only_image(path).getpixel((0, 0)) == (255, 0, 0)


@pytest.mark.parametrize("mode", ["1", "L", "P", "YCbCr", "LAB"])
def test_other_modes_are_converted(tmp_path: Path, mode: str) -> None:
    assert only_image(make_image(tmp_path / "a.tif", mode)).size == (8, 4)


@pytest.mark.parametrize(("mode", "color"), [("RGBA", (0, 0, 0, 0)), ("LA", (0, 0)), ("PA", (0, 0))])
def test_alpha_is_laid_over_white(tmp_path: Path, mode: str, color: Any) -> None:
    image = Image.new(mode, (2, 2), color)
    if mode == "PA":
        image = image.convert("RGBA")
    image.save(tmp_path / "a.png")
    assert only_image(tmp_path / "a.png").getpixel((0, 0)) == (255, 255, 255)


@pytest.mark.parametrize("mode", ["P", "L", "1"])
def test_transparent_colour_is_laid_over_white(tmp_path: Path, mode: str) -> None:
    path = make_image(tmp_path / "a.png", mode, transparency=0)
    assert only_image(path).getpixel((0, 0)) == (255, 255, 255)


@pytest.mark.parametrize("suffix", ["jpg", "png", "webp", "tif"])
def test_exif_rotation_is_applied(tmp_path: Path, suffix: str) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    path = make_image(tmp_path / f"a.{suffix}", size=(8, 4), exif=exif)
    assert only_image(path).size == (4, 8)


def test_preview_inside_a_photograph_is_no_page(tmp_path: Path) -> None:
    frames = [Image.new("RGB", size) for size in ((16, 8), (4, 2))]
    frames[0].save(tmp_path / "a.jpg", "MPO", save_all=True, append_images=frames[1:])
    assert only_image(tmp_path / "a.jpg").size == (16, 8)


@pytest.mark.filterwarnings("ignore:Corrupt EXIF")
def test_broken_exif_does_not_cost_the_page(tmp_path: Path) -> None:
    path = make_image(tmp_path / "a.jpg", exif=b"Exif\0\0MM\0*\0\0\0\x08\xff\xff\x01\x12" + b"\xff" * 20)
    assert only_image(path).size == (8, 4)


def test_huge_image_is_refused_from_its_header(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = make_image(tmp_path / "a.png", size=(100, 100))
    monkeypatch.setattr("PIL.PngImagePlugin.PngImageFile.load", lambda _: pytest.fail("decoded"))
    (fault,) = read(path, max_pixels=9999)
    assert isinstance(fault, PageFault)
    assert "--max-pixels" in fault.error.hint


@pytest.mark.parametrize("suffix", ["png", "tif", "gif"])
def test_only_our_pixel_limit_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, suffix: str) -> None:
    path = make_image(tmp_path / f"a.{suffix}", "L", size=(100, 100))
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert only_image(path).size == (100, 100)
    assert Image.MAX_IMAGE_PIXELS == 10


def test_truncated_image_is_a_fault_of_its_page(tmp_path: Path) -> None:
    Image.effect_noise((64, 64), 90).save(tmp_path / "a.png")
    blob = (tmp_path / "a.png").read_bytes()
    (tmp_path / "a.png").write_bytes(blob[: len(blob) // 2])
    (fault,) = read(tmp_path / "a.png")
    assert isinstance(fault, PageFault)
    assert "a.png" in fault.error.message
    assert fault.error.code == "unreadable"


def test_lost_frame_of_a_tiff_is_a_fault_and_the_others_are_read(tmp_path: Path) -> None:
    frames = [Image.effect_noise((32, 32), 90) for _ in range(3)]
    frames[0].save(tmp_path / "a.tif", save_all=True, append_images=frames[1:], compression="tiff_adobe_deflate")
    blob = bytearray((tmp_path / "a.tif").read_bytes())
    with Image.open(tmp_path / "a.tif") as image:
        image.seek(1)
        start = image.tag_v2[273][0]  # type: ignore[attr-defined]
    blob[start : start + 200] = b"\xff" * 200
    (tmp_path / "a.tif").write_bytes(blob)
    assert [type(page) for page in read(tmp_path / "a.tif")] == [PageImage, PageFault, PageImage]


# --- Files that are not what they seem


def test_type_is_decided_by_content(tmp_path: Path) -> None:
    make_pdf(tmp_path / "really-pdf.png")
    Image.new("RGB", (8, 4)).save(tmp_path / "really-png.pdf", "PNG")
    make_pdf(tmp_path / "no-extension")
    assert [len(read(path)) for path in sorted(tmp_path.iterdir())] == [1, 1, 1]


@pytest.mark.parametrize("name", ["a.pdf", "a.png", "a.txt"])
def test_zero_bytes_are_an_empty_file(tmp_path: Path, name: str) -> None:
    (tmp_path / name).touch()
    assert fails(EmptyFileError, tmp_path / name).code == "empty"


@pytest.mark.parametrize("blob", [b"\x93NUMPY garbage" * 50, b"%PDF-1.7\n", b"%PDF-1.7\n" + b"garbage" * 50])
def test_garbage_with_a_known_extension_is_damaged(tmp_path: Path, blob: bytes) -> None:
    (tmp_path / "a.pdf").write_bytes(blob)
    assert fails(InputError, tmp_path / "a.pdf").code == "unreadable"


def test_unsupported_file_is_told_what_is_read(tmp_path: Path) -> None:
    (tmp_path / "a.docx").write_bytes(b"PK\x03\x04" + b"x" * 100)
    assert "JPEG 2000" in fails(UnsupportedFileError, tmp_path / "a.docx").hint


def test_image_cut_inside_its_header_is_damaged(tmp_path: Path) -> None:
    path = make_image(tmp_path / "a.png")
    path.write_bytes(path.read_bytes()[:14])
    fails(InputError, path)


def test_file_that_vanished_is_an_input_error(tmp_path: Path) -> None:
    fails(InputError, tmp_path / "gone.pdf")


bound_by_permissions = pytest.mark.skipif(
    not hasattr(os, "geteuid") or os.geteuid() == 0, reason="permissions do not bind this user"
)


@bound_by_permissions
def test_file_without_permission_is_an_input_error(tmp_path: Path) -> None:
    path = make_pdf(tmp_path / "a.pdf")
    path.chmod(0)
    assert "permission" in fails(InputError, path).message


@bound_by_permissions
def test_folder_without_permission_is_skipped_in_a_walk(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    make_pdf(tmp_path / "a.pdf")
    (tmp_path / "closed").mkdir(mode=0)
    assert folders(find_documents([str(tmp_path)], recursive=True)) == ["a"]
    assert "closed was skipped" in caplog.text


@pytest.mark.parametrize("data", [None, b"abc" * 10**6])
def test_content_is_known_by_its_sha256(tmp_path: Path, data: bytes | None) -> None:
    (tmp_path / "a.pdf").write_bytes(b"abc" * 10**6)
    source = Document(tmp_path / "a.pdf" if data is None else None, "a.pdf", PurePosixPath("a"), data)
    assert content_hash(source) == hashlib.sha256(b"abc" * 10**6).hexdigest()


def test_content_that_cannot_be_read_fails_as_opening_does(tmp_path: Path) -> None:
    for path in (tmp_path / "gone.pdf", tmp_path):
        with pytest.raises(InputError) as caught:
            content_hash(document(path))
        assert str(caught.value) == str(fails(type(caught.value), path))


def test_forbidden_file_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def forbid(*_: object) -> Iterator[None]:
        raise PermissionError(13, "Permission denied")

    path = make_pdf(tmp_path / "a.pdf")
    monkeypatch.setattr("builtins.open", forbid)
    assert "permission" in fails(InputError, path).message


def test_pages_are_made_one_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = note_pages_made(monkeypatch)
    pages = read_pages(document(make_pdf(tmp_path / "a.pdf", pages=5)), InputOptions(dpi=20))
    next(pages)
    assert made == [1]
    pages.close()


def test_importing_the_module_loads_no_decoder() -> None:
    code = "import sys, rtprune_cli.inputs; print({'torch', 'numpy', 'PIL', 'pymupdf'} & set(sys.modules))"
    assert subprocess.check_output([sys.executable, "-c", code], text=True) == "set()\n"


# --- Lists and folders of others ---------------------------------------------------------------------------------


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "little", "big", "utf-16-le", "utf-16-be"])
def test_lists_are_read_in_the_encodings_in_which_programs_write_them(tmp_path: Path, encoding: str) -> None:
    path = make_pdf(tmp_path / "Blätter.pdf")
    text = f"{path}\r\n"
    with_mark = {"little": b"\xff\xfe" + text.encode("utf-16-le"), "big": b"\xfe\xff" + text.encode("utf-16-be")}
    (tmp_path / "list.txt").write_bytes(with_mark.get(encoding) or text.encode(encoding))
    (found,) = find_documents([], recursive=False, files_from=str(tmp_path / "list.txt"))
    assert found.path == path


def test_a_path_of_a_list_that_is_gone_fails_alone(tmp_path: Path) -> None:
    path = make_pdf(tmp_path / "a.pdf")
    (tmp_path / "list.txt").write_text(f"{tmp_path / 'gone.pdf'}\n{path}\n")
    gone, there = find_documents([], recursive=False, files_from=str(tmp_path / "list.txt"))
    assert there.path == path
    with pytest.raises(InputError, match=r"gone\.pdf cannot be opened"):
        select_pages(gone, InputOptions())


def test_what_is_left_out_of_a_folder_is_told_in_one_line(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    for name in ("a.djvu", "b.djvu", "c.docx", "Makefile", "d.py"):
        (tmp_path / name).touch()
    make_pdf(tmp_path / "a.pdf")
    assert len(find_documents([str(tmp_path)], recursive=False)) == 1
    assert caplog.messages == ["files of types that are not read were left out: 2 .djvu, 1 .docx"]


def test_patterns_leave_out_files_and_folders(tmp_path: Path) -> None:
    for name in ("a.pdf", "@eaDir/a.pdf", "draft-1.pdf", "x/b.pdf"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        make_pdf(tmp_path / name)
    found = find_documents([str(tmp_path)], recursive=True, patterns=InputOptions(exclude="draft-*, @eaDir").excluded)
    assert [str(each.folder) for each in found] == ["a", "x/b"]


def test_the_output_of_another_run_is_no_input(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    make_pdf(tmp_path / "a.pdf")
    for place in (".rtprune", "a/images"):
        (tmp_path / "results" / place).mkdir(parents=True)
    Image.new("RGB", (9, 9)).save(tmp_path / "results" / "a" / "images" / "page-0001-1.png")
    assert [str(each.folder) for each in find_documents([str(tmp_path)], recursive=True)] == ["a"]
    assert "results was written by rtprune and left out" in caplog.text


def test_names_that_are_taken_are_told_in_one_line(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    paths = []
    for folder in "abcd":
        (tmp_path / folder).mkdir()
        paths.append(str(make_pdf(tmp_path / folder / "x.pdf")))
    find_documents(paths, recursive=False)
    (line,) = caplog.messages
    assert line.endswith("goes to x_2: the name x is taken, and 2 more go with it")


def test_the_first_pages_of_each_document_are_enough_where_asked(tmp_path: Path) -> None:
    short, long = make_pdf(tmp_path / "a.pdf", pages=1), make_pdf(tmp_path / "b.pdf", pages=5)
    assert [select_pages(document(path), InputOptions(max_pages=3)) for path in (short, long)] == [[1], [1, 2, 3]]
