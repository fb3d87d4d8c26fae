"""Raw model text to markdown and boxes."""

from __future__ import annotations

import re
import time

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rtprune_cli.markdown import MarkdownStyle, as_written, plain_markdown, to_markdown
from rtprune_cli.records import Box, Markdown

SIZE = (1998, 999)
relaxed = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])  # the machine may be busy


def convert(raw: str, tables: str = "html", page: int = 1, size: tuple[int, int] = SIZE) -> Markdown:
    return to_markdown(raw, size=size, page=page, style=MarkdownStyle(tables=tables))


def region(label: str, *boxes: tuple[int, int, int, int]) -> str:
    return f"<|ref|>{label}<|/ref|><|det|>{[list(box) for box in boxes]}<|/det|>"


def test_tags_are_dropped_and_the_text_after_them_stays() -> None:
    raw = f"{region('title', (10, 20, 30, 40))}\n# Title\n\n{region('text', (1, 2, 3, 4))}\nBody"
    assert convert(raw).text == "# Title\n\nBody"


def test_boxes_are_scaled_to_page_pixels() -> None:
    assert convert(region("title", (10, 20, 999, 40))).boxes == [Box("title", (20, 20, 1998, 40))]


def test_image_boxes_become_numbered_crops() -> None:
    raw = f"{region('image', (0, 0, 10, 10), (20, 20, 30, 30))}\nbetween\n{region('image', (40, 1, 90, 9))}"
    result = convert(raw, page=12)
    links = [f"![](images/page-0012-{n}.png)" for n in (1, 2, 3)]
    assert result.text == f"{links[0]}\n\n{links[1]}\n\nbetween\n\n{links[2]}"
    assert list(result.crops.values()) == [(0, 0, 20, 10), (40, 20, 60, 30), (80, 1, 180, 9)]
    assert len(result.boxes) == 3


def test_repeated_image_box_is_one_crop() -> None:
    result = convert(region("image", (0, 0, 10, 10)) * 300)
    assert len(result.crops) == 1
    assert result.text.count("page-0001-1.png") == 300


def test_a_box_that_comes_again_within_some_pixels_is_one_crop() -> None:
    result = convert("".join(region("image", (100 + shift, 100, 400, 500 + shift)) for shift in (0, 1, 2)))
    assert len(result.crops) == 1
    assert len(convert("".join(region("image", (100, 100, 400, 500 + 9 * n)) for n in range(3))).crops) == 3


def test_pictures_beyond_a_hundred_are_named_and_not_cropped() -> None:
    result = convert("".join(region("image", (n, n, n + 20, n + 20)) for n in range(0, 900, 5)))
    assert (len(result.crops), result.left_out) == (100, 80)
    assert result.text.count("<!-- picture not kept: ") == 80


@pytest.mark.parametrize(
    ("coordinates", "box"),
    [
        ("[[900, 900, 5000, 1000]]", (1800, 900, 1998, 999)),
        ("[[-5, 0, 10, 10]]", (0, 0, 20, 10)),
        ("[[30, 40, 10, 20]]", (20, 20, 60, 40)),
        ("[1,2,3,4]", (2, 2, 6, 4)),
        ("[[ 1.9 , 2 , 3.5 , 4 ]]", (2, 2, 6, 4)),
    ],
)
def test_boxes_are_clamped_and_ordered(coordinates: str, box: tuple[int, int, int, int]) -> None:
    assert convert(f"<|ref|>image<|/ref|><|det|>{coordinates}<|/det|>").boxes == [Box("image", box)]


@pytest.mark.parametrize(
    "coordinates",
    ["[[5, 5, 5, 9]]", "[[1000, 1, 2000, 5]]", "[]", "", "[[1,2,3]]", "[[1,2,3,4,5]]", "[[a,b,c,d]]", "1,2,3,4"],
)
def test_degenerate_and_malformed_boxes_are_dropped(coordinates: str) -> None:
    result = convert(f"<|ref|>image<|/ref|><|det|>{coordinates}<|/det|>\ntext")
    assert result.boxes == []
    assert result.crops == {}
    assert result.text.endswith("text")
    assert "![]" not in result.text


