"""Make the sample PDF and its text: large type, few lines, which the bundled model reads.

python samples/make.py
"""

from pathlib import Path

import pymupdf

HERE = Path(__file__).parent
SIDE = 600  # pt
PAGES = [
    ("helv", "Old papers, new words\nScan the page and read\nit on your own machine.\nNothing leaves the room."),
    ("tiro", "Chapter 2. The ledger\nIn 1904 the shop sold\n312 loaves of bread at\na price of 6 pence each."),
    ("cour", "Room 14, first floor\nOpen 9-12 and 2-5\nClosed on Sunday"),
]
SIZE = {"helv": 46, "tiro": 48, "cour": 44}

with pymupdf.open() as document:
    for font, text in PAGES:
        page = document.new_page(width=SIDE, height=SIDE)
        for i, line in enumerate(text.splitlines()):
            page.insert_text((30, 90 + 92 * i), line, fontname=font, fontsize=SIZE[font])
    document.save(HERE / "notice.pdf", deflate=True, garbage=4, no_new_id=True)
(HERE / "notice.txt").write_text("\f".join(text for _, text in PAGES) + "\n", encoding="utf-8")
