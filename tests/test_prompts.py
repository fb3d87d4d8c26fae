"""What the model is asked with, and how its tokens become text."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from rtprune_cli.errors import UsageError
from rtprune_cli.markdown import to_markdown
from rtprune_cli.model import OcrModel
from rtprune_cli.model.adapters.deepseek_ocr import ADAPTER
from rtprune_cli.options import TASKS, OcrOptions


@pytest.mark.parametrize(
    ("prompt", "texts"),
    [
        ("markdown", ("", "\n<|grounding|>Convert the document to markdown.")),
        ("ocr", ("", "\n<|grounding|>OCR this image.")),
        ("free", ("", "\nFree OCR.")),
        ("figure", ("", "\nParse the figure.")),
        ("describe", ("", "\nDescribe this image in detail.")),
        ("locate the  title", ("", "\nLocate <|ref|>the  title<|/ref|> in the image.")),
        ("What is the date?", ("", "\nWhat is the date?")),
        ("<image>\nFree OCR.", ("", "\nFree OCR.")),
        ("Look: <image> What is it?", ("Look: ", " What is it?")),
    ],
)
def test_a_prompt_is_a_task_or_a_text_of_ones_own(prompt: str, texts: tuple[str, str]) -> None:
    assert OcrOptions(prompt=prompt).prompt == prompt
    assert ADAPTER.prompt_texts(prompt) == texts


@pytest.mark.parametrize(
    ("prompt", "said"),
    [
        ("markdwon", "Did you mean markdown?"),
        ("Free", "Did you mean free?"),
        ("table", "Use markdown, ocr"),
        ("locate", "lacks what to look for"),
        ("locate ", "lacks what to look for"),
        ("", "empty"),
    ],
)
def test_a_word_that_is_no_task_is_told_apart_from_a_text(prompt: str, said: str) -> None:
    with pytest.raises(UsageError, match=said.replace("?", r"\?")):
        OcrOptions(prompt=prompt)


@pytest.mark.parametrize("prompt", ["提取文字", "Date?", "two words"])
def test_what_is_no_english_word_is_a_text_of_ones_own(prompt: str) -> None:
    assert OcrOptions(prompt=prompt).prompt == prompt


def test_every_task_has_its_words() -> None:
    assert all(ADAPTER.prompt_texts(task)[1] for task in TASKS if task != "locate")


def test_the_report_has_the_prompt_and_warns_of_one_that_was_not_learnt(
    make_pdf: Callable[..., Path], rtprune: Any, tmp_path: Path
) -> None:
    flags = ["--model", "tiny", "--max-new-tokens", "3", "--prompt", "What is the date?", "-o", tmp_path / "out"]
    result = rtprune("ocr", make_pdf("one", "two"), *flags)
    assert result.stderr.count("tiny was not trained for this prompt, only for free, markdown") == 1
    assert (tmp_path / "out" / "report.jsonl").read_text().count('"prompt":"What is the date?"') == 2


# --- Tokens to text


def ids(model: OcrModel, *pieces: str) -> list[int]:
    """Token ids: a piece that is a special token is that token, all others are printed."""
    found = []
    for piece in pieces:
        special = model.tokenizer.token_to_id(piece)
        if special is not None:
            found.append(special)
        else:
            found += [i for letter in piece for i in model.tokenizer.encode(letter, add_special_tokens=False).ids]
    return found


@pytest.fixture
def printing(tiny: OcrModel) -> OcrModel:
    """The bundled model with letters that its charset lacks."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers

    specials = [
        "<｜end▁of▁sentence｜>",
        "<image>",
        "<|ref|>",
        "<|/ref|>",
        "<|det|>",
        "<|/det|>",
        "<|grounding|>",
        "<td>",
    ]
    letters = pre_tokenizers.ByteLevel.alphabet()
    tokenizer = Tokenizer(models.BPE({letter: number for number, letter in enumerate(sorted(letters))}, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(specials)
    model = OcrModel(**{name: getattr(tiny, name) for name in tiny.__dataclass_fields__})
    object.__setattr__(model, "tokenizer", tokenizer)
    return model


def test_the_checkpoints_special_tokens_go_and_its_tags_stay(printing: OcrModel) -> None:
    tokens = ids(
        printing, "<|ref|>", "text", "<|/ref|>", "<|grounding|>", "<image>", "a", "<td>", "<｜end▁of▁sentence｜>"
    )
    assert printing.decode_text(tokens) == "<|ref|>text<|/ref|>a<td>"


@pytest.mark.parametrize(
    "printed", ["<|im_start|>", "<|v|>", "<|ref|>x<|/ref|>", "<|det|>[[1,2,3,4]]<|/det|>", "a <|b", "<｜x｜>"]
)
def test_printed_text_that_looks_like_a_special_token_is_escaped(printing: OcrModel, printed: str) -> None:
    tokens = ids(printing, "<|ref|>", "text", "<|/ref|>", "<|det|>", "[[1, 2, 3, 4]]", "<|/det|>")
    raw = printing.decode_text([*tokens, *ids(printing, *printed)])
    page = to_markdown(raw, size=(999, 999), page=1)
    assert page.text == printed.replace("<|", "&lt;|").replace("<｜", "&lt;｜")
    assert [(block.label, block.text) for block in page.blocks] == [("text", printed)]


def test_letters_of_several_bytes_are_whole(printing: OcrModel) -> None:
    tokens = ids(printing, "<|ref|>", "字<|v|>", "<|/ref|>", "é字")
    assert printing.decode_text(tokens) == "<|ref|>字&lt;|v|><|/ref|>é字"


def test_confidences_are_means_from_one_opening_to_the_next(printing: OcrModel) -> None:
    logprobs = [-1.0, -9.0, -9.0, -9.0, -2.0, -4.0, -8.0]
    tokens = ids(printing, "a", "<|ref|>", "x", "<|/ref|>", "bc", "<|ref|>")
    assert printing.confidences(tokens, logprobs) == [-1.0, -3.0, -8.0]
    assert printing.confidences(tokens[1:], logprobs[1:]) == [None, -3.0, -8.0]
