"""What the real model wrote, and the markdown and blocks that its page must have been: written by hand."""

from __future__ import annotations

import html
import random
import re
from collections import Counter
from pathlib import Path

import pytest

from rtprune_cli.markdown import MarkdownStyle, to_markdown
from rtprune_cli.markdown.regions import LABELS
from rtprune_cli.records import Block, Markdown

RAW = Path(__file__).with_name("golden") / "raw"
NAMES = [path.stem for path in sorted(RAW.glob("*.txt"))]
SIZE = (999, 999)  # boxes in pixels are the model's own
WORDS = ("20_ocr_this_image", "21_ocr_this_image_zh", "23_locate")  # answers to prompts that ask for text, not layout

CROP, CROP_2 = "images/page-0001-1.png", "images/page-0001-2.png"
TABLE_4 = (
    '<table><tr><td rowspan="2">t &gt; 0</td><td rowspan="2">0 ≤ r ≤ R</td><td>z = 0</td></tr>'
    "<tr><td>z = L</td></tr></table>"
)
TABLE_5 = (
    "<table><tr><td>Identifier Abbreviation</td><td>Function Identifier &lt;func&gt;</td></tr><tr><td>CB NP SRC</td>"
    "<td>Content Browsing function</td></tr><tr><td></td><td>NowPlaying function</td></tr></table>"
)
TABLE_28 = (
    "<table><tr><td></td><td>Example Review</td><td>Table 2. Comparison of review systems.</td></tr><tr><td>System "
    "Reviewer</td><td>The paper presents</td><td>Model</td><td>Technical Quality</td><td>Constructive- ness</td></tr>"
    "</table>"
)
ALIGNED = "\\begin{align*}\n3y &= 9 \\Rightarrow y = 3 \\\\\n2x + 5y &= 8\n\\end{align*}"
PPO = "Figure 1: Demonstration of PPO and GRPO training with the search engine (SEARCH-R1)."
BV_3 = "AVRCP/TG/SGSIT/OFFS/BV- 03- C [Attribute ID Offset String GSIT - Service Name] 17"
BV_4 = "AVRCP/TG/SGSIT/OFFS/BV- 04- C [Attribute ID Offset String GSIT - Provider Name] 17"
TED = "order to compute the TED score. Inference timing results were obtained from the same machine."
HYPHENS = (
    "Accurate document layout analysis is a key requirement for high- quality PDF document conversion. With large "
    "ground- truth datasets, deep- learning models are effective. A subset of double- and triple- annotated pages; "
    "Date: 2025- 02- 18."
)
EMAILS = (
    "- A user will receive a large volume of spam emails- Shortly after, a caller claims the spam is caused by "
    "malware- The user is instructed to join a remote session"
)
ACL = (
    "- One ACL connection exists between the IUT and the Lower Tester.- The AVCTP control and browsing channels are "
    "established.- The IUT is acting as AVRCP TG role in category 1."
)
TOC = "2.1 References 11  2.2 Definitions 11  2.3 Acronyms and abbreviations 11"
REVISION = "Revision: AVRCP.TS.p23Revision Date: 2025- 02- 18Prepared By: Audio Working Group"
VALIDATING, STOPPING = "1. Validating Connectivity (3:43)", "Stopping a Social Engineering Attack in Under 4 Minutes"