def test_coordinates_are_never_evaluated() -> None:
    result = convert("<|ref|>image<|/ref|><|det|>[[__import__('os').system('false'),1,2,3]]<|/det|>")
    assert result.boxes == []


def test_text_that_is_no_word_of_layout_is_text_of_the_page() -> None:
    result = convert(f"{region('Ferry times', (1, 1, 5, 5))}\n{region('page_header', (1, 6, 5, 9))}Monday")
    assert [(block.label, block.text) for block in result.blocks] == [
        ("text", "Ferry times"),
        ("page_header", "Monday"),
    ]
    assert result.text == "Ferry times\n\nMonday"


def test_crop_names_come_from_numbers_only() -> None:
    result = convert(region("../../image", (1, 1, 5, 5)) + region("image", (1, 1, 5, 5)))
    assert list(result.crops) == ["page-0001-1.png"]


@pytest.mark.parametrize(
    ("raw", "text"),
    [
        ("before <|ref|>text<|/ref|> after", "before\n\nafter"),
        ("before <|ref|>visible words<|/ref|> after", "before visible words after"),
        ("before <|ref|>ima", "before"),
        ("before <|ref|>image<|/ref|><|det|>[[12, 34, 5", "before"),
        ("before <|det|>[[1,2,3,4]]<|/det|> after", "before  after"),
        ("<|ref|>text<|/ref|><|det|>[[1,2,3,4]]\nthe text", "the text"),
        ("a<|/ref|>b<|/det|>c<|/ref", "abc"),
        ("<|ref|><|ref|>text<|/ref|><|det|>[[1,2,3,4]]<|/det|>x", "x"),
        ("before <|ref|>image_foot", "before"),
        # As Unlimited-OCR writes
        ("before <|det|>tex", "before"),
        ("before <|det|>image_ca", "before"),
        ("before <|det|>text [1, 2, 3", "before"),
        ("before <|det|>text [10, 20, 300, 40]<|/d", "before"),
        ("<|det|>text [10, 20, 300, 40] the text", "the text"),
        ("<|det|>see [4] and [5", "see [4] and [5"),
    ],
)
def test_torn_tags_go_and_visible_text_stays(raw: str, text: str) -> None:
    assert convert(raw).text == text


@pytest.mark.parametrize("label", ["ref_text", "aside_text", "page_footnote", "phonetic", "a_word_of_tomorrow"])
def test_a_word_with_its_box_between_the_tags_is_a_label(label: str) -> None:
    """The form of Unlimited-OCR, in which text comes after the tag."""
    result = convert(f"<|det|>text [1, 2, 30, 40]<|/det|>one\n<|det|>{label} [10, 20, 30, 40]<|/det|>two")
    assert result.text == "one\n\ntwo"
    assert [(block.label, block.text) for block in result.blocks] == [("text", "one"), (label, "two")]
    assert result.boxes[1] == Box(label, (20, 20, 60, 40))


@pytest.mark.parametrize(
    "token", ["<|grounding|>", "<｜end▁of▁sentence｜>", "<｜begin▁of▁sentence｜>", "<｜▁pad▁｜>", "<|User|>"]
)
def test_special_tokens_are_removed(token: str) -> None:
    assert convert(f"a{token}b").text == "ab"


def test_nested_special_tokens_do_not_reappear() -> None:
    raw = "<|d" * 50 + "<|det|>" + "et|>" * 50
    assert "<|det|>" not in convert(raw).text


def test_ordinary_angle_brackets_and_bars_stay() -> None:
    assert convert("a <| b |> c, x < y, |v|").text == "a <| b |> c, x < y, |v|"


@pytest.mark.parametrize("printed", ["<|im_start|>user", "<|v|>", "a <|b", "<stdio.h>", "List<String> x", "<PAGE>"])
def test_printed_text_that_looks_like_a_tag_shows_its_letters(printed: str) -> None:
    assert convert(f"{region('text', (1, 1, 5, 5))}\n{printed}").text == printed.replace("<", "&lt;")


@pytest.mark.parametrize(
    "coordinates", ["[[348: 400, 978, 400]]", "[[348，400，978，500]]", "[[348, 400, 978, 500]] x", "none", "[[1, 2"]
)
def test_what_a_closed_box_tag_holds_goes_whole(coordinates: str) -> None:
    assert convert(f"<|ref|>text<|/ref|><|det|>{coordinates}<|/det|>\nThe text").text == "The text"


