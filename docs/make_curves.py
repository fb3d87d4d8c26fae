"""Draw docs/images/tiny-training.svg from docs/tiny-training.csv (needs the extra [bench]).

python docs/make_curves.py
"""

from __future__ import annotations

import csv
import io
from itertools import groupby
from pathlib import Path

import matplotlib as mpl
from matplotlib.figure import Figure

HERE = Path(__file__).parent
SCORES = {  # Okabe and Ito's colours, and a dash for prints without colour
    "patch_ok": ("characters of patches", "#009E73", ":"),
    "cell_ok": ("characters of cells", "#56B4E9", "--"),
    "text_ok": ("next token", "#D55E00", "-"),
}


def main() -> None:
    """Accuracies on the training pages over hours; a line where a run begins."""
    with (HERE / "tiny-training.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    figure = Figure(figsize=(8, 3.2), layout="constrained")
    axes = figure.subplots()
    # Runs 2 to 5 share one clock, which went on from run to run.
    clock = 0.0
    for run, group in groupby(rows, key=lambda row: row["run"]):
        part = list(group)
        hours = [clock + float(row["minutes"]) / 60 for row in part]
        for name, (label, colour, dash) in SCORES.items():
            values = [100 * float(row[name]) for row in part]
            axes.plot(hours, values, dash, color=colour, label=label if run == "1" else None)
        if run == "1":
            clock = hours[-1]
        axes.axvline(hours[0], color="0.7", linewidth=0.8)
        axes.text(hours[0] + 0.01, 2, f"run {run}" if len(part) > 20 else run, color="0.3")
    axes.set(xlabel="hours of training", ylabel="right, %", ylim=(0, 100), xlim=(0, None))
    axes.legend(loc="center right")
    with mpl.rc_context({"svg.hashsalt": "rtprune", "svg.fonttype": "none"}):
        drawing = io.StringIO()
        figure.savefig(drawing, format="svg", metadata={"Date": None})
    text = "\n".join(line.rstrip() for line in drawing.getvalue().splitlines()) + "\n"
    (HERE / "images" / "tiny-training.svg").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
