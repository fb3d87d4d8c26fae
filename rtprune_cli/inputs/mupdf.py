"""PDF pages through PyMuPDF."""

from __future__ import annotations

import functools
import itertools
import logging
import re
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from rtprune_cli.errors import EncryptedError, InputError
from rtprune_cli.failures import page_name
from rtprune_cli.inputs.content import where
from rtprune_cli.inputs.embedded import guard_images
from rtprune_cli.inputs.formats import Raster, Source, warning
from rtprune_cli.inputs.sizes import pixels_of
from rtprune_cli.inputs.textlayer import sound_text
from rtprune_cli.options import InputOptions
from rtprune_cli.records import Document, WarningRecord

if TYPE_CHECKING:
    from PIL.Image import Image

log = logging.getLogger("rtprune")

PAGES_KEPT = 16  # fonts that come again on the next page are loaded again after so many

# What MuPDF says when it leaves something out of a page. It says far more: of missing fonts, profiles and keywords,
# for which it has a substitute, or of resources that no other program could draw either.
LOSSES = re.compile(
    r"ignoring the rest|ignoring rest of page|premature end|treating as end of file|padding truncated image"
    r"|cannot render glyph|Ignoring error during interpretation|(?:jbig2dec|openjpeg|jpeg|libjpeg) error"
    r"|unknown filter name|unknown colorspace|Failed to read JPX|cannot draw|unknown compression|malloc|out of memory"
    r"|non-stream object in content|cannot load content"
)
GAVE_UP = "ignoring rest of page"
UNENDED_JPEG = "premature end of file in jpeg"
UNFINISHED_FLATE = "premature end of data in flate filter"
# With a page that is blank paper, any complaint but those about what forms and annotations look like means that its
# objects are missing.
COMPLAINTS = re.compile("error|cannot|non-page|not a stream")
HARMLESS = re.compile("appearance stream|annot|widget", re.IGNORECASE)


@functools.cache
def quiet_pymupdf() -> Any:
    """PyMuPDF, told not to print: standard output belongs to the results."""
    import pymupdf

    pymupdf.TOOLS.mupdf_display_errors(False)
    pymupdf.TOOLS.mupdf_display_warnings(False)
    pymupdf.set_messages(pylogging=True, pylogging_name="rtprune.mupdf", pylogging_level=logging.DEBUG)
    return pymupdf


@contextmanager
def opened_pymupdf(document: Document, password: str | None) -> Iterator[Any]:
    """Open a PDF as a document of PyMuPDF's.

    Raises:
        InputError: it cannot be opened.
        EncryptedError: a password is missing or wrong.
    """
    pymupdf = quiet_pymupdf()
    try:
        pdf = pymupdf.open(**_place(document), filetype="pdf")
    except Exception as error:
        log.debug("MuPDF cannot open %s", document.name, exc_info=True)
        if "encryption handler" in str(error.__cause__):
            message = f"{document.name} is encrypted in a way that cannot be read"
            raise EncryptedError(message, "Save an unprotected copy first") from None
        raise damaged(document) from None
    with pdf:
        _decrypt(pdf, document, password)
        yield pdf


@contextmanager
def opened_by_mupdf(document: Document, options: InputOptions) -> Iterator[Source]:
    """Open a PDF.

    Raises:
        InputError: it cannot be opened, or no page can be found.
        EncryptedError: a password is missing or wrong.
    """
    with opened_pymupdf(document, options.password) as pdf:
        # It says what the lines of the page are, for the blind; drawing goes without it, and MuPDF goes round for ever
        # in one that is a cycle.
        _quietly(lambda: pdf.xref_set_key(pdf.pdf_catalog(), "StructTreeRoot", "null"))
        count = _pdf_count(pdf)
        if count < 1:
            raise InputError(f"{document.name} is damaged: no page can be found", "Repair the file or get it again")
        made = itertools.count(1)

        def raster(number: int) -> Raster:
            try:
                return _pdf_page(pdf, document, number, options)
            finally:
                if next(made) % PAGES_KEPT == 0:
                    _forget(pdf)

        yield Source(count, raster, _about(pdf, document, options), lambda: _attachments(pdf))


def damaged(document: Document) -> InputError:
    """A PDF that cannot be opened at all."""
    return InputError(f"{document.name} is damaged or truncated", "Repair the file or get it again")


def _decrypt(pdf: Any, document: Document, password: str | None) -> None:
    if not pdf.needs_pass or pdf.authenticate(password or ""):
        return
    if _only_attachments_encrypted(pdf):  # its pages are there for everybody
        pdf.is_encrypted = False
        return
    raise wrong_password(document, password)