@pytest.mark.parametrize("coordinates", ["[[100: 200, 300, 400]]", "[[100，200，300，400]]", "[[100 200 300 400]]"])
def test_a_box_is_read_through_stray_characters(coordinates: str) -> None:
    page = convert(f"<|ref|>text<|/ref|><|det|>{coordinates}<|/det|>\nx", size=(999, 999))
    assert page.blocks[0].box == (100, 200, 300, 400)


def test_colon_equals_are_written_as_text() -> None:
    assert convert(r"a \coloneqq b \eqqcolon c").text == "a := b =: c"


def test_newlines_are_collapsed_and_the_ends_trimmed() -> None:
    assert convert("\n\n a\r\n\n\n\n\nb \n").text == "a\n\nb"


def test_page_markers_cannot_be_forged() -> None:
    raw = "<!-- page 2 --><table><tr><td>&lt;!-- page 3 --&gt;</td></tr></table>"
    assert "<!--" not in convert(raw, tables="markdown").text


def test_control_characters_and_surrogates_are_removed() -> None:
    text = convert("a\x1b[31mb\x00\ud800c\td").text
    assert text == "a[31mb?c\td"
    assert text.encode()


# --- Tables

SIMPLE = "<table><tr><td>a</td><td>b</td></tr><tr><td>1</td><td></td></tr></table>"


def test_tables_stay_html_unless_asked() -> None:
    assert convert(SIMPLE).text == SIMPLE


def test_simple_table_becomes_a_pipe_table() -> None:
    result = convert(f"before\n{SIMPLE}after", tables="markdown").text
    assert result == "before\n\n| a | b |\n| --- | --- |\n| 1 |  |\n\nafter"


def test_pipes_entities_and_formulas_survive_in_cells() -> None:
    first = r"<tr><td>a|b</td><td>&lt;i&gt; $x_1*y_2$ \(z\)</td></tr>"
    second = "<tr><td>H<sub>2</sub>O</td><td>p < 5</td></tr>"
    text = convert(f"<table>{first}{second}</table>", tables="markdown").text
    assert text.splitlines()[0] == r"| a\|b | &lt;i&gt; $x_1*y_2$ $z$ |"
    assert text.splitlines()[2] == "| H<sub>2</sub>O | p < 5 |"


def test_head_and_body_and_bold_are_understood() -> None:
    html = '<table border="1"><thead><tr><th>a</th></tr></thead><tbody><tr><td><b>1</b></td></tr></tbody></table>'
    assert convert(html, tables="markdown").text == "| a |\n| --- |\n| **1** |"


@pytest.mark.parametrize(
    "html",
    [
        '<table><tr><td colspan="2">a</td></tr><tr><td>1</td><td>2</td></tr></table>',
        "<table><tr><td>a</td></tr><tr><td>1</td><td>2</td></tr></table>",
        "<table><tr><td><table><tr><td>x</td></tr></table></td></tr></table>",
        "<table><tr><td>a<td>b</tr></table>",
        "<table>stray<tr><td>a</td></tr></table>",
        "<table><tr><td><ul><li>x</li></ul></td></tr></table>",
        r"<table><tr><td>\|x\|</td></tr></table>",
        "<table></table>",
        "<table><tr></tr></table>",
        "<table><tr><td>" + "<b>" * 50 + "x" + "</b>" * 50 + "</td></tr></table>",
        "<table><thead><tr><th>a</th></tr><tr><th>b</th></tr></thead><tr><td/></tr></table>",
    ],
)
def test_other_tables_stay_html(html: str) -> None:
    assert convert(html, tables="markdown").text == html


def test_span_of_one_is_no_span() -> None:
    assert convert('<table><tr><td colspan="1">a</td></tr></table>', tables="markdown").text.startswith("| a |")


