"""`rtprune convert`: what was read, as text, as DoclingDocument, as a PDF that can be searched."""

from __future__ import annotations

import hashlib
import io
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import pymupdf
import pypdfium2
import pytest
from PIL import Image

from rtprune_cli.convert.docling import list_items
from rtprune_cli.convert.html_table import parse_table
from rtprune_cli.convert.layer import visual_order
from rtprune_cli.convert.lines import lay_lines
from rtprune_cli.outputs import name_documents
from rtprune_cli.outputs.layout import is_converted, is_written
from rtprune_cli.records import Document

DPI = 200
SPANS = (
    "<table><thead><tr><th colspan='2'>head</th><th>c</th></tr></thead>"
    "<tr><td rowspan='2'>a</td><td>b &amp; b</td><td>1</td></tr><tr><td>d<br>d</td><td>2</td></tr></table>"
)

Blocks = list[dict[str, Any]]
Write = Callable[..., Path]


def block(label: str = "text", box: Any = None, **values: Any) -> dict[str, Any]:
    names = ("box_relative", "text", "html", "latex", "crop", "level", "confidence")
    return {"label": label, "box": box and list(box), **dict.fromkeys(names), **values}


def page(blocks: Blocks, size: tuple[int, int] = (1700, 2200), number: int = 1, **values: Any) -> dict[str, Any]:
    common = {"page": number, "status": "ok", "error": None, "width": size[0], "height": size[1], "dpi": DPI}
    points = {"width_points": size[0] * 72 / DPI, "height_points": size[1] * 72 / DPI, "markdown": ""}
    return {**common, **points, **values, "blocks": blocks}


