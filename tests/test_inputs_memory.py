"""What a PDF page may hold, and what is left of it: images that would fill the memory, pages that would pile up."""

from __future__ import annotations

import io
import struct
import subprocess
import sys
import zlib
from pathlib import Path, PurePosixPath

import pymupdf
import pytest
from PIL import Image

from rtprune_cli.inputs import mupdf as pdf_pages
from rtprune_cli.inputs import read_pages
from rtprune_cli.options import InputOptions
from rtprune_cli.records import Document, PageFault, PageImage

SIDE = 1000  # pixels of the images below, which are refused with a limit of fewer than SIDE * SIDE
PAINT = b"100 0 0 100 0 0 cm /I Do"


def write_pdf(path: Path, *objects: tuple[bytes, bytes | None]) -> Path:
    """Objects 1, 2, 3...: the inside of a dictionary, and a stream or None. The first is the catalogue."""
    blob, places = bytearray(b"%PDF-1.7\n"), []
    for number, (entries, stream) in enumerate(objects, 1):
        places.append(len(blob))
        body = b"" if stream is None else b"\nstream\n" + stream + b"\nendstream"
        length = b"" if stream is None else b"/Length %d" % len(stream)
        blob += b"%d 0 obj<<%s%s>>%s endobj\n" % (number, entries, length, body)
    table = b"".join(b"%010d 00000 n \n" % place for place in places)
    size = len(objects) + 1
    blob += b"xref\n0 %d\n0000000000 65535 f \n%strailer<</Size %d/Root 1 0 R>>\n" % (size, table, size)
    path.write_bytes(blob + b"startxref\n%d\n%%%%EOF" % (blob.rindex(b"xref\n0 ")))
    return path


def page_with(
    path: Path,
    image: tuple[bytes, bytes],
    *more: tuple[bytes, bytes | None],
    entries: bytes = b"",
    content: bytes = PAINT,
) -> Path:
    """One page of 100 x 100 points. The image is object 5 and called /I; ``more`` starts at 6."""
    tree = (b"/Type/Catalog/Pages 2 0 R", None), (b"/Type/Pages/Kids[3 0 R]/Count 1", None)
    page = b"/Type/Page/Parent 2 0 R/MediaBox[0 0 100 100]/Contents 4 0 R" + (
        entries or b"/Resources<</XObject<</I 5 0 R>>>>"
    )
    return write_pdf(path, *tree, (page, None), (b"", content), image, *more)