# Name -> markdown, and of each block (label, box, what it holds, level)
EXPECTED: dict[str, tuple[str, list[tuple[str, tuple[int, int, int, int] | None, str, int | None]]]] = {
    "01_caption_center": (
        f"![]({CROP})\n\n{PPO}",
        [("image", (45, 245, 953, 850), CROP, None), ("image_caption", (34, 888, 965, 972), PPO, None)],
    ),
    "02_title_trailing_spaces": (
        f"# CURLY SPIDER\n\n{STOPPING}\n\n## {VALIDATING}",
        [
            ("title", (92, 115, 300, 201), "CURLY SPIDER", 1),
            ("text", (324, 152, 587, 200), STOPPING, None),
            ("sub_title", (66, 607, 312, 622), VALIDATING, 2),
        ],
    ),
    "03_missing_det": (
        f"{BV_3}\n\n成为 17\n\n{BV_4}",
        [
            ("text", (142, 747, 899, 763), BV_3, None),
            ("text", None, "成为 17", None),
            ("text", (142, 763, 899, 779), BV_4, None),
        ],
    ),
    "04_table_caption_between": (
        f"{TABLE_4}\n\nTable 1. Boundary and initial conditions for models.",
        [
            ("table", (89, 794, 907, 904), TABLE_4, None),
            ("table_caption", (91, 778, 353, 790), "Table 1. Boundary and initial conditions for models.", None),
        ],
    ),
    "05_table_entities": (
        f"{TABLE_5}\n\nTable 4.1: AVRCP TC feature naming conventions",
        [
            ("table", (115, 71, 861, 156), TABLE_5, None),
            ("table_caption", (115, 164, 448, 176), "Table 4.1: AVRCP TC feature naming conventions", None),
        ],
    ),
    "07_equations": (
        "The damping function $\\mathrm{f}(\\mathrm{R} - \\mathrm{r})$ remains the same (Eq.(11)).\n\n"
        f"$$\\mathrm{{K}}_{{1}} = \\frac{{1}}{{8}} \\tag{{18}}$$\n\n$$\n{ALIGNED}\n$$",
        [
            (
                "text",
                (89, 109, 488, 154),
                "The damping function \\(\\mathrm{f}(\\mathrm{R} - \\mathrm{r})\\) remains the same (Eq.(11)).",
                None,
            ),
            ("equation", (88, 160, 485, 191), "\\mathrm{K}_{1} = \\frac{1}{8} \\tag{18}", None),
            ("equation", (303, 81, 737, 152), ALIGNED, None),
        ],
    ),
    "08_space_before_box": (
        "### 2. Aussagen über Schwingungen\n\nSei $\\omega_0, \\delta > 0$ gegeben.",
        [
            ("sub_title", None, "2. Aussagen über Schwingungen", 3),
            ("text", (115, 685, 875, 720), "Sei \\(\\omega_0, \\delta > 0\\) gegeben.", None),
        ],
    ),
    "09_subtitle_without_hash": (
        "## 7. Terme Vereinfachen mit Python/Sympy\n\nWir *vereinfachen* jeweils den Term.",
        [
            ("sub_title", (108, 227, 508, 246), "7. Terme Vereinfachen mit Python/Sympy", 2),
            ("text", (108, 245, 920, 280), "Wir *vereinfachen* jeweils den Term.", None),
        ],
    ),
    "10_code_as_heading": (
        "\\# Python konfigurieren:\n\na, b=sp.symbols('a b');\n\n\\# Parameter:\n\np=b**4+a**3*b-a**2*b**2-a*b**3;",
        [
            ("text", (150, 68, 419, 83), "# Python konfigurieren:", None),
            ("text", (150, 84, 410, 100), "a, b=sp.symbols('a b');", None),
            ("text", (150, 100, 293, 115), "# Parameter:", None),
            ("text", (150, 116, 512, 132), "p=b**4+a**3*b-a**2*b**2-a*b**3;", None),
        ],
    ),
    "11_box_out_of_range": (
        "$$f'(x) = 3^{-x^2}$$",
        [("equation", (465, 281, 999, 302), "f'(x) = 3^{-x^2}", None)],
    ),
    "13_text_before_first_tag": (
        f"{TED}\n\n### 5.1 Hyper Parameter Optimization",
        [("text", None, TED, None), ("sub_title", (217, 209, 520, 225), "5.1 Hyper Parameter Optimization", 3)],
    ),
    "14_hyphen_space": (HYPHENS, [("text", (85, 329, 481, 674), HYPHENS, None)]),
    "15_list_run_together": (EMAILS, [("text", (64, 473, 902, 522), EMAILS, None)]),
    "18_chinese_screenshot": (
        f"![]({CROP})\n\n1月份工作。",
        [("image", (470, 7, 530, 99), CROP, None), ("text", (460, 102, 541, 130), "1月份工作。", None)],
    ),
    "19_special_stripped_vllm": (
        f"1774 年爆发的北美革命。\n\n![]({CROP})\n\n第六表",
        [
            ("text", (101, 231, 877, 486), "1774 年爆发的北美革命。", None),
            ("image", (100, 400, 500, 700), CROP, None),
            ("figure_title", (100, 100, 500, 120), "第六表", None),
        ],
    ),
    "20_ocr_this_image": (
        "سلام دنيا\n\nOpenAI-123",
        [("text", (100, 200, 900, 260), "سلام دنيا", None), ("text", (700, 300, 950, 350), "OpenAI-123", None)],
    ),
    "21_ocr_this_image_zh": (
        '## （十五）"三包"赔偿',
        [("sub_title", (123, 456, 789, 812), '（十五）"三包"赔偿', 2)],
    ),
    "22_truncated": (
        f"Some text content here.\n\n![]({CROP})",
        [("text", (123, 102, 480, 128), "Some text content here.", None), ("image", (480, 270, 860, 930), CROP, None)],
    ),
    "23_locate": ("the teacher", [("text", (309, 134, 512, 652), "the teacher", None)]),
    "24_unlimited_ocr": (
        f"# Title One\n\nSome text with := and =:.\n\n![]({CROP})\n\n<table><tr><td>a</td></tr></table>\n\nPage two",
        [
            ("title", (100, 50, 900, 120), "Title One", 1),
            ("text", (100, 130, 900, 300), "Some text with := and =:.", None),
            ("image", (50, 720, 950, 990), CROP, None),
            ("table", (10, 10, 200, 200), "<table><tr><td>a</td></tr></table>", None),
            ("text", (0, 0, 999, 999), "Page two", None),
        ],
    ),
    "25_two_boxes_one_ref": (
        f"![]({CROP})\n\n![]({CROP_2})\n\nFigure 2",
        [
            ("image", (10, 10, 200, 200), CROP, None),
            ("image", (300, 300, 600, 600), CROP_2, None),
            ("image_caption", None, "Figure 2", None),
        ],
    ),
    "27_toc_two_spaces": (
        f"{TOC}\n\n{REVISION}",
        [("text", (142, 145, 899, 202), TOC, None), ("text", (92, 528, 598, 595), REVISION, None)],
    ),
    "28_wide_rows": (TABLE_28, [("table", (350, 199, 978, 300), TABLE_28, None)]),
    "30_list_run_together_real2": (ACL, [("text", (142, 691, 870, 836), ACL, None)]),
}