FAILED = {"page": 2, "status": "failed", "error": {"code": "loop", "message": "m"}, "blocks": [],
          "markdown": "", **dict.fromkeys(("width", "height", "width_points", "height_points", "dpi"))}  # fmt: skip


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Writes OUT/a/a.json, of a source that may be there, and gives OUT."""

    def do(*pages: Any, source: Path | None = None, name: str = "a", rotate: str = "auto") -> Path:
        folder = tmp_path / "out" / name
        folder.mkdir(parents=True, exist_ok=True)
        digest = hashlib.sha256(source.read_bytes()).hexdigest() if source else "0" * 64
        about = {"name": f"{name}.pdf", "path": source and str(source), "folder": name, "sha256": digest}
        data = {"schema_version": 1, "document": about, "pages": list(pages)}
        (folder / f"{name}.json").write_text(json.dumps(data))
        report = {"settings": {"input": {"rotate": rotate, "max_pixels": 10**8}}}
        (folder / f"{name}.report.json").write_text(json.dumps(report))
        return tmp_path / "out"

    return do


# --- Text


def test_text_has_paragraphs_tables_and_formulas(write: Write, rtprune: Any) -> None:
    blocks = [block("title", text="One", level=1), block("table", html=SPANS), block("equation", latex="x^2"),
              block("image", crop="images/page-0001-1.png"), block(text="two\nlines")]  # fmt: skip
    out = write(page(blocks))
    result = rtprune("convert", out, "--to", "text")
    assert (result.exit_code, result.stdout) == (0, f"{out / 'a' / 'a.txt'}\n"), result.stderr
    assert (out / "a" / "a.txt").read_text() == "One\n\nhead\t\tc\na\tb & b\t1\n\td d\t2\n\nx^2\n\ntwo\nlines\n"


def test_pages_are_separated_and_failed_ones_stay(write: Write, rtprune: Any) -> None:
    out = write(page([block(text="one")]), FAILED, page([block(text="three")], number=3))
    assert rtprune("convert", out, "--to", "text").exit_code == 0
    assert (out / "a" / "a.txt").read_text() == "one\n\f\fthree\n"


@pytest.mark.parametrize("source", ["", "<td>", "<table><tr><td rowspan=9 colspan=99999999>x", "</table></td>a<tr>"])
def test_any_table_is_parsed(source: str) -> None:
    grid = parse_table(source)
    assert all(cell.row + cell.rows <= grid.rows and cell.column + cell.columns <= grid.columns for cell in grid.cells)


# --- Places, errors


def test_another_folder_gets_the_same_tree(write: Write, rtprune: Any, tmp_path: Path) -> None:
    out = write(page([block(text="one")]))
    assert rtprune("convert", out, "--to", "text", "-o", tmp_path / "d").exit_code == 0
    assert (tmp_path / "d" / "a" / "a.txt").exists() and not (out / "a" / "a.txt").exists()


@pytest.mark.parametrize("part", ["a", "a/a.json"])
def test_a_single_document_is_converted(part: str, write: Write, rtprune: Any) -> None:
    out = write(page([block(text="one")]))
    assert rtprune("convert", out / part, "--to", "text").exit_code == 0
    assert (out / "a" / "a.txt").exists()


@pytest.mark.parametrize(
    ("change", "to", "code", "message"),
    [
        (None, "word", 2, "unknown format 'word'. Use one of docling, text, searchable-pdf"),
        ("{", "text", 4, "is not JSON"),
        ("[]", "text", 4, "does not hold the blocks of a document"),
        ('{"schema_version": 9}', "text", 4, "newer version of rtprune"),
        ("", "text", 2, "holds no NAME.json of a document. It was read with --no-json or an earlier version; run"),
        (None, "searchable-pdf", 4, "was read from a pipe or out of another file"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_one_line(
    change: str | None, to: str, code: int, message: str, write: Write, rtprune: Any
) -> None:
    out = write(page([block(text="one")]))
    if change:
        (out / "a" / "a.json").write_text(change)
    elif change == "":
        (out / "a" / "a.json").unlink()
    result = rtprune("convert", out, "--to", to)
    assert result.exit_code == code
    assert message in result.stderr and len(result.stderr.splitlines()) == 1


def test_a_document_without_its_original_does_not_keep_the_others(write: Write, rtprune: Any, a_pdf: Path) -> None:
    write(page([block(text="gone")]), source=a_pdf, name="b")
    moved = a_pdf.rename(a_pdf.with_name("moved.pdf"))
    out = write(page([block(text="here", box=BOX)]), source=moved)
    result = rtprune("convert", out, "--to", "searchable-pdf")
    assert result.exit_code == 4 and "the original of b.pdf is gone" in result.stderr
    assert result.stdout == f"{out / 'a' / 'a.pdf'}\n"


def test_a_changed_original_is_refused(write: Write, rtprune: Any, a_pdf: Path) -> None:
    out = write(page([block(text="one", box=BOX)]), source=a_pdf)
    a_pdf.write_bytes(a_pdf.read_bytes() + b"\n")
    result = rtprune("convert", out, "--to", "searchable-pdf")
    assert result.exit_code == 4 and "a.pdf has changed since it was read" in result.stderr


def test_a_pdf_of_ones_own_is_kept(write: Write, rtprune: Any, a_pdf: Path) -> None:
    out = write(page([block(text="one", box=BOX)]), source=a_pdf)
    own = out / "a" / "a.pdf"
    shutil.copy(a_pdf, own)
    result = rtprune("convert", out, "--to", "searchable-pdf")
    assert result.exit_code == 4 and "was not written by rtprune convert and is kept" in result.stderr
    assert not is_written(str(own))


# --- PDFs that can be searched: the text is drawn as lines, so that the page has ink and no text of its own

WORDS = ("Where", "the", "quick", "brown", "foxes", "jump", "over", "lazy", "dogs", "again")
SENTENCES = [f"w{at} {word}{at}" for at, word in enumerate(["of", "nature", "it", "universally", "a", "man"] * 15)]
BOX = (280, 275, 1400, 480)  # around both lines, in pixels of the page


@pytest.fixture
def a_pdf(tmp_path: Path) -> Path:
    return a_scan(tmp_path / "scan.pdf")


def drawn() -> tuple[pymupdf.Document, dict[str, pymupdf.Rect]]:
    """A page of text, and where its words are."""
    pdf = pymupdf.open()
    sheet = pdf.new_page(width=612, height=792)
    sheet.insert_text((102, 120), " ".join(WORDS[:5]), fontsize=30)
    sheet.insert_text((102, 160), " ".join(WORDS[5:]), fontsize=30)
    return pdf, {word[4]: pymupdf.Rect(word[:4]) for word in sheet.get_text("words")}


def a_scan(path: Path, *, rotation: int = 0, crop: tuple[int, int] = (0, 0), **save: Any) -> Path:
    """The page as a picture, upright under its /Rotate, its crop box moved by ``crop`` points into a larger sheet."""
    text, _ = drawn()
    left, below = crop
    pixmap = text[0].get_pixmap(dpi=100)
    pdf = pymupdf.open()
    size = (612, 792) if rotation in (0, 180) else (792, 612)
    sheet = pdf.new_page(width=size[0] + 2 * left, height=size[1] + 2 * below)
    place = pymupdf.Rect(left, below, left + size[0], below + size[1])
    sheet.insert_image(place, pixmap=pixmap, rotate=rotation)
    if crop != (0, 0):
        sheet.set_cropbox(place)
    sheet.set_rotation(rotation)
    assert sheet.rect == pymupdf.Rect(0, 0, 612, 792)
    pdf.save(path, **save)
    return path


def read_page(*more: dict[str, Any]) -> dict[str, Any]:
    return page([block(box=BOX, text=" ".join(WORDS)), *more])


def converted(rtprune: Any, out: Path, *flags: Any) -> pymupdf.Document:
    result = rtprune("convert", out, "--to", "searchable-pdf", *flags)
    assert result.exit_code == 0, result.stderr
    return pymupdf.open(result.stdout.strip())


def shown_at(sheet: pymupdf.Page, word: str) -> pymupdf.Rect:
    """Where a word is found, on the page as it is shown."""
    (found,) = sheet.search_for(word)
    return found * sheet.rotation_matrix


def near(found: pymupdf.Rect, drawn: pymupdf.Rect) -> bool:
    """Within a letter or so of a type of 30 points."""
    return abs(found.x0 - drawn.x0) < 16 and abs(found.x1 - drawn.x1) < 16 and abs(found.y1 - drawn.y1) < 12


@pytest.mark.parametrize("rotation", [0, 90, 180, 270])
@pytest.mark.parametrize("crop", [(0, 0), (50, 20)])
def test_words_are_found_where_they_stand(
    rotation: int, crop: tuple[int, int], write: Write, rtprune: Any, tmp_path: Path
) -> None:
    scan = a_scan(tmp_path / "scan.pdf", rotation=rotation, crop=crop)
    sheet = converted(rtprune, write(read_page(), source=scan))[0]
    places = drawn()[1]
    for word in WORDS:
        assert near(shown_at(sheet, word), places[word]), word


@pytest.mark.parametrize("turn", ["90", "180", "270"])
def test_pages_that_were_turned_to_be_read_have_their_words_in_place(
    turn: str, write: Write, rtprune: Any, tmp_path: Path
) -> None:
    scan = a_scan(tmp_path / "scan.pdf")  # as if it lay on its side: the box is where the turned page has it
    left, top, right, bottom = BOX
    width, height = 1700, 2200
    boxes = {
        "90": (height - bottom, left, height - top, right),
        "180": (width - right, height - bottom, width - left, height - top),
        "270": (top, width - right, bottom, width - left),
    }
    size = (width, height) if turn == "180" else (height, width)
    turned = page([block(box=boxes[turn], text="needle")], size=size)
    sheet = converted(rtprune, write(turned, source=scan, rotate=turn))[0]
    found = shown_at(sheet, "needle")
    assert (pymupdf.Rect(BOX) * (72 / DPI) + (-15, -15, 15, 15)).contains(found)


def test_the_text_is_not_seen(write: Write, rtprune: Any, a_pdf: Path) -> None:
    sheet = converted(rtprune, write(read_page(), source=a_pdf))[0]
    assert sheet.get_pixmap().samples == pymupdf.open(a_pdf)[0].get_pixmap().samples


def test_the_original_stays_as_it_was(write: Write, rtprune: Any, tmp_path: Path) -> None:
    pdf = pymupdf.open(a_scan(tmp_path / "x.pdf"))
    pdf.new_page()
    pdf.set_metadata({"title": "Kept"})
    pdf.set_toc([[1, "Chapter", 1]])
    pdf[0].insert_link({"kind": pymupdf.LINK_URI, "from": pymupdf.Rect(0, 0, 9, 9), "uri": "https://example.org"})
    pdf.save(tmp_path / "scan.pdf")
    made = converted(rtprune, write(read_page(), source=tmp_path / "scan.pdf"))
    assert made.page_count == 2 and made[1].get_text() == ""
    assert made.metadata["title"] == "Kept" and made.get_toc() == [[1, "Chapter", 1]]
    assert made[0].get_links()[0]["uri"] == "https://example.org"
    assert Path(made.name).stat().st_size < (tmp_path / "scan.pdf").stat().st_size + 6000


def test_an_image_becomes_a_page(write: Write, rtprune: Any, tmp_path: Path) -> None:
    text, places = drawn()
    source = tmp_path / "scan.png"
    text[0].get_pixmap(dpi=DPI).pil_save(source, dpi=(DPI, DPI))
    made = converted(rtprune, write(page(read_page()["blocks"], dpi=None), source=source))
    assert tuple(made[0].rect) == pytest.approx((0, 0, 612, 792), abs=0.01)
    assert near(shown_at(made[0], "foxes"), places["foxes"])


def test_a_jpeg_is_kept_as_it_is(write: Write, rtprune: Any, tmp_path: Path) -> None:
    source = tmp_path / "scan.jpg"
    Image.effect_noise((300, 400), 50).save(source, quality=40)
    made = converted(rtprune, write(page([block(text="one", box=(30, 30, 200, 60))], (300, 400)), source=source))
    assert made.extract_image(made[0].get_images()[0][0])["image"] == source.read_bytes()


@pytest.mark.parametrize("text", ["Größe", "Ωμέγα", "Привет", "日本語", "한국어", "ﬁn", "𝔸𝔹", "👍"])
def test_any_letters_are_found(text: str, write: Write, rtprune: Any, a_pdf: Path) -> None:
    sheet = converted(rtprune, write(page([block(text=f"see {text} here", box=BOX)]), source=a_pdf))[0]
    assert text in sheet.get_text()


@pytest.mark.skipif(shutil.which("pdftotext") is None, reason="pdftotext (poppler) is not installed")
@pytest.mark.parametrize("text", ["Ωμέγα Привет", "日本語テスト", "שלום עולם 12", "مرحبا بالعالم"])
def test_poppler_reads_the_same(text: str, write: Write, rtprune: Any, a_pdf: Path) -> None:
    made = converted(rtprune, write(page([block(text=text, box=BOX)]), source=a_pdf))
    assert re.sub("[\u202a-\u202e]", "", poppler(made)).split() == text.split()


@pytest.mark.skipif(shutil.which("pdftotext") is None, reason="pdftotext (poppler) is not installed")
def test_poppler_finds_words_where_they_stand(write: Write, rtprune: Any, a_pdf: Path) -> None:
    made = converted(rtprune, write(read_page(), source=a_pdf))
    words = re.findall(r'xMin="(.+?)" yMin="(.+?)" xMax="(.+?)" yMax="(.+?)">(.+)</word>', poppler(made, "-bbox"))
    places = drawn()[1]
    assert [word[4] for word in words] == list(WORDS)
    assert all(near(pymupdf.Rect(*map(float, word[:4])), places[word[4]]) for word in words)


def test_the_search_of_chromium_finds_words_where_they_stand(write: Write, rtprune: Any, a_pdf: Path) -> None:
    made = converted(rtprune, write(read_page(), source=a_pdf))
    text = pypdfium2.PdfDocument(made.name)[0].get_textpage()
    places = drawn()[1]
    for word in WORDS:
        first, count = text.search(word).get_next()
        text.count_rects(first, count)
        left, bottom, right, top = text.get_rect(0)
        assert near(pymupdf.Rect(left, 792 - top, right, 792 - bottom), places[word]), word


def test_lines_that_the_model_kept_are_found_below_a_box_that_is_too_short(
    write: Write, rtprune: Any, tmp_path: Path
) -> None:
    text = pymupdf.open()
    sheet = text.new_page(width=612, height=792)
    lines = [" ".join(WORDS[at : at + 2]) for at in range(0, 10, 2)]
    for at, line in enumerate(lines):
        sheet.insert_text((102, 120 + 40 * at), line, fontsize=30)
    places = {word[4]: pymupdf.Rect(word[:4]) for word in sheet.get_text("words")}
    scan = pymupdf.open()
    picture = scan.new_page(width=612, height=792)
    picture.insert_image(picture.rect, pixmap=sheet.get_pixmap(dpi=100))
    scan.save(tmp_path / "scan.pdf")
    short = page([block(box=(280, 250, 1400, 720), text="\n".join(lines))])  # without the last line
    found = converted(rtprune, write(short, source=tmp_path / "scan.pdf"))[0]
    for word in WORDS:
        assert near(shown_at(found, word), places[word]), word


def poppler(made: pymupdf.Document, *flags: str) -> str:
    return subprocess.run(["pdftotext", *flags, made.name, "-"], capture_output=True, text=True, check=True).stdout


def test_hebrew_stands_from_right_to_left() -> None:
    assert visual_order("abc שלום עולם def") == ["abc", "םלוע", "םולש", "def"]
    assert visual_order("עולם abc def 12,5ב") == ["ב12,5", "abc", "def", "םלוע"]


@pytest.mark.parametrize(("askew", "noise"), [(0, 0), (1.2, 0), pytest.param(0.4, 20, marks=pytest.mark.slow)])
def test_words_of_a_paragraph_are_found_in_their_lines(
    askew: float, noise: float, write: Write, rtprune: Any, tmp_path: Path
) -> None:
    """A justified paragraph of which the model left out a word and joined two."""
    text = pymupdf.open()
    sheet = text.new_page(width=612, height=792)
    sheet.insert_textbox((80, 100, 532, 600), " ".join(SENTENCES), fontsize=11, align=pymupdf.TEXT_ALIGN_JUSTIFY)
    places = {word[4]: word for word in sheet.get_text("words")}
    image = Image.open(io.BytesIO(sheet.get_pixmap(dpi=DPI).tobytes())).convert("L")
    pixels = np.asarray(image.rotate(askew, fillcolor=255, resample=Image.Resampling.BICUBIC), float)
    pixels = pixels + np.random.default_rng(0).normal(0, noise, pixels.shape)
    source = tmp_path / "scan.png"
    Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(source, dpi=(DPI, DPI))
    box = [round(value * DPI / 72) for value in (76, 96, 536, max(place[3] for place in places.values()) + 4)]
    read = " ".join(SENTENCES).replace("w31 ", "").replace("w60 ", "w60")
    found = converted(rtprune, write(page([block(box=box, text=read)]), source=source))[0].get_text("words")
    middle, turn = pymupdf.Point(306, 396), pymupdf.Matrix(-askew)  # about the middle of the page, as the image was
    close = 0
    for word in found:
        if place := places.get(word[4]):
            close += abs(centre(word) - ((centre(place) - middle) * turn + middle)) < 5
    assert close >= 0.97 * len(places)


def centre(word: Any) -> pymupdf.Point:
    return pymupdf.Point((word[0] + word[2]) / 2, (word[1] + word[3]) / 2)


@pytest.mark.parametrize("ruled", [False, True])
def test_cells_are_found_where_they_stand(ruled: bool, write: Write, rtprune: Any, tmp_path: Path) -> None:
    rows = [["Item", "Quantity", "Total"], ["Paper, white", "12", "40.80"], ["Ink", "2", "37.98"]]
    text = pymupdf.open()
    sheet = text.new_page(width=612, height=792)
    for at, row in enumerate(rows):
        for left, cell in zip((104, 330, 420), row, strict=True):
            sheet.insert_text((left, 115 + 20 * at), cell)
    if ruled:
        for y in (100, 120, 140, 160):
            sheet.draw_line((100, y), (500, y))
        for x in (100, 320, 410, 500):
            sheet.draw_line((x, 100), (x, 160))
    places = {word[4]: pymupdf.Rect(word[:4]) for word in sheet.get_text("words")}
    sheet.get_pixmap(dpi=DPI).pil_save(tmp_path / "scan.png", dpi=(DPI, DPI))
    html = "".join(f"<tr>{''.join(f'<td>{cell}</td>' for cell in row)}</tr>" for row in rows)
    box = [round(value * DPI / 72) for value in (98, 98, 502, 162)]
    table = page([block("table", html=f"<table>{html}</table>", box=box)])
    found = converted(rtprune, write(table, source=tmp_path / "scan.png"))[0].get_text("words")
    assert [word[4] for word in found] == list(places)
    assert all(abs(word[0] - places[word[4]].x0) < 4 for word in found)


def test_words_of_a_page_read_without_boxes_are_found_on_it(write: Write, rtprune: Any, a_pdf: Path) -> None:
    sheet = converted(rtprune, write(page([block(text=" ".join(WORDS))]), source=a_pdf))[0]
    assert near(shown_at(sheet, "jump"), drawn()[1]["jump"])


def test_lines_of_chinese_are_broken_between_letters() -> None:
    lines = lay_lines("天地玄黄宇宙洪荒日月盈昃辰宿列张", (0, 0, 200, 120), None)
    assert [len(line.text) for line in lines] == [5, 5, 6] and "".join(
        line.text for line in lines
    ) == "天地玄黄宇宙洪荒日月盈昃辰宿列张"


def test_cells_and_text_without_a_place_are_found(write: Write, rtprune: Any, a_pdf: Path) -> None:
    blocks = [block("table", html=SPANS, box=BOX), block(text="nowhere to be seen")]
    sheet = converted(rtprune, write(page(blocks), source=a_pdf))[0]
    head, cell = shown_at(sheet, "head"), shown_at(sheet, "b & b")
    assert head.y1 < cell.y0 + 12 and head.x0 < cell.x0
    assert shown_at(sheet, "nowhere").y0 > 760


def test_pages_that_have_text_get_no_other(write: Write, rtprune: Any, tmp_path: Path) -> None:
    text, _ = drawn()
    text.save(tmp_path / "text.pdf")
    out = write(read_page(), source=tmp_path / "text.pdf")
    result = rtprune("convert", out, "--to", "searchable-pdf")
    assert "a.pdf: 1 page has text already" in result.stderr
    assert len(pymupdf.open(out / "a" / "a.pdf")[0].search_for("foxes")) == 1
    forced = converted(rtprune, out, "--force-text")
    assert len(re.findall("foxes", forced[0].get_text())) == 2


def test_an_encrypted_original_needs_its_password(write: Write, rtprune: Any, tmp_path: Path) -> None:
    scan = a_scan(tmp_path / "scan.pdf", encryption=pymupdf.PDF_ENCRYPT_AES_256, user_pw="u", owner_pw="o")
    out = write(read_page(), source=scan)
    result = rtprune("convert", out, "--to", "searchable-pdf")
    assert result.exit_code == 8 and "a.pdf is encrypted. Give --password" in result.stderr
    made = converted(rtprune, out, "--password", "u")
    assert made.needs_pass and made.authenticate("u")
    assert made[0].search_for("foxes")


def test_resources_of_the_pages_tree_stay(write: Write, rtprune: Any, tmp_path: Path) -> None:
    """A page without resources of its own has those of the node above it."""
    pdf = pymupdf.open(a_scan(tmp_path / "x.pdf"))
    xref = pdf[0].xref
    tree = int(pdf.xref_get_key(xref, "Parent")[1].split()[0])
    pdf.xref_set_key(tree, "Resources", pdf.xref_get_key(xref, "Resources")[1])
    pdf.xref_set_key(xref, "Resources", "null")
    pdf.save(tmp_path / "scan.pdf", garbage=1)
    sheet = converted(rtprune, write(read_page(), source=tmp_path / "scan.pdf"))[0]
    assert sheet.search_for("foxes")
    assert sheet.get_pixmap().samples == pymupdf.open(tmp_path / "scan.pdf")[0].get_pixmap().samples


@pytest.mark.parametrize("ending", [".json", ".txt", ".docling.json", ".pdf"])
def test_no_document_is_named_as_a_result_of_another(ending: str) -> None:
    """a.pdf beside a folder a/ that holds a.txt.png, whose own folder would be a/a.txt."""
    found = [Document(Path(name), name, PurePosixPath(name)) for name in ("a", f"a/a{ending}")]
    assert [str(document.folder) for document in name_documents(found)] == ["a", f"a/a{ending}_2"]


def test_later_runs_know_what_was_converted(write: Write, rtprune: Any, a_pdf: Path) -> None:
    out = write(read_page(), source=a_pdf)
    made = Path(converted(rtprune, out).name)
    assert is_converted(made) and is_written(str(made)) and not is_written(str(a_pdf))
    assert rtprune("convert", out, "--to", "searchable-pdf").exit_code == 0  # it is written anew


def test_a_signature_is_warned_of(write: Write, rtprune: Any, tmp_path: Path) -> None:
    pdf = pymupdf.open(a_scan(tmp_path / "x.pdf"))
    value, widget = pdf.get_new_xref(), pdf.get_new_xref()
    pdf.update_object(value, "<</Type/Sig/Filter/Adobe.PPKLite/ByteRange[0 0 0 0]/Contents<00>>>")
    field = f"<</Type/Annot/Subtype/Widget/FT/Sig/T(s)/Rect[0 0 0 0]/V {value} 0 R/P {pdf[0].xref} 0 R>>"
    pdf.update_object(widget, field)
    pdf.xref_set_key(pdf[0].xref, "Annots", f"[{widget} 0 R]")
    pdf.xref_set_key(pdf.pdf_catalog(), "AcroForm", f"<</SigFlags 3/Fields[{widget} 0 R]>>")
    pdf.save(tmp_path / "scan.pdf")
    result = rtprune("convert", write(read_page(), source=tmp_path / "scan.pdf"), "--to", "searchable-pdf")
    assert result.exit_code == 0 and "warning: a.pdf is signed" in result.stderr


# --- DoclingDocument


@pytest.fixture
def docling() -> Any:
    return pytest.importorskip("docling_core.types.doc")


def loaded(docling: Any, rtprune: Any, out: Path, *flags: Any) -> Any:
    result = rtprune("convert", out, "--to", "docling", *flags)
    assert result.exit_code == 0, result.stderr
    return docling.DoclingDocument.load_from_json(Path(result.stdout.strip()))


def test_a_docling_document_has_every_kind_of_block(docling: Any, write: Write, rtprune: Any) -> None:
    blocks = [
        block("header", text="running head"),
        block("title", text="Report", level=1, box=(170, 200, 850, 400)),
        block("sub_title", text="Part", level=2),
        block(text="- one\n- two"),
        block("equation", latex="x^2"),
        block("image", crop="images/page-0001-1.png", box=(0, 0, 100, 50)),
        block("image_caption", text="A picture"),
        block("table", html=SPANS),
        block("table_caption", text="A table"),
        block("table_footnote", text="A note"),
        block(text="The end."),
    ]
    made = loaded(docling, rtprune, write(page(blocks), FAILED))
    kinds = [item.label.value for item, _ in made.iterate_items(with_groups=False)]
    assert kinds == ["title", "section_header", "list_item", "list_item", "formula", "picture", "caption", "table",
                     "caption", "footnote", "text"]  # fmt: skip
    assert made.pictures[0].caption_text(made) == "A picture"
    assert made.tables[0].caption_text(made) == "A table" and len(made.tables[0].footnotes) == 1
    assert str(made.pictures[0].image.uri) == "images/page-0001-1.png"
    text = made.export_to_markdown()
    assert "# Report\n\n## Part\n\n- one\n- two\n\n$$x^2$$" in text
    assert "running head" not in text and text.index("The end.") > text.index("A table")


def test_boxes_are_in_the_unit_of_the_page(docling: Any, write: Write, rtprune: Any) -> None:
    made = loaded(docling, rtprune, write(page([block("title", text="Report", level=1, box=(170, 200, 850, 400))])))
    prov = made.texts[0].prov[0]
    assert (made.pages[1].size.width, made.pages[1].size.height) == (612, 792)
    assert prov.page_no == 1 and prov.bbox.coord_origin == docling.CoordOrigin.TOPLEFT
    assert prov.bbox.as_tuple() == pytest.approx((61.2, 72, 306, 144))


def test_spans_of_tables_are_kept(docling: Any, write: Write, rtprune: Any) -> None:
    data = loaded(docling, rtprune, write(page([block("table", html=SPANS)]))).tables[0].data
    assert (data.num_rows, data.num_cols) == (3, 3)
    assert [[cell.text for cell in row] for row in data.grid] == [
        ["head", "head", "c"], ["a", "b & b", "1"], ["a", "d d", "2"],
    ]  # fmt: skip
    assert [cell.column_header for cell in data.grid[0]] == [True] * 3


def test_crops_are_found_from_another_folder(docling: Any, write: Write, rtprune: Any, tmp_path: Path) -> None:
    picture = block("image", crop="images/page-0001-1.png", box=(0, 0, 100, 50))
    made = loaded(docling, rtprune, write(page([picture])), "-o", tmp_path / "d")
    place = tmp_path / "d" / "a" / str(made.pictures[0].image.uri)
    assert place.resolve() == (tmp_path / "out" / "a" / "images" / "page-0001-1.png").resolve()


def test_only_lists_are_lists() -> None:
    assert list_items("- a\n  b\n2) c") == [("-", "a b"), ("2)", "c")]
    assert list_items("1. Introduction") == list_items("see\n- a") == list_items("-5 degrees") == []


def test_without_docling_core_it_says_what_to_install(
    write: Write, rtprune: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "docling_core.types.doc", None)
    result = rtprune("convert", write(page([])), "--to", "docling")
    assert result.exit_code == 3 and "pip install 'docling-core>=" in result.stderr