def image_object(coding: str, declared: int = SIDE, grey: bool = True) -> tuple[bytes, bytes]:
    """A white image of SIDE x SIDE pixels; its dictionary may say something else."""
    blob = io.BytesIO()
    if coding == "JBIG2Decode":
        page = struct.pack(">IBBBIIIIIBH", 0, 48, 0, 1, 19, SIDE, SIDE, 0, 0, 0, 0)
        rows = b"\xff" * (SIDE // 8)  # fax coding: one bit says that a row is like the one above
        region = struct.pack(">IBBBIIIIIBB", 1, 38, 0, 1, 18 + len(rows), SIDE, SIDE, 0, 0, 0, 1) + rows
        blob.write(page + region)
    elif coding == "JPXDecode":
        Image.new("L", (SIDE, SIDE), 255).save(blob, "JPEG2000", no_jp2=True)
    elif coding == "DCTDecode":
        Image.new("L", (SIDE, SIDE), 255).save(blob, "JPEG", progressive=True)
    bits = 1 if coding == "JBIG2Decode" else 8
    size = b"/Width %d/Height %d/BitsPerComponent %d" % (declared, declared, bits)
    entries = b"/Type/XObject/Subtype/Image/ColorSpace/DeviceGray/Filter/" + coding.encode() + size
    return entries, blob.getvalue()


def read_page(path: Path, max_pixels: int) -> PageImage | PageFault:
    document = Document(path, path.name, PurePosixPath(path.stem))
    (page,) = read_pages(document, InputOptions(dpi=20, max_pixels=max_pixels))
    return page


def refused(path: Path, max_pixels: int) -> bool:
    page = read_page(path, max_pixels)
    if isinstance(page, PageImage):
        return False
    assert f"page 1 of {path.name} has an image of {SIDE} x {SIDE} pixels" in page.error.message
    assert "--max-pixels" in page.error.hint
    return True


@pytest.mark.parametrize("declared", [SIDE, 10])
@pytest.mark.parametrize(("coding", "pixels"), [("JPXDecode", 1), ("DCTDecode", 1), ("JBIG2Decode", 8)])
def test_image_that_is_decoded_whole_is_measured_by_its_own_bytes(
    tmp_path: Path, coding: str, pixels: int, declared: int
) -> None:
    path = page_with(tmp_path / "a.pdf", image_object(coding, declared))
    assert refused(path, SIDE * SIDE // pixels - 1)
    assert not refused(path, SIDE * SIDE // pixels)


def test_image_is_refused_before_it_is_decoded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = page_with(tmp_path / "a.pdf", image_object("DCTDecode"))
    monkeypatch.setattr(pymupdf.DisplayList, "get_pixmap", lambda *_, **__: pytest.fail("decoded"))
    assert refused(path, SIDE)


FORM = b"/Type/XObject/Subtype/Form/BBox[0 0 100 100]/Resources<</XObject<</I 5 0 R>>>>"
PATTERN = (
    b"/Type/Pattern/PatternType 1/PaintType 1/TilingType 1/BBox[0 0 100 100]/XStep 100/YStep 100"
    b"/Resources<</XObject<</I 5 0 R>>>>"
)
DOT = b"/Type/XObject/Subtype/Image/ColorSpace/DeviceGray/Width 1/Height 1/BitsPerComponent 8"
SIX_AS_I = b"/Resources<</XObject<</I 6 0 R>>>>"


@pytest.mark.parametrize(
    ("entries", "content", "more"),
    [
        pytest.param(SIX_AS_I, b"/I Do", [(FORM, PAINT)], id="form"),
        pytest.param(
            b"/Resources<</Pattern<</P 6 0 R>>>>",
            b"/Pattern cs /P scn 0 0 99 99 re f",
            [(PATTERN, PAINT)],
            id="pattern",
        ),
        pytest.param(
            b"/Resources<</ExtGState<</G 7 0 R>>>>",
            b"/G gs 0 0 99 99 re f",
            [(FORM + b"/Group<</S/Transparency/CS/DeviceGray>>", PAINT), (b"/SMask<</S/Luminosity/G 6 0 R>>", None)],
            id="mask of the page",
        ),
        pytest.param(SIX_AS_I, PAINT, [(DOT + b"/SMask 5 0 R", b"\0")], id="mask of an image"),
        pytest.param(
            b"/Annots[7 0 R]",
            b"",
            [(FORM, PAINT), (b"/Type/Annot/Subtype/Stamp/Rect[0 0 99 99]/AP<</N 6 0 R>>", None)],
            id="annotation",
        ),
    ],
)
def test_image_is_found_wherever_it_hides(
    tmp_path: Path, entries: bytes, content: bytes, more: list[tuple[bytes, bytes | None]]
) -> None:
    image = image_object("DCTDecode")
    assert refused(page_with(tmp_path / "a.pdf", image, *more, entries=entries, content=content), SIDE)


def test_image_that_is_read_in_rows_may_have_any_size(tmp_path: Path) -> None:
    jpeg = io.BytesIO()
    Image.new("L", (SIDE, SIDE), 0).save(jpeg, "JPEG")
    kinds = {b"FlateDecode": zlib.compress(bytes(SIDE * SIDE)), b"DCTDecode": jpeg.getvalue()}
    for coding, blob in kinds.items():
        entries = b"/Type/XObject/Subtype/Image/ColorSpace/DeviceGray/BitsPerComponent 8/Width %d/Height %d/Filter/%s"
        page = read_page(page_with(tmp_path / "a.pdf", (entries % (SIDE, SIDE, coding), blob)), SIDE)
        assert isinstance(page, PageImage)
        assert page.image.getpixel((5, 5)) == (0, 0, 0)


@pytest.mark.parametrize("coding", ["DCTDecode", "JPXDecode", "JBIG2Decode"])
def test_image_that_is_cut_off_does_not_stop_the_run(tmp_path: Path, coding: str) -> None:
    entries, blob = image_object(coding)
    for end in range(0, 60, 3):
        page = read_page(page_with(tmp_path / "a.pdf", (entries, blob[:end])), SIDE * SIDE)
        assert page.page == 1


# --- Many pages


def many_pages(path: Path, count: int) -> Path:
    """Every page has words and an image of its own."""
    font = b"/Font<</F 3 0 R>>"
    objects: list[tuple[bytes, bytes | None]] = [
        (b"/Type/Catalog/Pages 2 0 R", None),
        (b"", None),
        (b"/Type/Font/Subtype/Type1/BaseFont/Helvetica", None),
    ]
    kids = []
    for number in range(count):
        kids.append(b"%d 0 R" % (first := len(objects) + 1))
        content, image = first + 1, first + 2
        page = b"/Type/Page/Parent 2 0 R/MediaBox[0 0 100 100]/Contents %d 0 R/Resources<<%s/XObject<</I %d 0 R>>>>"
        pixels = number.to_bytes(4, "big") * (32 * 32 * 3 // 4)
        entries = b"/Type/XObject/Subtype/Image/ColorSpace/DeviceRGB/Width 32/Height 32/BitsPerComponent 8"
        words = b"BT /F 8 Tf 5 80 Td (page %d) Tj ET q 40 0 0 40 5 5 cm /I Do Q" % number
        objects += [(page % (content, font, image), None), (b"", words), (entries, pixels)]
    objects[1] = (b"/Type/Pages/Kids[%s]/Count %d" % (b" ".join(kids), count), None)
    return write_pdf(path, *objects)


MEASURE = """
import resource, sys
from pathlib import Path, PurePosixPath
from rtprune_cli.inputs import read_pages
from rtprune_cli.options import InputOptions
from rtprune_cli.records import Document

document = Document(Path(sys.argv[1]), "a.pdf", PurePosixPath("a"))
for page in read_pages(document, InputOptions(dpi=20)):
    if page.page in (300, 3000):
        print(int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize())
"""


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="the system does not tell the memory in use")
def test_memory_stays_flat_over_a_long_pdf(tmp_path: Path) -> None:
    path = many_pages(tmp_path / "a.pdf", 3000)
    early, late = map(int, subprocess.check_output([sys.executable, "-c", MEASURE, path], text=True).split())
    assert late < early * 1.1


def test_what_is_forgotten_between_pages_is_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = many_pages(tmp_path / "a.pdf", 6)
    with pymupdf.open(path) as pdf:
        pdf[5].add_freetext_annot(pymupdf.Rect(10, 10, 90, 40), "note")
        blob = pdf.tobytes(encryption=pymupdf.PDF_ENCRYPT_AES_256, user_pw="u", owner_pw="o")
    document, options = Document(None, "a.pdf", PurePosixPath("a"), blob), InputOptions(dpi=40, password="u")

    def pixels(kept: int) -> list[bytes]:
        monkeypatch.setattr(pdf_pages, "PAGES_KEPT", kept)
        return [page.image.tobytes() for page in read_pages(document, options) if isinstance(page, PageImage)]

    assert pixels(1) == pixels(100)
    assert len(set(pixels(1))) == 6
