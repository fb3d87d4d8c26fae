"""Raw model text to markdown and boxes."""

from __future__ import annotations

import time

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rtprune_cli.markdown import plain_markdown, to_markdown
from rtprune_cli.records import Box, Markdown

SIZE = (1998, 999)
relaxed = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])  # the machine may be busy


def convert(raw: str, tables: str = "html", page: int = 1, size: tuple[int, int] = SIZE) -> Markdown:
    return to_markdown(raw, size=size, page=page, tables=tables)


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
    assert result.text == f"{links[0]}\n{links[1]}\nbetween\n{links[2]}"
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


def test_labels_are_stripped_and_cut() -> None:
    label = convert(region(f"  a\nb{'x' * 200} ", (1, 1, 5, 5))).boxes[0].label
    assert label.startswith("a bx")
    assert len(label) == 64


def test_crop_names_come_from_numbers_only() -> None:
    result = convert(region("../../image", (1, 1, 5, 5)) + region("image", (1, 1, 5, 5)))
    assert list(result.crops) == ["page-0001-1.png"]


@pytest.mark.parametrize(
    ("raw", "text"),
    [
        ("before <|ref|>text<|/ref|> after", "before  after"),
        ("before <|ref|>visible words<|/ref|> after", "before visible words after"),
        ("before <|ref|>ima", "before"),
        ("before <|ref|>image<|/ref|><|det|>[[12, 34, 5", "before"),
        ("before <|det|>[[1,2,3,4]]<|/det|> after", "before  after"),
        ("<|ref|>text<|/ref|><|det|>[[1,2,3,4]]\nthe text", "the text"),
        ("a<|/ref|>b<|/det|>c<|/ref", "abc"),
        ("<|ref|><|ref|>text<|/ref|><|det|>[[1,2,3,4]]<|/det|>x", "x"),
    ],
)
def test_torn_tags_go_and_visible_text_stays(raw: str, text: str) -> None:
    assert convert(raw).text == text


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
    assert text.splitlines()[0] == r"| a\|b | &lt;i&gt; $x_1*y_2$ \(z\) |"
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
        "<table><tr><td><script>x</script></td></tr></table>",
        r"<table><tr><td>\|x\|</td></tr></table>",
        "<table></table>",
        "<table><tr></tr></table>",
        "<table><tr><td>unfinished",
        "<table><tr><td>" + "<b>" * 50 + "x" + "</b>" * 50 + "</td></tr></table>",
        "<table><thead><tr><th>a</th></tr><tr><th>b</th></tr></thead><tr><td/></tr></table>",
    ],
)
def test_other_tables_stay_html(html: str) -> None:
    assert convert(html, tables="markdown").text == html


def test_span_of_one_is_no_span() -> None:
    assert convert('<table><tr><td colspan="1">a</td></tr></table>', tables="markdown").text.startswith("| a |")


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
    text = plain_markdown("a < b\x00 <!-- page 2 --> <script>x</script> <|ref|> 1<2")
    assert text == "a < b &lt;!-- page 2 --> &lt;script>x&lt;/script> &lt;|ref|> 1<2"