def wrong_password(document: Document, password: str | None) -> EncryptedError:
    """Of a PDF that needs one."""
    if password is None:
        return EncryptedError(f"{document.name} is encrypted", "Give --password")
    return EncryptedError(f"the password for {document.name} is wrong", "Check --password")


def _only_attachments_encrypted(pdf: Any) -> bool:
    """Whether neither strings nor streams of the pages are encrypted (ISO 32000-1, 7.6.5: StmF and StrF)."""
    mupdf = quiet_pymupdf().mupdf
    try:
        encrypt = mupdf.pdf_dict_gets(mupdf.pdf_trailer(_as_pdf(pdf)), "Encrypt")
        if mupdf.pdf_to_int(mupdf.pdf_dict_gets(encrypt, "V")) < 4:
            return False
        filters = [mupdf.pdf_dict_gets(encrypt, name) for name in ("StmF", "StrF")]
        return all(not each.m_internal or mupdf.pdf_to_name(each) == "Identity" for each in filters)
    except Exception:
        log.debug("MuPDF cannot say what is encrypted", exc_info=True)
        return False


def _pdf_count(pdf: Any) -> int:
    """How many pages; where the tree of pages is broken, after MuPDF's repair, or of all pages that there are."""
    mupdf = quiet_pymupdf().mupdf
    for mend in (None, lambda: mupdf.pdf_repair_xref(_as_pdf(pdf)), lambda: _plant_pages(pdf)):
        try:
            if mend is not None:
                mend()
            count = int(pdf.page_count)
            if count > 0:
                pdf.load_page(0)
                return count
        except Exception:
            log.debug("MuPDF cannot count pages", exc_info=True)
    return 0


def _plant_pages(pdf: Any) -> None:
    """A new tree of the page objects, in the order in which they were made."""
    pages = [xref for xref in range(1, pdf.xref_length()) if _key(pdf, xref, "Type") == "/Page"]
    if pages:
        tree = pdf.get_new_xref()
        kids = " ".join(f"{xref} 0 R" for xref in pages)
        pdf.update_object(tree, f"<</Type/Pages/Kids[{kids}]/Count {len(pages)}>>")
        for xref in pages:
            pdf.xref_set_key(xref, "Parent", f"{tree} 0 R")
        pdf.xref_set_key(pdf.pdf_catalog(), "Pages", f"{tree} 0 R")


def _as_pdf(pdf: Any) -> Any:
    return quiet_pymupdf().mupdf.pdf_document_from_fz_document(pdf.this)


def _place(document: Document) -> dict[str, Any]:
    found = where(document)
    if isinstance(found, bytes):
        return {"stream": found}
    try:
        str(found).encode()
    except UnicodeEncodeError:  # MuPDF takes names as UTF-8 only
        return {"stream": found.read_bytes()}
    return {"filename": str(found)}


def _about(pdf: Any, document: Document, options: InputOptions) -> tuple[WarningRecord, ...]:
    """What a user should know of the document as a whole."""
    found: tuple[WarningRecord, ...] = ()
    if pdf.is_repaired:
        found += warning("repaired", f"{document.name} is damaged: what could be repaired is read")
    root = pdf.pdf_catalog()
    if _key(pdf, root, "NeedsRendering") == "true" and _key(pdf, root, "AcroForm/XFA") != "null":
        message = f"{document.name} is a dynamic XFA form: only its placeholder page is read"
        found += warning("placeholder", message)
    if not options.attachments and (_key(pdf, root, "Collection") != "null"):
        inside = _quietly(pdf.embfile_count) or 0
        message = f"{document.name} is a portfolio of {inside} file{'' if inside == 1 else 's'} that are not read"
        found += warning("attachments", f"{message}: give --attachments")
    return found


def _key(pdf: Any, xref: int, name: str) -> str:
    """A key of an object as text; ``null`` where there is none."""
    return str((_quietly(lambda: pdf.xref_get_key(xref, name)) or ("null", "null"))[1])


def _quietly(ask: Any) -> Any:
    """What a damaged file may make impossible to ask; None then."""
    try:
        return ask()
    except Exception:
        log.debug("MuPDF cannot say", exc_info=True)
        return None


def _attachments(pdf: Any) -> list[tuple[str, bytes]]:
    """The files inside: those of the document, and those that stand on its pages."""
    found: list[tuple[str, bytes]] = []
    for name in _quietly(pdf.embfile_names) or []:
        info = _quietly(lambda name=name: pdf.embfile_info(name)) or {}  # type: ignore[misc]
        blob = _quietly(lambda name=name: pdf.embfile_get(name))  # type: ignore[misc]
        if blob is not None:
            found.append((str(info.get("ufilename") or info.get("filename") or name), bytes(blob)))
    kind = quiet_pymupdf().PDF_ANNOT_FILE_ATTACHMENT
    for number in range(_pdf_count(pdf)):
        page = _quietly(lambda number=number: pdf.load_page(number))  # type: ignore[misc]
        for note in _quietly(lambda page=page: list(page.annots(types=[kind]))) or []:  # type: ignore[misc]
            blob = _quietly(note.get_file)
            if blob is not None:
                info = _quietly(lambda note=note: note.file_info) or {}  # type: ignore[misc]
                found.append((str(info.get("filename") or f"attachment {len(found) + 1}"), bytes(blob)))
    return found


