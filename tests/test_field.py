"""Inputs that failed in the field, and siblings of each kind made here: what is read of them, and what is said."""

from __future__ import annotations

import io
import random
import subprocess
import sys
import zlib
from collections.abc import Callable, Iterable
from pathlib import Path, PurePosixPath
from typing import Any

import corpus
import faults
import numpy as np
import pymupdf
import pytest
from PIL import Image, ImageCms, ImageDraw, PngImagePlugin, TiffImagePlugin

from rtprune_cli.errors import EncryptedError, PageTimeoutError
from rtprune_cli.inputs import images, read_pages, select_pages
from rtprune_cli.options import InputOptions
from rtprune_cli.prepare import guard, with_attachments
from rtprune_cli.prepare import read_pages as read_guarded
from rtprune_cli.records import Document, PageFault, PageImage

FIELD = Path(__file__).parents[2] / "shared" / "field"
TEXT = b"BT /F1 20 Tf 40 350 Td (Hello) Tj ET " + b"".join(
    b"BT /F1 12 Tf 40 %d Td (line %d of the text) Tj ET " % (330 - 12 * line, line) for line in range(25)
)
FONT = b"/Font<</F1<</Type/Font/Subtype/Type1/BaseFont/Helvetica>>>>"


def document(path: Path) -> Document:
    return Document(path, path.name, PurePosixPath(path.stem))


def read(path: Path, **options: Any) -> list[PageImage | PageFault]:
    return list(read_pages(document(path), InputOptions(**{"dpi": 72, **options})))


def only(path: Path, **options: Any) -> PageImage:
    (page,) = read(path, **options)
    assert isinstance(page, PageImage), page
    return page


def codes(path: Path, **options: Any) -> list[str]:
    page = only(path, **options)
    return [each.code for each in page.about + page.warnings]


def dark(page: PageImage) -> int:
    return sum(page.image.convert("L").histogram()[:128])


def shared(name: str) -> Path:
    if not (FIELD / name).exists():
        pytest.skip("shared/field/ is not there")
    return FIELD / name


def stream(data: bytes, keys: bytes = b"") -> bytes:
    return b"<</Length %d%s>>stream\n%s\nendstream" % (len(data), keys, data)


def page_pdf(
    path: Path, content: bytes, *, keys: bytes = b"", resources: bytes = b"", catalog: bytes = b"", page: bytes = b"",
    more: Iterable[bytes] = (), trailer: bytes = b"",
) -> Path:  # fmt: skip
    """One page of 400 x 400 points with this content; ``more`` objects are numbered from 5."""
    objects = [
        b"<</Type/Catalog/Pages 2 0 R%s>>" % catalog,
        b"<</Type/Pages/Kids[3 0 R]/Count 1>>",
        b"<</Type/Page/Parent 2 0 R/MediaBox[0 0 400 400]%s/Resources<<%s%s>>/Contents 4 0 R>>"
        % (page, FONT, resources),
        stream(content, keys),
        *more,
    ]
    return faults.raw_pdf(path, objects, trailer)


