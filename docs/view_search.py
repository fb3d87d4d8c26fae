"""Two ways to search in the texts of many pages: as rtprune view does it, and with SQLite's trigram index.

python docs/view_search.py PAGES     each way in a process of its own, pages of 2,000 letters
python docs/view_search.py OUT       an output folder as rtprune view serves it

Nine of ten pages are words of Latin letters with accents, one is Chinese; what is asked for is in one page, in most, in
none, two or more characters long.
"""

from __future__ import annotations

import json
import random
import sqlite3
import statistics
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path
from urllib.parse import quote

import psutil  # type: ignore[import-untyped]

from rtprune_cli.records import PageRecord
from rtprune_cli.viewing import FolderWatch, ViewServer
from rtprune_cli.viewing.following import SeenPage
from rtprune_cli.viewing.page import SEARCH, STATUS
from rtprune_cli.viewing.search import fold, matches, readable, words_of

LETTERS = 2000  # of a page
ASKED = ("needle", "crème BRULEE", "the", "a", "zzzzqq", "ta ri no", "珍珠奶茶", "珍珠")
TIMES = 7
SYLLABLES = ["ta", "ri", "no", "be", "lo", "ka", "é", "sü", "mi", "der", "und", "the", "ing", "pro", "con", "ver", "al"]
HAN = [chr(code) for code in range(0x4E00, 0x4E00 + 600)]

Ask = Callable[[tuple[str, ...]], int]


def texts(count: int) -> list[str]:
    """Pages, the same each time."""
    draw = random.Random(0)
    words = ["".join(draw.choices(SYLLABLES, k=draw.randint(1, 4))) for _ in range(20_000)]
    made = []
    for number in range(count):
        text = (
            "".join(draw.choices(HAN, k=LETTERS)) if number % 10 == 9 else " ".join(draw.choices(words, k=LETTERS // 6))
        )
        made.append(text[:LETTERS])
    made[count // 2] += " a needle in Crème brûlée 珍珠奶茶"
    return made


def in_memory(pages: list[str]) -> Ask:
    """As rtprune view: folded texts, each looked through."""
    record = PageRecord(document="x", folder="x", page=1, status="ok")
    seen = [SeenPage(record, text, fold(readable(text))) for text in pages]
    return lambda words: sum(matches(page, words) for page in seen)


def with_trigrams(pages: list[str]) -> Ask:
    """A table of SQLite's FTS5, in memory too; what is shorter than three letters is looked for in each row."""
    base = sqlite3.connect(":memory:")
    base.execute("CREATE VIRTUAL TABLE page USING fts5(folded, tokenize='trigram')")
    base.executemany("INSERT INTO page VALUES (?)", ((fold(readable(text)),) for text in pages))
    base.commit()

    def ask(words: tuple[str, ...]) -> int:
        long = " AND ".join('"{}"'.format(word.replace('"', '""')) for word in words if len(word) >= 3)
        short = [word for word in words if len(word) < 3]
        where = " AND ".join([*(["page MATCH ?"] if long else []), *["instr(folded, ?)"] * len(short)])
        found: tuple[int] = base.execute(
            f"SELECT count(*) FROM page WHERE {where}", [*([long] if long else []), *short]
        ).fetchone()
        return found[0]

    return ask


WAYS = {"in memory": in_memory, "FTS5, trigrams": with_trigrams}


def measure(way: str, count: int) -> None:
    """One way, in lines."""
    pages, process = texts(count), psutil.Process()
    before, began = process.memory_info().rss, time.perf_counter()
    ask = WAYS[way](pages)
    ready, memory = time.perf_counter() - began, (process.memory_info().rss - before) / 2**20
    print(f"{way}: {count:,} pages ready in {ready:.1f} s, {memory:.0f} MiB besides the texts")
    for asked in ASKED:
        took = []
        for _ in range(TIMES):
            began = time.perf_counter()
            found = ask(words_of(asked))
            took.append(1000 * (time.perf_counter() - began))
        print(f"  {asked}: {found:,} pages, {statistics.median(took):.1f} ms, at most {max(took):.1f}")


def serve(folder: Path) -> None:
    """A folder served, from its first page to answers."""
    process = psutil.Process()
    before, began = process.memory_info().rss, time.perf_counter()
    with FolderWatch(folder) as watch, ViewServer(watch) as server:

        def fetch(path: str) -> bytes:
            with urllib.request.urlopen(f"{server.url}{path}") as answer:
                data: bytes = answer.read()
                return data

        size = len(fetch(""))
        print(f"the first page ({size / 1e6:.1f} MB) in {time.perf_counter() - began:.1f} s")
        while (status := json.loads(fetch(STATUS)))["ready"] < status["total"]:
            time.sleep(0.05)
        memory = (process.memory_info().rss - before) / 2**20
        print(f"{status['total']:,} pages ready in {time.perf_counter() - began:.1f} s, {memory:.0f} MiB")
        for asked in ASKED:
            took = []
            for _ in range(TIMES):
                began = time.perf_counter()
                found = json.loads(fetch(f"{SEARCH}?q={quote(asked)}"))["pages"]
                took.append(1000 * (time.perf_counter() - began))
            print(f"  {asked}: {found:,} pages, {statistics.median(took):.0f} ms, at most {max(took):.0f}")


if __name__ == "__main__":
    if len(sys.argv) == 3:
        measure(sys.argv[1], int(sys.argv[2]))
    elif not sys.argv[1].isdigit():
        serve(Path(sys.argv[1]))
    else:
        for name in WAYS:
            subprocess.run([sys.executable, __file__, name, sys.argv[1]], check=True)