@pytest.mark.parametrize(
    "cut",
    ["<table><tr><td>a</td><td>b", "<table><tr><td>a</td><td>b</t", "<table><tr><td>a</td><td>b</td><td row",
     "<table><tr><td>a</td><td>b<sub", "<table><tbody><tr><td>a</td><td><i>b"],
)  # fmt: skip
def test_a_cut_table_is_closed(cut: str) -> None:
    text = convert(cut).text
    stack: list[str] = []
    for closing, name in re.findall(r"<(/?)([a-z]+)[^<>]*>", text):
        assert not closing or stack.pop() == name
        stack += [] if closing else [name]
    assert not stack and text.startswith("<table>") and text.endswith("</table>")


def test_a_sign_of_less_at_the_end_of_a_cut_table_stays() -> None:
    assert convert("<table><tr><td>p < 5 and q <").text == "<table><tr><td>p < 5 and q <</td></tr></table>"


def test_a_cut_fence_is_closed() -> None:
    assert convert("```python\na = 1").text == "```python\na = 1\n```"


def test_line_breaks_stay_in_pipe_cells() -> None:
    html = "<table><tr><td>a<br/>b</td><td>c</td></tr><tr><td>1</td><td>2<br>3</td></tr></table>"
    assert convert(html, tables="markdown").text.splitlines() == ["| a<br>b | c |", "| --- | --- |", "| 1 | 2<br>3 |"]


def test_what_is_escaped_twice_is_once() -> None:
    table = "<table><tr><td>t &amp;gt; 0 &amp;amp; R&amp;D</td></tr></table>"
    assert convert(table).text == "<table><tr><td>t &gt; 0 &amp; R&amp;D</td></tr></table>"


# --- Formulas


@pytest.mark.parametrize(
    ("raw", "dollars"),
    [
        (r"a \( x_1 \) b", "a $x_1$ b"),
        (r"\[x\]", "$$x$$"),
        ("\\[\na \\\\[2pt]\n\nb\n\\]", "$$\na \\\\[2pt]\nb\n$$"),
        (r"\[E = mc^2 \qquad (A.3)\]", r"$$E = mc^2 \tag{A.3}$$"),
        (r"\[x \quad \text{(4a)}\]", r"$$x \tag{4a}$$"),
        (r"\[f(x) \quad (x > 0)\]", r"$$f(x) \quad (x > 0)$$"),
        (r"\[\begin{align}a&=b\end{align} \quad (3)\]", r"$$\begin{align}a&=b\end{align} \quad (3)$$"),
        ("It costs $5 and then $10.", r"It costs \$5 and then \$10."),
        ("It costs $5.", "It costs $5."),
        (r"It costs $5 for \(x\).", r"It costs \$5 for $x$."),
        ("`$HOME` and `\\(x\\)`", "`$HOME` and `\\(x\\)`"),
        ("```\n\\(x\\) $a $b\n```", "```\n\\(x\\) $a $b\n```"),
        ("It is $x^2$ and $$y$$", "It is $x^2$ and $$y$$"),
        (r"\(a<b\)", "$a< b$"),
        (r"\(\)", ""),
    ],
)  # fmt: skip
def test_formulas_stand_between_dollars(raw: str, dollars: str) -> None:
    assert convert(raw).text == dollars


@pytest.mark.parametrize(
    ("raw", "latex"),
    [
        (r"\[x = y\] (18)", r"x = y \tag{18}"),
        (r"\(x = y\)", "x = y"),
        (r"\frac{a}{b} = c", r"\frac{a}{b} = c"),
        (r"\[x\] and \[y\]", None),
        ("see above", None),
    ],
)
def test_a_region_that_is_a_formula_is_displayed(raw: str, latex: str | None) -> None:
    (block,) = convert(f"{region('equation', (1, 1, 9, 9))}\n{raw}").blocks
    assert block.latex == latex and (latex is None) == (block.text == raw)


def test_what_is_found_twice_has_two_boxes_and_stands_once() -> None:
    raw = region("the teacher", (0, 0, 10, 10), (20, 20, 30, 30))
    page = to_markdown(raw, size=(999, 999), page=1, labels=False)
    assert page.text == "the teacher"
    assert [(block.text, block.box) for block in page.blocks] == [
        ("the teacher", (0, 0, 10, 10)), ("the teacher", (20, 20, 30, 30)),
    ]  # fmt: skip