def sample(name: str) -> str:
    return (RAW / f"{name}.txt").read_text(encoding="utf-8")


def converted(raw: str, name: str = "", style: MarkdownStyle | None = None) -> Markdown:
    return to_markdown(raw, size=SIZE, page=1, labels=name not in WORDS, style=style or MarkdownStyle())


def content(block: Block) -> str:
    return block.html or block.latex or block.crop or block.text or ""


def test_every_sample_has_its_expectation() -> None:
    assert list(EXPECTED) == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_a_sample_becomes_the_markdown_of_its_page(name: str) -> None:
    assert converted(sample(name), name).text == EXPECTED[name][0]


@pytest.mark.parametrize("name", NAMES)
def test_a_sample_becomes_the_blocks_of_its_page(name: str) -> None:
    blocks = [(block.label, block.box, content(block), block.level) for block in converted(sample(name), name).blocks]
    assert blocks == EXPECTED[name][1]


REPAIRED = {
    "03_missing_det": ("BV- 03- C", "BV-03-C"),
    "14_hyphen_space": ("2025- 02- 18", "2025-02-18"),
    "15_list_run_together": ("emails- Shortly", "emails\n- Shortly"),
    "28_wide_rows": ("Constructive- ness", "Constructive- ness"),  # cells stay as they are
    "30_list_run_together_real2": ("Tester.- The", "Tester.\n- The"),
}