def scan(mode: str = "L", size: tuple[int, int] = (600, 300)) -> Image.Image:
    image = Image.new("L", size, 255)
    for line in range(size[1] // 25):
        ImageDraw.Draw(image).text((10, 10 + 25 * line), f"line {line} of the text", fill=0, font_size=18)
    return image.convert(mode)


def saved(image: Image.Image, kind: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def scan_pdf(path: Path, data: bytes, coding: bytes, content: bytes = b"", keys: bytes = b"") -> Path:
    """A page with an image of 600 x 300 in grey, below the content."""
    image = stream(
        data,
        b"/Type/XObject/Subtype/Image/Width 600/Height 300/ColorSpace/DeviceGray/BitsPerComponent 8/Filter%s%s"
        % (coding, keys),
    )
    shown = content + b" q 300 0 0 150 50 20 cm /I Do Q"
    return page_pdf(path, shown, resources=b"/XObject<</I 5 0 R>>", more=[image])


JPEG = saved(scan(), "JPEG")
FLATE = zlib.compress(TEXT)

# --- Pages that lack something -----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["scan-jpeg-cut.pdf", "scan_jpeg_garbage_with_header.pdf", "missing-shading-100.pdf"])
def test_damaged_pages_of_the_field_say_so(name: str) -> None:
    assert codes(shared(name)) == ["damaged"]


@pytest.mark.parametrize(
    ("data", "coding"),
    [
        (JPEG[: len(JPEG) // 2], b"/DCTDecode"),
        (b"garbage" * 50, b"/DCTDecode"),
        (b"garbage" * 50, b"/JBIG2Decode"),
        (b"garbage" * 50, b"/JPXDecode"),
        (zlib.compress(scan().tobytes())[:500], b"/FlateDecode"),
        (scan().tobytes()[:50_000], b"[]"),
        (scan().tobytes(), b"/NoSuchDecode"),
    ],
)
def test_an_image_that_is_not_whole_makes_a_damaged_page(tmp_path: Path, data: bytes, coding: bytes) -> None:
    assert codes(scan_pdf(tmp_path / "a.pdf", data, coding, TEXT)) == ["damaged"]


def test_a_content_stream_that_is_cut_makes_a_damaged_page(tmp_path: Path) -> None:
    path = page_pdf(tmp_path / "a.pdf", FLATE[: len(FLATE) // 2], keys=b"/Filter/FlateDecode")
    assert codes(path) == ["damaged"]


@pytest.mark.parametrize("coding", ["whole", "no checksum", "wrong checksum"])
def test_a_stream_that_lacks_its_checksum_only_is_whole(tmp_path: Path, coding: str) -> None:
    data = {"whole": FLATE, "no checksum": FLATE[:-4], "wrong checksum": FLATE[:-4] + b"abcd"}[coding]
    assert codes(page_pdf(tmp_path / "a.pdf", data, keys=b"/Filter/FlateDecode")) == []


@pytest.mark.parametrize(
    "content", [TEXT + b" /Nope Do /X gs", TEXT + b" foo bar 1 2", b"q q " + TEXT, TEXT.replace(b" ET", b" EX", 1)]
)
def test_what_no_reader_could_draw_is_no_damage(tmp_path: Path, content: bytes) -> None:
    assert codes(page_pdf(tmp_path / "a.pdf", content)) == []


@pytest.mark.parametrize("name", ["many-warnings.pdf", "missing-shading-5.pdf", "missing-shading-30.pdf"])
def test_what_is_read_well_is_no_damage(name: str) -> None:
    assert codes(shared(f"ok/{name}")) == []


def test_what_mupdf_gives_up_on_is_drawn_by_pdfium(tmp_path: Path) -> None:
    path = page_pdf(tmp_path / "a.pdf", b"BT /F1 9 Tf 9 9 Td (x) Tj ET " + b"/Nope sh " * 150 + TEXT)
    assert (only(path).reader, only(path, pdf_reader="pymupdf").reader) == ("pdfium", "mupdf")
    assert dark(only(path)) > 1000 > dark(only(path, pdf_reader="pymupdf"))


def test_a_blank_page_whose_form_has_no_appearance_is_blank_and_not_damaged(tmp_path: Path) -> None:
    field = b"<</Type/Annot/Subtype/Widget/FT/Tx/T(a)/V(b)/Rect[0 0 0 0]>>"
    page = only(page_pdf(tmp_path / "a.pdf", b"", page=b"/Annots[5 0 R]", more=[field]))
    assert page.text == "" and not page.warnings


# --- Images --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("progressive", [False, True])
def test_a_jpeg_without_its_end_mark_is_read_with_a_warning(tmp_path: Path, progressive: bool) -> None:
    data = saved(scan(), "JPEG", progressive=progressive)
    (tmp_path / "a.jpg").write_bytes(data[:-2])
    (tmp_path / "whole.jpg").write_bytes(data)
    assert codes(tmp_path / "a.jpg") == ["truncated"]
    assert dark(only(tmp_path / "a.jpg")) == dark(only(tmp_path / "whole.jpg"))
    assert codes(scan_pdf(tmp_path / "a.pdf", data[:-2], b"/DCTDecode")) == ["truncated"]


def test_a_jpeg_that_lacks_rows_fails(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(JPEG[: len(JPEG) * 9 // 10])
    (page,) = read(tmp_path / "a.jpg")
    assert isinstance(page, PageFault)


def test_the_jpeg_of_the_field_without_its_end_is_read() -> None:
    assert codes(shared("jpeg-no-eoi.jpg")) == ["truncated"]


@pytest.mark.parametrize(
    ("dpi", "size"), [((204, 98), (600, 624)), ((204, 196), (600, 300)), ((100, 300), (1800, 300))]
)
def test_fax_pixels_are_made_square(tmp_path: Path, dpi: tuple[int, int], size: tuple[int, int]) -> None:
    scan("1").save(tmp_path / "a.tif", dpi=dpi, compression="group4")
    assert only(tmp_path / "a.tif").size == pytest.approx(size, abs=1)


def test_pyramids_and_masks_are_no_pages(tmp_path: Path) -> None:
    def tagged(kind: int) -> TiffImagePlugin.ImageFileDirectory_v2:
        tags = TiffImagePlugin.ImageFileDirectory_v2()
        tags[254] = kind
        return tags

    frames = [(scan(), 0), (scan().resize((300, 150)), 1), (scan("1"), 4), (scan(), 2)]
    with TiffImagePlugin.AppendingTiffWriter(tmp_path / "a.tif", new=True) as file:  # type: ignore[no-untyped-call]
        for frame, kind in frames:
            frame.save(file, "TIFF", tiffinfo=tagged(kind))
            file.newFrame()
    assert [page.page for page in read(tmp_path / "a.tif")] == [1, 2]


def test_a_broken_directory_brings_no_mask_back() -> None:
    """Frames: a page, a smaller copy, one that cannot be reached, a page."""
    kinds = {0: 0, 1: 1, 3: 0}

    class Frames:
        n_frames, tag_v2 = 4, {254: 0}

        def seek(self, frame: int) -> None:
            self.tag_v2 = {254: kinds[frame]}

    assert images._pages_of(Frames()) == [0, 2, 3]  # type: ignore[arg-type]


def test_metadata_of_some_megabytes_is_no_damage(tmp_path: Path) -> None:
    info = PngImagePlugin.PngInfo()
    info.add_itxt("XML:com.adobe.xmp", "x" * 3_000_000, zip=True)
    scan().save(tmp_path / "a.png", pnginfo=info)
    assert dark(only(tmp_path / "a.png")) > 1000
    assert only(shared("big-metadata.png")).size == (700, 700)


def test_a_png_whose_comment_names_pdf_is_a_png(tmp_path: Path) -> None:
    info = PngImagePlugin.PngInfo()
    info.add_text("Comment", "made from %PDF-1.4")
    scan().save(tmp_path / "a.png", pnginfo=info)
    assert only(tmp_path / "a.png").reader == "pillow"


@pytest.mark.parametrize("white", [4095, 65535])
def test_colours_of_12_bits_in_16_are_as_bright_as_they_are(tmp_path: Path, white: int) -> None:
    grey = (np.asarray(scan(), np.uint32) * white // 255).astype("<u2")
    pixels = np.repeat(grey[..., None], 3, axis=2)
    tags = {
        256: (4, 1, 600), 257: (4, 1, 300), 258: (3, 3, None), 259: (3, 1, 1), 262: (3, 1, 2), 273: (4, 1, None),
        277: (3, 1, 3), 278: (4, 1, 300), 279: (4, 1, pixels.nbytes),
    }  # fmt: skip
    place = 8 + 2 + 12 * len(tags) + 4
    body = b"".join(
        number.to_bytes(2, "little") + kind.to_bytes(2, "little") + count.to_bytes(4, "little")
        + (value if value is not None else place if number == 258 else place + 6).to_bytes(4, "little")
        for number, (kind, count, value) in tags.items()
    )  # fmt: skip
    head = b"II*\0" + (8).to_bytes(4, "little") + len(tags).to_bytes(2, "little") + body + bytes(4)
    (tmp_path / "a.tif").write_bytes(head + (16).to_bytes(2, "little") * 3 + pixels.tobytes())
    assert only(tmp_path / "a.tif").image.convert("L").getextrema() == (0, 255)


def test_unsigned_grey_of_32_bits_is_as_bright_as_it_is(tmp_path: Path) -> None:
    page = only(shared("gray32u.tif"))
    assert dark(page) == dark(only(shared("ok/gray16be.tif")))


def test_crops_carry_no_profile_of_other_colours(tmp_path: Path) -> None:
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB")).tobytes()  # type: ignore[no-untyped-call]
    scan("CMYK").save(tmp_path / "a.jpg", icc_profile=profile)
    scan("RGB").save(tmp_path / "b.jpg", icc_profile=profile)
    assert "icc_profile" not in only(tmp_path / "a.jpg").image.info
    assert "icc_profile" in only(tmp_path / "b.jpg").image.info


@pytest.mark.parametrize("suffix", [".pbm", ".pgm", ".ppm", ".pnm", ".avif"])
def test_more_kinds_of_images_are_read(tmp_path: Path, suffix: str) -> None:
    scan({".pbm": "1", ".pgm": "L"}.get(suffix, "RGB")).save(tmp_path / f"a{suffix}", {".pnm": "PPM"}.get(suffix))
    assert dark(only(tmp_path / f"a{suffix}")) > 1000


@pytest.mark.parametrize(("turn", "size"), [("auto", (600, 300)), ("90", (300, 600)), ("180", (600, 300))])
def test_pages_are_turned_as_asked(tmp_path: Path, turn: str, size: tuple[int, int]) -> None:
    scan().save(tmp_path / "a.png")
    assert only(tmp_path / "a.png", rotate=turn).size == size


def test_a_page_that_looks_sideways_says_so(tmp_path: Path) -> None:
    page, dice = Image.new("L", (1000, 1400), 255), random.Random(0)
    for line in range(50):
        words = " ".join("".join(dice.choices("aceilmnorstu", k=dice.randint(2, 9))) for _ in range(12))
        ImageDraw.Draw(page).text((60, 40 + 26 * line), words, fill=0, font_size=18)
    page.save(tmp_path / "a.png")
    page.rotate(90, expand=True).save(tmp_path / "b.png")
    assert (codes(tmp_path / "a.png"), codes(tmp_path / "b.png")) == ([], ["sideways"])


def test_a_strip_says_that_it_cannot_be_read(tmp_path: Path) -> None:
    scan(size=(9000, 60)).save(tmp_path / "a.png")
    assert codes(tmp_path / "a.png") == ["stretched"]


# --- PDFs ----------------------------------------------------------------------------------------------------------


def test_a_poster_is_drawn_coarser(tmp_path: Path) -> None:
    path = page_pdf(tmp_path / "a.pdf", TEXT)
    path.write_bytes(path.read_bytes().replace(b"[0 0 400 400]", b"[0 0 14400 9000]"))
    page = only(path, dpi=300)
    assert max(page.size) <= 5760 and page.dpi is not None and page.dpi < 300
    assert only(shared("poster-200in.pdf")).reader == "mupdf"


def test_a_crop_box_outside_the_page_is_no_crop(tmp_path: Path) -> None:
    path = page_pdf(tmp_path / "a.pdf", TEXT, page=b"/CropBox[900 900 1200 1200]")
    assert only(path).size == (400, 400)


def test_a_structure_tree_that_is_a_cycle_is_not_followed(tmp_path: Path) -> None:
    tree = [b"<</Type/StructTreeRoot/K 6 0 R>>", b"<</Type/StructElem/S/P/P 6 0 R/K 6 0 R>>"]
    path = page_pdf(tmp_path / "a.pdf", TEXT, catalog=b"/StructTreeRoot 5 0 R/MarkInfo<</Marked true>>", more=tree)
    assert dark(next(iter(read_guarded(document(path), InputOptions(page_timeout=20))))) > 1000  # type: ignore[arg-type]


def test_the_structure_tree_of_the_field_is_not_followed() -> None:
    (page,) = read_guarded(document(shared("hang_structure_tree_cycle.pdf")), InputOptions(page_timeout=20))
    assert isinstance(page, PageImage)


def test_a_page_without_an_end_is_given_up(tmp_path: Path) -> None:
    path = faults.make_endless(tmp_path / "a.pdf")
    (page,) = read_guarded(document(path), InputOptions(page_timeout=3))
    assert isinstance(page, PageFault) and isinstance(page.error, PageTimeoutError)


@pytest.mark.slow
def test_a_page_without_bounds_is_given_up_for_its_memory(tmp_path: Path) -> None:
    path = faults.make_endless(tmp_path / "a.pdf")
    (page,) = read_guarded(document(path), InputOptions(page_timeout=60, page_memory=0.2))
    assert isinstance(page, PageFault) and "memory" in str(page.error)


@pytest.mark.skipif(sys.platform != "linux", reason="the limit is Linux's")
def test_a_page_does_not_answer_for_what_earlier_ones_left_in_memory() -> None:
    code = (
        "from rtprune_cli.prepare.worker import limit_memory; held = bytearray(400 << 20); limit_memory(0.2)\n"
        "page = bytearray(50 << 20)\n"
        "try: page = bytearray(400 << 20)\n"
        "except MemoryError: print('limited')"
    )
    assert subprocess.run([sys.executable, "-c", code], stdout=subprocess.PIPE, check=True).stdout == b"limited\n"


def test_a_form_that_cannot_be_drawn_is_told(tmp_path: Path) -> None:
    xfa = b"/NeedsRendering true/AcroForm<</XFA 5 0 R/Fields[]>>"
    path = page_pdf(
        tmp_path / "a.pdf", b"BT /F1 20 Tf 30 300 Td (Please wait) Tj ET", catalog=xfa, more=[stream(b"<x/>")]
    )
    assert codes(path) == ["placeholder"]
    assert codes(shared("xfa-dynamic.pdf")) == ["placeholder"]


@pytest.fixture
def portfolio(tmp_path: Path) -> Path:
    inner = page_pdf(tmp_path / "inner.pdf", TEXT).read_bytes()
    with pymupdf.open() as made:
        made.new_page().insert_text((40, 40), "see inside")
        made.embfile_add("inner", inner, filename="inner.pdf")
        made.embfile_add("scan", saved(scan(), "PNG"), filename="scan.png")
        made.embfile_add("notes", b"text", filename="notes.txt")
        made.xref_set_key(made.pdf_catalog(), "Collection", "<</Type/Collection>>")
        made.save(tmp_path / "a.pdf")
    return tmp_path / "a.pdf"


def test_a_portfolio_is_told(portfolio: Path) -> None:
    page = only(portfolio)
    assert [each.code for each in page.about] == ["attachments"]
    assert "3 files" in page.about[0].message


def test_attachments_are_documents_of_their_own(portfolio: Path) -> None:
    options = InputOptions(attachments=True, dpi=72)
    found = with_attachments([document(portfolio)], options)
    assert [str(each.folder) for each in found] == ["a", "a-attachments/inner", "a-attachments/scan"]
    pages = [page for each in found[1:] for page in read_guarded(each, options)]
    assert [page.document for page in pages] == found[1:]
    assert all(dark(page) > 1000 for page in pages)  # type: ignore[arg-type]


def test_a_pdf_whose_header_comes_late_is_read(tmp_path: Path) -> None:
    path = page_pdf(tmp_path / "a.pdf", TEXT)
    path.write_bytes(b"x" * 3000 + b"\n" + path.read_bytes())
    assert dark(only(path)) > 1000


def test_a_broken_tree_of_pages_is_mended(tmp_path: Path) -> None:
    path = page_pdf(tmp_path / "a.pdf", TEXT)
    path.write_bytes(path.read_bytes().replace(b"/Pages 2 0 R", b"/Pages 9 0 R"))
    assert select_pages(document(path), InputOptions()) == [1]
    assert dark(only(path)) > 1000


def test_a_page_that_mupdf_refuses_is_drawn_by_pdfium(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any) -> None:
        raise RuntimeError("code=7: no")

    monkeypatch.setattr("rtprune_cli.inputs.mupdf._pdf_page", refuse)
    path = page_pdf(tmp_path / "a.pdf", TEXT)
    assert only(path).reader == "pdfium"
    (page,) = read(path, pdf_reader="pymupdf")
    assert isinstance(page, PageFault)


@pytest.mark.parametrize("reader", ["pymupdf", "pdfium"])
def test_both_readers_draw_the_same(tmp_path: Path, reader: str) -> None:
    path = page_pdf(tmp_path / "a.pdf", TEXT, page=b"/Rotate 90")
    assert only(path, pdf_reader=reader).size == (400, 400)
    assert dark(only(path, pdf_reader=reader)) == pytest.approx(dark(only(path)), rel=0.1)


def test_pdfium_does_where_pymupdf_is_not_installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = page_pdf(tmp_path / "a.pdf", TEXT)
    monkeypatch.setitem(sys.modules, "pymupdf", None)
    assert only(path).reader == "pdfium"


@pytest.mark.parametrize("reader", ["auto", "pymupdf", "pdfium"])
def test_every_reader_asks_for_the_password(tmp_path: Path, reader: str) -> None:
    with pymupdf.open(page_pdf(tmp_path / "a.pdf", TEXT)) as made:
        made.save(tmp_path / "b.pdf", encryption=pymupdf.PDF_ENCRYPT_AES_256, user_pw="u", owner_pw="o")
    with pytest.raises(EncryptedError, match="is encrypted"):
        read(tmp_path / "b.pdf", pdf_reader=reader)
    assert dark(only(tmp_path / "b.pdf", pdf_reader=reader, password="u")) > 1000


def test_a_pdf_of_which_only_attachments_are_encrypted_needs_no_password(tmp_path: Path) -> None:
    encrypt = (
        b"/Encrypt<</Filter/Standard/V 4/R 4/Length 128/P -4/O<%s>/U<%s>/CF<</StdCF<</CFM/AESV2/Length 16"
        b"/AuthEvent/EFOpen>>>>/StmF/Identity/StrF/Identity/EFF/StdCF>>/ID[<00><00>]" % (b"11" * 32, b"22" * 32)
    )
    assert dark(only(page_pdf(tmp_path / "a.pdf", TEXT, trailer=encrypt))) > 1000


# --- The text layer --------------------------------------------------------------------------------------------------


def test_a_sound_text_layer_is_taken_where_it_is_preferred(tmp_path: Path) -> None:
    path = page_pdf(tmp_path / "a.pdf", TEXT)
    assert only(path).text is None
    text = only(path, text_layer="prefer").text
    assert text is not None and text.startswith("Hello") and "line 24 of the text" in text


@pytest.mark.parametrize(
    "make",
    [
        lambda path: scan_pdf(path, JPEG, b"/DCTDecode", TEXT),  # a picture is not in the text
        lambda path: scan_pdf(path, JPEG, b"/DCTDecode", TEXT.replace(b"BT ", b"BT 3 Tr ")),  # another program's OCR
        lambda path: page_pdf(path, b"BT /F1 20 Tf 40 350 Td (short) Tj ET"),
    ],
)
def test_a_text_layer_that_is_not_all_is_the_models(tmp_path: Path, make: Callable[[Path], Path]) -> None:
    assert only(make(tmp_path / "a.pdf"), text_layer="prefer").text is None


# --- Runs ------------------------------------------------------------------------------------------------------------


TINY = ("--model", "tiny", "--max-new-tokens", "4")


def test_a_page_without_ink_is_not_read(tmp_path: Path, rtprune: Any) -> None:
    Image.new("L", (300, 300), 250).save(tmp_path / "a.png")
    result = rtprune("ocr", tmp_path / "a.png", "-o", "-", *TINY)
    assert result.stdout == "<!-- page 1 -->\n"
    asked = rtprune("ocr", tmp_path / "a.png", "-o", tmp_path / "out", "--no-skip-blank", *TINY)
    assert asked.exit_code == 0 and '"finish_reason":"blank"' not in (tmp_path / "out" / "report.jsonl").read_text()


def test_warnings_stand_in_report_markdown_log_and_at_the_end(tmp_path: Path, rtprune: Any) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.jpg").write_bytes(JPEG[:-2])
    (tmp_path / "in" / "b.jpg").write_bytes(JPEG)
    result = rtprune("ocr", tmp_path / "in", "-o", tmp_path / "out", *TINY)
    assert result.exit_code == 0
    assert '"warnings":[{"code":"truncated"' in (tmp_path / "out" / "report.jsonl").read_text()
    text = (tmp_path / "out" / "a" / "a.md").read_text()
    assert text.startswith("<!-- page 1 -->\n<!-- page 1 warning: truncated: the image ends before its end mark -->\n")
    cut = "the text is cut at the limit of 4 tokens (max-new-tokens)"
    assert text.rstrip().endswith(f"<!-- page 1 warning: token_limit: {cut} -->")
    assert "rtprune: warning: page 1 of " in result.stderr
    assert "2 with warnings:" in result.stderr and "a.jpg, page 1: truncated, token_limit" in result.stderr
    again = rtprune("ocr", tmp_path / "in", "-o", tmp_path / "out", "--force", "--fail-on-warning", *TINY)
    assert again.exit_code == 4


def test_a_mode_that_was_not_learnt_is_told_once(tmp_path: Path, rtprune: Any, make_pdf: Callable[..., Path]) -> None:
    result = rtprune("ocr", make_pdf("one", "two"), "-o", tmp_path / "out", "--mode", "small", *TINY)
    assert result.stderr.count("was not trained for mode small") == 1
    assert (tmp_path / "out" / "report.jsonl").read_text().count('"untrained_mode"') == 2


def test_a_born_digital_page_is_written_without_the_model(tmp_path: Path, rtprune: Any) -> None:
    path = page_pdf(tmp_path / "a.pdf", TEXT)
    assert rtprune("ocr", path, "-o", tmp_path / "out", "--text-layer", "prefer", *TINY).exit_code == 0
    assert '"finish_reason":"text_layer"' in (tmp_path / "out" / "report.jsonl").read_text()
    assert "line 24 of the text" in (tmp_path / "out" / "a" / "a.md").read_text()


def test_attachments_are_written_beside_their_document(portfolio: Path, tmp_path: Path, rtprune: Any) -> None:
    command = "ocr", portfolio, "-o", tmp_path / "out", "--attachments", *TINY
    assert rtprune(*command).exit_code == 0
    names = sorted(str(path.relative_to(tmp_path / "out")) for path in (tmp_path / "out").rglob("*.md"))
    assert names == ["a-attachments/inner/inner.md", "a-attachments/scan/scan.md", "a/a.md"]
    assert "3 documents done before" in rtprune(*command).stderr


def test_a_corpus_is_counted(portfolio: Path) -> None:
    counts = corpus.Counts()
    Image.new("L", (50, 50)).save(portfolio.with_name("blank.png"))
    portfolio.with_name("empty.pdf").touch()
    for path in corpus.files_of(portfolio.parent):
        corpus.read(path, 20, counts, compare=False)
    assert (counts.files, counts.pages, counts.blank, dict(counts.failed)) == (4, 3, 1, {"empty": 1})
    assert counts.warned["attachments"] == 1
    assert "| files | 4 |" in corpus.section(counts, "a folder", 1.0)


def test_the_guard_is_kept_between_runs(tmp_path: Path) -> None:
    path = page_pdf(tmp_path / "a.pdf", TEXT)
    first = guard()
    list(read_guarded(document(path), InputOptions()))
    assert guard() is first