def _pdf_page(pdf: Any, document: Document, number: int, options: InputOptions) -> Raster:
    from PIL import Image

    pymupdf = quiet_pymupdf()
    pymupdf.TOOLS.reset_mupdf_warnings()
    page = pdf.load_page(number - 1)
    if not page.cropbox.intersects(page.mediabox):  # it shows nothing of the page
        pdf.xref_set_key(page.xref, "CropBox", _key(pdf, page.xref, "MediaBox"))
        page = pdf.load_page(number - 1)
    dpi = pixels_of(document, number, page.rect.width, page.rect.height, options)
    scale = dpi / 72
    drawing = page.get_displaylist()
    unended, cut = guard_images(document, number, drawing, options.max_pixels)
    pixmap = drawing.get_pixmap(matrix=pymupdf.Matrix(scale, scale), colorspace=pymupdf.csRGB, alpha=False)
    image: Image.Image = Image.frombytes("RGB", (pixmap.width, pixmap.height), pixmap.samples_mv)
    said = pymupdf.TOOLS.mupdf_warnings()
    if said:
        log.debug("%s: MuPDF says %s", page_name(document, number), " / ".join(said.splitlines())[:2000])
    text = sound_text(page, image) if options.text_layer == "prefer" else None
    drawn = Raster(image, dpi, _losses(pdf, page, said, unended, cut), "mupdf", text)
    if _lost_all(said, drawn):
        message = f"{page_name(document, number)} is damaged: its content is missing"
        raise InputError(message, "Repair the file or get it again")
    return drawn


def gave_up(drawn: Raster) -> bool:
    """Whether all that MuPDF says of a page is that it had enough of its errors, and left out the rest."""
    return all(each.code == "damaged" and GAVE_UP in each.message for each in drawn.warnings)


def _lost_all(said: str, drawn: Raster) -> bool:
    """Whether a page is blank because its objects are missing, of which MuPDF only warns."""
    lines = [line for line in said.splitlines() if COMPLAINTS.search(line) and not HARMLESS.search(line)]
    return bool(lines) and not drawn.has_ink


def _losses(pdf: Any, page: Any, said: str, unended: int, cut: int) -> tuple[WarningRecord, ...]:
    """What MuPDF left out of a page, by what it ``said``."""
    lines = [line for line in said.splitlines() if LOSSES.search(line)]
    if any(UNFINISHED_FLATE in line for line in lines) and _flate_is_whole(pdf, page):
        lines = [line for line in lines if UNFINISHED_FLATE not in line]
    if unended and not cut:
        lines = [line for line in lines if UNENDED_JPEG not in line]
    lines.sort(key=lambda line: GAVE_UP in line)  # said only where there is nothing else to say
    if lines:
        return warning("damaged", f"something is missing: {lines[0].strip()[:120]}")
    if cut:
        return warning("damaged", "something is missing: an image ends before its last row")
    if unended:
        return warning("truncated", "an image on the page ends before its end mark")
    return ()


def _flate_is_whole(pdf: Any, page: Any) -> bool:
    """Whether the page's streams lack no more than the checksum at their end, which some programs leave out."""
    try:
        forms = [each[0] for each in page.get_xobjects()] + [each[0] for each in page.get_images()]
        for xref in [*page.get_contents(), *forms]:
            if "FlateDecode" in _key(pdf, xref, "Filter"):
                stream = zlib.decompressobj(-zlib.MAX_WBITS)
                stream.decompress(pdf.xref_stream_raw(xref)[2:])
                if not stream.eof:
                    return False
    except Exception:
        log.debug("a stream cannot be unpacked", exc_info=True)
        return False
    return True


def _forget(pdf: Any) -> None:
    """Drop what MuPDF keeps of the pages so far: decoded images and fonts, up to 256 MB, and every object it parsed,
    without a limit. All of it is read again where it is needed."""
    mupdf = quiet_pymupdf().mupdf
    try:
        mupdf.fz_empty_store()
        mupdf.pdf_minimize_document(_as_pdf(pdf))
    except Exception:  # tidying up must not cost the page
        log.debug("MuPDF cannot drop what it keeps", exc_info=True)
