"""Make the sample PDF and its text: large type, few lines, which is what the bundled model reads.

    python samples/make.py
"""

from pathlib import Path

import pymupdf

HERE = Path(__file__).parent
SIDE = 600  # pt
PAGES = [
    ("helv", ["Old papers, new words", "Scan the page and read", "it on your own machine.", "Nothing leaves the room."]),
    ("tiro", ["Chapter 2. The ledger", "In 1904 the shop sold", "312 loaves of bread at", "a price of 6 pence each."]),
    ("cour", ["Room 14, first floor", "Open 9-12 and 2-5", "Closed on Sunday"]),
]
SIZE = {"helv": 46, "tiro": 48, "cour": 44}

with pymupdf.open() as document:
    for font, lines in PAGES:
        page = document.new_page(width=SIDE, height=SIDE)
        for i, line in enumerate(lines):
            page.insert_text((30, 90 + 92 * i), line, fontname=font, fontsize=SIZE[font])
    document.save(HERE / "notice.pdf", deflate=True, garbage=4, no_new_id=True)
texts = ["\n".join(lines) for _, lines in PAGES]
(HERE / "notice.txt").write_text("\f".join(texts) + "\n", encoding="utf-8")