def test_formulas_stay_as_the_model_writes_them_when_asked() -> None:
    raw = r"a \( x \) costs $5 and $6" + "\n\n" + r"\[y \quad (1)\]"
    assert to_markdown(raw, size=SIZE, page=1, style=MarkdownStyle(math="latex")).text == raw


def test_formulas_of_an_html_table_stay() -> None:
    table = r"<table><tr><td rowspan=2>\(x\) $5 $6</td></tr></table>"
    assert convert(table).text == table


def test_bars_of_a_formula_end_no_cell() -> None:
    table = r"<table><tr><td>\(|x| \| y\)</td><td>b</td></tr></table>"
    assert convert(table, tables="markdown").text.splitlines()[0] == r"| $\vert x\vert \Vert y$ | b |"


def test_benchmarks_score_what_the_model_wrote() -> None:
    raw = f"{region('text', (1, 1, 9, 9))}\nIf \\(x < y\\) <|v|>\n\n\n<center>Fig. 1</center>"
    assert as_written("&lt;|im_start|> a &lt; b") == "<|im_start|> a &lt; b"
    assert as_written(raw) == "If \\(x < y\\) <|v|>\n\n<center>Fig. 1</center>"


# --- Captions


def test_a_caption_goes_below_the_nearer_of_two_tables() -> None:
    table = "<table><tr><td>{}</td></tr></table>"
    raw = "\n".join([
        region("table", (0, 0, 900, 100)), table.format(1), region("table_caption", (0, 480, 900, 495)), "Table 2",
        region("table", (0, 500, 900, 700)), table.format(2), region("table_footnote", (0, 710, 900, 720)), "Note",
    ])  # fmt: skip
    assert [block.html or block.text for block in convert(raw).blocks] == [
        table.format(1), table.format(2), "Table 2", "Note",
    ]  # fmt: skip


def test_a_caption_without_a_picture_stays_where_it_is() -> None:
    raw = f"{region('text', (0, 0, 9, 9))}\na\n{region('image_caption', (0, 9, 9, 19))}\n<center>b</center>\n\nc"
    assert convert(raw).text == "a\n\nb\n\nc"


@pytest.mark.parametrize("label", ["image", "figure", "chart"])
def test_pictures_of_every_kind_are_cropped(label: str) -> None:
    assert len(convert(region(label, (0, 0, 90, 90))).crops) == 1


# --- Repairs


def repaired(raw: str) -> str:
    return to_markdown(raw, size=SIZE, page=1, style=MarkdownStyle(repair_hyphens=True, repair_lists=True)).text


@pytest.mark.parametrize(
    ("raw", "text"),
    [
        ("a high- quality scan of 2025- 02- 18", "a high-quality scan of 2025-02-18"),
        ("double- and triple- annotated", "double- and triple-annotated"),
        ("Haupt- und Nebensatz", "Haupt- und Nebensatz"),
        (r"\(a- b\) and `x- y`", r"$a- b$ and `x- y`"),
        ("- one ends.- Two begins- Three begins", "- one ends.\n- Two begins\n- Three begins"),
        ("- Uses Retrieval- Augmented text", "- Uses Retrieval-Augmented text"),
        ("No list.- It stays", "No list.- It stays"),
    ],
)
def test_habits_are_undone_when_asked(raw: str, text: str) -> None:
    assert repaired(raw) == text
    assert convert(raw).text == raw.replace("\\(", "$").replace("\\)", "$")


# --- Hostile text

PIECES = [
    "<|ref|>", "<|/ref|>", "<|det|>", "<|/det|>", "image", "text", "[[1,2,3,4]]", "[[999,", "-9", "]", "<|d", "et|>",
    "<table>", "</table>", "<tr>", "</tr>", "<td>", "</td>", '<td rowspan="2">', "|", "\\|", "\n", " ", "<b>", "</b>",
    "<br>", "&lt;", "<!--", "<|grounding|>", "<｜end▁of▁sentence｜>", "a",
]  # fmt: skip


