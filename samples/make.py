"""Make the sample PDFs and their texts: large type, few lines, which the bundled model reads.

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

# A title, lines, a table, a picture: what the markdown prompt is for.
WIDTH, HEIGHT = 612, 792  # US letter
LEFT, RIGHT = 36, WIDTH - 36
TYPE = 56  # 36 px of the view, as lines are 59 px apart
TABLE = [("Day", "First", "Last"), ("Sat", "6.30", "22.15"), ("Sun", "8.00", "20.45")]
COLUMNS = [LEFT, LEFT + 180, LEFT + 360, RIGHT]
ROW = 92

with pymupdf.open() as document:
    page = document.new_page(width=WIDTH, height=HEIGHT)
    page.insert_text((LEFT, 120), "Ferry times", fontname="hebo", fontsize=64)
    top = 190
    shape = page.new_shape()
    for i in range(len(TABLE) + 1):
        shape.draw_line((LEFT, top + i * ROW), (RIGHT, top + i * ROW))
    for x in COLUMNS:
        shape.draw_line((x, top), (x, top + len(TABLE) * ROW))
    shape.finish(width=2)
    shape.commit()
    for i, row in enumerate(TABLE):
        for x, cell in zip(COLUMNS, row, strict=False):
            page.insert_text((x + 14, top + i * ROW + 62), cell, fontname="helv", fontsize=TYPE)

    page = document.new_page(width=WIDTH, height=HEIGHT)
    page.insert_text((LEFT, 84), "Lost and found", fontname="tibo", fontsize=60)
    box = pymupdf.Rect(LEFT, 140, 420, 380)
    shape = page.new_shape()
    shape.draw_rect(box)
    shape.finish(fill=(0.85, 0.85, 0.85), width=2)
    shape.draw_circle((150, 250), 60)
    shape.finish(color=None, fill=(0.35, 0.35, 0.35))
    shape.draw_polyline([(60, 350), (180, 330), (260, 200), (330, 300), (400, 190)])
    shape.finish(width=5, closePath=False)
    shape.commit()
    for i, line in enumerate(["One silver watch.", "Ask for Mrs. Gray,", "room 12, until June."]):
        page.insert_text((LEFT, 470 + 92 * i), line, fontname="tiro", fontsize=54)
    document.save(HERE / "leaflet.pdf", deflate=True, garbage=4, no_new_id=True)
TEXTS = [
    "\n".join(["Ferry times", *map(" ".join, TABLE)]),
    "Lost and found\nOne silver watch.\nAsk for Mrs. Gray,\nroom 12, until June.",
]
(HERE / "leaflet.txt").write_text("\f".join(TEXTS) + "\n", encoding="utf-8")
