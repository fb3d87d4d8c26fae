"""Three examples for the end of each command's help. A test parses every one, so that what is shown can be typed."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Example:
    """A command line, narrow enough to be copied from a small terminal, and what it does."""

    command: str
    does: str


def _examples(*pairs: tuple[str, str]) -> tuple[Example, ...]:
    return tuple(Example(*pair) for pair in pairs)


TRY = Example("rtprune ocr scan.pdf --model tiny", "Try it now: a small model that comes with it, for large print.")
READ = Example("rtprune ocr scans/ -r -o text", "Read a folder with DeepSeek-OCR; the same command again goes on.")

# What `rtprune ocr` alone says on a terminal
FIRST_STEPS = f"""rtprune: error: no input given. What most people want:

  {TRY.command}
      {TRY.does}
  {READ.command}
      {READ.does}

More: rtprune ocr --help, rtprune docs"""

# By the command's name without rtprune before it
EXAMPLES: dict[str, tuple[Example, ...]] = {
    "": (TRY, READ, Example("rtprune docs errors", "What a message means; rtprune docs lists the pages.")),
    "ocr": (
        TRY,
        READ,
        Example("rtprune ocr book.pdf --pages 1-10 -o - | less", "The markdown of ten pages, and nothing else."),
    ),
    "view": _examples(
        ("rtprune view text", "Look at what was read, while it is read."),
        ("rtprune view text --port 8000 --no-open", "On another machine: ssh -L 8000:localhost:8000 brings it here."),
        ("rtprune view text -q > address", "The address alone, for a script."),
    ),
    "convert": _examples(
        ("rtprune convert text --to text", "NAME.txt beside each NAME.json of the output folder text."),
        ("rtprune convert text/scan --to searchable-pdf", "One document as a PDF that can be searched."),
        ("rtprune convert text --to docling -o docling", "DoclingDocuments, in a folder of their own."),
    ),
    "merge": _examples(
        ("rtprune merge out/1 out/2 out/3 -o text", "The folders of three shards as one."),
        ("rtprune merge monday tuesday -o all", "Two runs, whatever they read; later ones may be added."),
        ("rtprune merge out/1 out/2 -o /mnt/text --copy", "Files of their own, as another disk needs them."),
    ),
    "info": _examples(
        ("rtprune info", "What this machine has, and what is missing for the default model."),
        ("rtprune info --json > machine.json", "The same for a program, or to go with a report of a fault."),
        ("rtprune info -vv", "With what libraries say meanwhile."),
    ),
    "inspect": _examples(
        ("rtprune inspect scan.pdf --pages 1 --model tiny", "Pictures of the first page: kept cells, norms, density."),
        ("rtprune inspect scans/ --ratio 0.5 -o half", "What half of the visual tokens would keep."),
        ("rtprune inspect scan.pdf --leave-one-out --tokens 40", "Which of 40 visual tokens the text hangs on."),
    ),
    "analyze": _examples(
        ("rtprune analyze scan.pdf --model tiny", "Where the bundled model looks, in analysis/analysis.html."),
        ("rtprune analyze scans/ --sample 50", "On 50 pages, drawn by chance."),
        ("rtprune analyze a/ b/ --group-by folder --high dynamic", "Two kinds of pages beside one another."),
    ),
    "bench": _examples(
        ("rtprune bench --dataset synthetic --model tiny", "Try it now: made pages, pruned and unpruned."),
        ("rtprune bench --dataset folder --data pages", "Your own pages: page.png beside page.txt or page.md."),
        ("rtprune bench --dataset omnidocbench --sample 100", "A benchmark of the hub, a hundred of its pages."),
    ),
    "bench score": _examples(
        (
            "rtprune bench score --dataset folder --data pages \\\n      --predictions text",
            "Score a run of rtprune ocr.",
        ),
        (
            "rtprune bench score --dataset omnidocbench \\\n      --predictions a --predictions b",
            "Two readings, beside one another.",
        ),
        (
            "rtprune bench score --dataset folder --data pages \\\n      --predictions text --fail-above cer=0.05",
            "Exit with 1 where the error rate of characters is above 5 %.",
        ),
    ),
    "bench speed": _examples(
        ("rtprune bench speed --model tiny --stages prune", "Try it now: one stage of the bundled model."),
        ("rtprune bench speed --arch deepseek-ocr", "Every stage at full size, without a download."),
        ("rtprune bench speed --arch deepseek-ocr --json s.json", "The same, kept for a program."),
    ),
    "bench glyphs": _examples(
        ("rtprune bench glyphs --model tiny --limit 4", "Try it now, on four cards."),
        ("rtprune bench glyphs --ratios 0.75,0.5,0.25", "Three ratios of the default model."),
        ("rtprune bench glyphs --words natural,random", "Does the model guess what it no longer sees?"),
    ),
    "models": _examples(
        ("rtprune models pull", "Download DeepSeek-OCR (6.7 GB), once."),
        ("rtprune models list", "What is on this machine."),
        ("rtprune models path tiny", "Where the bundled model lies."),
    ),
    "models list": _examples(
        ("rtprune models list", "A line for each: name, revision, size, folder."),
        ("rtprune models list | cut -f1", "Names alone: tabs separate."),
        ("rtprune models list -q", "Without notes on standard error."),
    ),
    "models pull": _examples(
        ("rtprune models pull", "DeepSeek-OCR, the default (6.7 GB)."),
        ("rtprune models pull deepseek-ai/DeepSeek-OCR-2", "Another model of the hub."),
        ("rtprune models pull NAME/MODEL --revision main", "A branch, tag or commit."),
    ),
    "models path": _examples(
        ("rtprune models path", "The default model's folder."),
        ("rtprune models path tiny", "The bundled model's."),
        ('ls "$(rtprune models path tiny)"', "What is in it."),
    ),
    "models remove": _examples(
        ("rtprune models remove deepseek-ai/DeepSeek-OCR-2", "Free the disk space of one model."),
        ("rtprune models remove NAME/MODEL -q", "Say nothing but errors."),
        ("rtprune models list", "See what is left."),
    ),
    "datasets": _examples(
        ("rtprune datasets pull omnidocbench", "Download a benchmark, once."),
        ("rtprune datasets list", "What is on this machine."),
        ("rtprune datasets path omnidocbench", "Where it lies."),
    ),
    "datasets list": _examples(
        ("rtprune datasets list", "A line for each: name, release, commit, size, folder."),
        ("rtprune datasets list | cut -f1,2", "Names and releases: tabs separate."),
        ("rtprune datasets list -q", "Without notes on standard error."),
    ),
    "datasets pull": _examples(
        ("rtprune datasets pull omnidocbench", "The release that results are published for."),
        ("rtprune datasets pull omnidocbench --revision v1.6", "Another release."),
        ("rtprune datasets pull olmocr-bench", "The newest of olmOCR-Bench."),
    ),
    "datasets path": _examples(
        ("rtprune datasets path omnidocbench", "Its folder; nothing is downloaded."),
        ("rtprune datasets path omnidocbench --revision v1.6", "That of another release."),
        ('du -sh "$(rtprune datasets path olmocr-bench)"', "How much room it takes."),
    ),
    "datasets remove": _examples(
        ("rtprune datasets remove omnidocbench", "Free the disk space of all its revisions."),
        ("rtprune datasets remove olmocr-bench -q", "Say nothing but errors."),
        ("rtprune datasets list", "See what is left."),
    ),
    "config": _examples(
        ("rtprune config show", "Every setting, its value and where that comes from."),
        ("rtprune config show > rtprune.toml", "Begin a settings file of your own."),
        ("RTPRUNE_DPI=300 rtprune config show", "What a variable does."),
    ),
    "config show": _examples(
        ("rtprune config show", "Every setting, its value and where that comes from."),
        ("rtprune config show --mode base > rtprune.toml", "A settings file with one setting changed."),
        ("rtprune config show --config other.toml", "What another settings file does."),
    ),
    "docs": _examples(
        ("rtprune docs", "The pages, a line each."),
        ("rtprune docs errors encrypted", "What page errors says of a word."),
        ("rtprune docs --search retention", "The word in all pages."),
    ),
}  # fmt: skip
