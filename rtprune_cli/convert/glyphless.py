"""A font without outlines for text that is searched and never seen, as Tesseract has one: any character of Unicode, at
the cost of some two kilobytes a document.

Every character is half as wide as the font is large; whoever writes with it scales it to the width that the word has on
the page.
"""

from __future__ import annotations

import struct
from typing import Any

NAME = "RtpruneGlyphless"
WIDTH = 0.5  # of every character, in ems
ASCENT, DESCENT = 0.8, -0.2  # in ems, from the baseline
_UNITS = 1000
_ASTRAL, _MOST_ASTRAL = 0xD800, 0x800  # codes that are no characters stand for those beyond 16 bits
_REPLACEMENT = 0xFFFD
_MOST_RANGES = 100  # in one block of a CMap: Adobe Technical Note 5014


class GlyphlessFont:
    """The font of one PDF: codes of the characters that were written, and the objects when all of them are."""

    def __init__(self) -> None:
        self._astral: dict[int, int] = {}  # character -> code

    def codes(self, text: str) -> str:
        """``text`` as a string of a content stream: hexadecimal, two bytes a character."""
        return f"<{''.join(f'{self._code(ord(char)):04X}' for char in text)}>"

    def _code(self, char: int) -> int:
        if char > 0xFFFF:
            if char not in self._astral and len(self._astral) == _MOST_ASTRAL:
                return _REPLACEMENT
            return self._astral.setdefault(char, _ASTRAL + len(self._astral))
        return _REPLACEMENT if _ASTRAL <= char < _ASTRAL + _MOST_ASTRAL else char

    def embed(self, pdf: Any, xref: int) -> None:
        """Make object ``xref`` of a document of PyMuPDF's the font (ISO 32000-1, 9.7)."""
        file = _stream(pdf, _true_type())
        glyphs = _stream(pdf, b"\0\1" * 0x10000)  # each code shows glyph 1, which is empty
        unicode = _stream(pdf, self._to_unicode())
        box = f"[0 {DESCENT * _UNITS:.0f} {WIDTH * _UNITS:.0f} {ASCENT * _UNITS:.0f}]"
        descriptor = _object(
            pdf,
            f"<</Type/FontDescriptor/FontName/{NAME}/Flags 5/FontBBox{box}/ItalicAngle 0/StemV 80"
            f"/Ascent {ASCENT * _UNITS:.0f}/Descent {DESCENT * _UNITS:.0f}/CapHeight {ASCENT * _UNITS:.0f}"
            f"/FontFile2 {file} 0 R>>",
        )
        descendant = _object(
            pdf,
            f"<</Type/Font/Subtype/CIDFontType2/BaseFont/{NAME}/FontDescriptor {descriptor} 0 R"
            f"/CIDSystemInfo<</Registry(Adobe)/Ordering(Identity)/Supplement 0>>"
            f"/CIDToGIDMap {glyphs} 0 R/DW {WIDTH * _UNITS:.0f}>>",
        )
        pdf.update_object(
            xref,
            f"<</Type/Font/Subtype/Type0/BaseFont/{NAME}/Encoding/Identity-H/DescendantFonts[{descendant} 0 R]"
            f"/ToUnicode {unicode} 0 R>>",
        )

    def _to_unicode(self) -> bytes:
        """Every code is the character of that number, but those that stand for characters beyond 16 bits."""
        ranges = [f"<{high:02X}00> <{high:02X}FF> <{high:02X}00>" for high in range(0x100) if not 0xD8 <= high < 0xE0]
        chars = [f"<{code:04X}> <{chr(char).encode('utf-16-be').hex()}>" for char, code in self._astral.items()]
        lines = [
            "/CIDInit /ProcSet findresource begin 12 dict begin begincmap",
            "/CIDSystemInfo << /Registry (Adobe) /Ordering (UCS) /Supplement 0 >> def",
            "/CMapName /Adobe-Identity-UCS def /CMapType 2 def",
            "1 begincodespacerange <0000> <FFFF> endcodespacerange",
        ]
        for kind, entries in (("range", ranges), ("char", chars)):
            for at in range(0, len(entries), _MOST_RANGES):
                block = entries[at : at + _MOST_RANGES]
                lines += [f"{len(block)} beginbf{kind}", *block, f"endbf{kind}"]
        lines.append("endcmap CMapName currentdict /CMap defineresource pop end end")
        return "\n".join(lines).encode()


def _object(pdf: Any, source: str) -> int:
    xref: int = pdf.get_new_xref()
    pdf.update_object(xref, source)
    return xref


def _stream(pdf: Any, data: bytes) -> int:
    xref = _object(pdf, "<<>>")
    pdf.update_stream(xref, data)
    return xref


def _true_type() -> bytes:
    """The font file: two glyphs without outlines, WIDTH wide (OpenType 1.9, chapter by table)."""
    width, ascent, descent = (round(each * _UNITS) for each in (WIDTH, ASCENT, DESCENT))
    box = (0, descent, width, ascent)
    tables = {
        b"glyf": bytes(4),  # some readers take an empty table for a missing one
        b"head": struct.pack(
            ">HHIIIHHqq4hHHhhh", 1, 0, 0x10000, 0, 0x5F0F3CF5, 0, _UNITS, 0, 0, *box, 0, 8, 2, 0, 0,
        ),
        b"hhea": struct.pack(">HHhhhHhhhhhh4hhH", 1, 0, ascent, descent, 0, width, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 2),
        b"hmtx": struct.pack(">HhHh", width, 0, width, 0),
        b"loca": bytes(6),
        b"maxp": struct.pack(">I14H", 0x10000, 2, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0),
        b"post": struct.pack(">IIhhIIIII", 0x30000, 0, 0, 0, 1, 0, 0, 0, 0),
    }  # fmt: skip
    start = 12 + 16 * len(tables)
    head = struct.pack(">IHHHH", 0x10000, len(tables), 64, 2, 16 * len(tables) - 64)
    body = b""
    for name, data in tables.items():
        padded = data + bytes(-len(data) % 4)
        total = sum(struct.unpack(f">{len(padded) // 4}I", padded)) & 0xFFFFFFFF
        head += struct.pack(">4sIII", name, total, start + len(body), len(data))
        body += padded
    whole = head + body
    total = sum(struct.unpack(f">{len(whole) // 4}I", whole))
    place = whole.index(b"\x5f\x0f\x3c\xf5") - 4  # checkSumAdjustment stands before the magic number
    return whole[:place] + struct.pack(">I", (0xB1B0AFBA - total) & 0xFFFFFFFF) + whole[place + 4 :]
