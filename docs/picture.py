"""Make the README's picture from a real run: ``python docs/picture.py`` in the repository root."""

from __future__ import annotations

import io
import re
import tempfile
from pathlib import Path

import pymupdf
from rich.console import Console

from rtprune_cli.model import load
from rtprune_cli.options import ModelOptions, OcrOptions, OutputOptions, RunOptions
from rtprune_cli.outputs import find_documents, open_output
from rtprune_cli.pipeline import ocr
from rtprune_cli.report import print_table

SAMPLE = "samples/notice.pdf"
IMAGES = Path("docs/images")

IMAGES.mkdir(exist_ok=True)
with pymupdf.open(SAMPLE) as pdf:
    pdf[0].get_pixmap(dpi=60).save(IMAGES / "page.png")
with tempfile.TemporaryDirectory() as folder:
    options = OcrOptions(ModelOptions("tiny"), output=OutputOptions(folder), run=RunOptions(force=True))
    model = load(options.model)
    with open_output(options.output) as output:
        documents = find_documents([SAMPLE], recursive=False)
        ocr(documents, model, options, output)  # the first run warms up
        totals = ocr(documents, model, options, output)
    text = (Path(folder) / "notice" / "notice.md").read_text(encoding="utf-8")
console = Console(record=True, width=112, file=io.StringIO(), force_terminal=True)
console.print(f"$ rtprune ocr {SAMPLE} -o out --model tiny", style="bold", highlight=False)
print_table(totals, console)
console.print("$ cat out/notice/notice.md", style="bold", highlight=False)
console.print(text.strip(), markup=False, highlight=False)
svg = console.export_svg(title="rtprune")
# The stock picture loads a font from the network; any monospaced one will do.
svg = re.sub(r"@font-face \{.*?\}", "", svg, flags=re.DOTALL)
(IMAGES / "terminal.svg").write_text("\n".join(line.rstrip() for line in svg.splitlines()) + "\n", encoding="utf-8")