@pytest.mark.parametrize("name", REPAIRED)
def test_habits_of_the_model_are_undone_when_asked(name: str) -> None:
    before, after = REPAIRED[name]
    text = converted(sample(name), name, MarkdownStyle(repair_hyphens=True, repair_lists=True)).text
    assert after in text and (before == after or before not in text)


def test_suspended_hyphens_keep_their_space() -> None:
    text = converted(sample("14_hyphen_space"), style=MarkdownStyle(repair_hyphens=True)).text
    assert "high-quality" in text and "double- and triple-annotated" in text


# --- Cut and mutated


TAG_WORDS = {part for label in LABELS for part in label.split("_")} | {"sub", "center", "rowspan", "colspan", "td"}
_CLOSED_BOX = re.compile(r"<\|det\|>(?:(?!<\|/?(?:ref|det)\|>).)*<\|/det\|>", re.DOTALL)
_TAG = re.compile(r"<\|/?(?:ref|det)\|>|<\|/?(?:r|re|ref|d|de|det)\|?\Z|</?[a-zA-Z]+(?:\s[^<>]*)?/?(?:>|\Z)|</\Z")


def outside_of_tags(raw: str) -> Counter[str]:
    """The words of a raw text that stand outside of tags, of the model and of HTML, whole or cut at the end.

    Of two letters or more, and without the words of layout and of HTML, whose tag may be torn.
    """
    found = re.findall(r"[^\W\d_]{2,}", html.unescape(html.unescape(_TAG.sub(" ", _CLOSED_BOX.sub(" ", raw)))))
    otherwise = re.compile("quad|coloneqq|eqqcolon|lt|gt|amp")  # written in another way, or halves of an entity
    return Counter(word for word in found if not otherwise.match(word) and not any(word in tag for tag in TAG_WORDS))


def lost(raw: str, page: Markdown) -> list[str]:
    """Words of the raw text that the page does not have, or not as often."""
    text = _TAG.sub("", re.sub(r"!\[\]\([^)]*\)", "", page.text))
    letters = "".join(re.findall(r"[^\W\d_]", html.unescape(html.unescape(text))))
    return [word for word, count in outside_of_tags(raw).items() if letters.count(word) < count]


@pytest.mark.parametrize("name", NAMES)
def test_a_cut_sample_keeps_what_stands_outside_of_tags(name: str) -> None:
    raw = sample(name)
    for end in range(len(raw) + 1):
        assert not lost(raw[:end], converted(raw[:end], name)), raw[:end]


def mutated(raw: str, draw: random.Random) -> str:
    """A sample with something cut out, doubled, swapped or strewn in."""
    strewn = [
        "<|",
        "|>",
        "<|ref|>",
        "<|/det|>",
        "[[1, 2,",
        "]]",
        "$",
        "\\(",
        "\\]",
        "<td>",
        "</table>",
        "&lt;",
        "|",
        "`",
    ]
    for _ in range(draw.randint(1, 4)):
        at, length = draw.randrange(len(raw) + 1), draw.randrange(1, 40)
        piece = draw.choice(["", raw[at : at + length] * 2, draw.choice(strewn), raw[: draw.randrange(60)]])
        raw = raw[:at] + piece + raw[at + draw.choice([0, 0, length]) :]
    return raw


@pytest.mark.parametrize("name", NAMES)
def test_a_mutated_sample_keeps_what_stands_outside_of_tags(name: str) -> None:
    draw = random.Random(name)
    for _ in range(200):
        raw = mutated(sample(name), draw)
        for style in (MarkdownStyle(), MarkdownStyle("markdown", "latex", True, True), MarkdownStyle("markdown")):
            page = converted(raw, name, style)
            assert not lost(raw, page), raw
            assert not re.search(r"<\|/?(?:ref|det)\|>|<!--(?! picture not kept)|\n{3}", page.text)