@relaxed
@given(
    st.lists(st.sampled_from(PIECES) | st.text(max_size=5), max_size=40).map("".join),
    st.tuples(st.integers(1, 3000), st.integers(1, 3000)),
    st.sampled_from(["html", "markdown"]),
)
def test_any_text_is_converted(raw: str, size: tuple[int, int], tables: str) -> None:
    result = convert(raw, tables=tables, size=size)
    assert not any(tag in result.text for tag in ("<|det|>", "<|/det|>", "<|ref|>", "<!--", "\n\n\n"))
    for left, top, right, bottom in [*result.crops.values(), *(box.box for box in result.boxes)]:
        assert 0 <= left < right <= size[0]
        assert 0 <= top < bottom <= size[1]
    assert result.text == result.text.strip()
    result.text.encode()


MARKS = [
    "<|ref|>", "<|/ref|>", "<|det|>", "<|/det|>", "<|ref|>image<|/ref|>", "<|ref|>table<|/ref|>",
    "<|ref|>title<|/ref|>", "<|ref|>image_caption<|/ref|>", "<|ref|>equation<|/ref|>",
    "<|det|>[[1, 2, 3, 4]]<|/det|>", "[[1,2,3,4]]", "[[9,", "<table>", "</table>", "<tr>", "</tr>", "<td>", "</td>",
    '<td rowspan="2">', "<center>", "</center>", "<br>", "<|", "|>", "|", "\n", "\n\n", " ", "# ", "- ", "$", "$$",
    "\\(", "\\)", "\\[", "\\]", "\\quad (1)", "`", "```\n", "&amp;", "<!--", "-->",
]  # fmt: skip


@relaxed
@given(st.lists(st.sampled_from([*MARKS, *[""] * len(MARKS)]), max_size=30), st.sampled_from(["html", "markdown"]))
def test_no_word_outside_of_tags_is_lost(marks: list[str], tables: str) -> None:
    raw = "".join(mark or f" word{number}s " for number, mark in enumerate(marks))
    outside = re.sub(r"<\|det\|>((?!<\|/?(?:ref|det)\|>).)*<\|/det\|>", "", raw, flags=re.DOTALL)
    for style in (MarkdownStyle(tables), MarkdownStyle(tables, "latex", True, True)):  # type: ignore[arg-type]
        page = to_markdown(raw, size=SIZE, page=1, style=style)
        in_blocks = " ".join(block.html or block.latex or block.text or "" for block in page.blocks)
        for word in re.findall(r"word\d+s", outside):
            assert word in page.text and word in in_blocks


@relaxed
@given(st.lists(st.lists(st.text("ab|*_ <&", max_size=4), min_size=2, max_size=2), min_size=1, max_size=4))
def test_pipe_tables_have_every_row_and_cell(rows: list[list[str]]) -> None:
    html = "".join("<tr>" + "".join(f"<td>{cell}</td>" for cell in row) + "</tr>" for row in rows)
    text = convert(f"<table>{html}</table>", tables="markdown").text
    if not text.startswith("<table>"):
        lines = text.splitlines()
        assert len(lines) == len(rows) + 1
        assert all(line.replace("\\|", "").count("|") == 3 for line in lines)


@pytest.mark.slow
@pytest.mark.parametrize(
    "piece",
    [
        "<|ref|>", "<|ref|>image<|/ref|><|det|>[[", "<|det|>[[1,2,3,", "[", "<|", "<|d<|", "<table>", "<table",
        "<table><tr>", "<table><tr><td>", "<td><b>", " ", "\n ", "<!--", "&lt;", "<｜", "|", "![](images/", "1,",
        "<|ref|>image<|/ref|><|det|>[[1,2,3,4]]<|/det|>", SIMPLE,
    ],
)  # fmt: skip
def test_time_grows_with_the_text_and_not_faster(piece: str) -> None:
    raw = piece * (100_000 // len(piece))
    start = time.perf_counter()
    convert(raw, tables="markdown")
    convert("<|det|>" + raw + "<table><tr><td>" + raw, tables="markdown")
    convert("<table><tr><td>" + raw + "</td></tr></table>", tables="markdown")
    assert time.perf_counter() - start < 10  # quadratic scans of 100,000 characters take minutes


def test_text_of_a_pdf_forges_neither_markers_nor_tags() -> None:
    text = plain_markdown("a < b\x00 <!-- page 2 --> <script>x</script> <|ref|> 1<2").text
    assert text == "a < b &lt;!-- page 2 --> &lt;script>x&lt;/script> &lt;|ref|> 1<2"
