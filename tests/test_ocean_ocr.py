"""Ocean-OCR's evaluation data and metrics."""

from __future__ import annotations

import json
import logging
import random
from pathlib import Path
from typing import Any

import pytest

from rtprune_cli.bench.accuracy.datasets.ocean_ocr import open_ocean_ocr
from rtprune_cli.bench.scoring.ocean_ocr import ImageTruth, comparable, edit, has_meteor, score_image
from rtprune_cli.errors import InputError, UsageError

pytest.importorskip("nltk", reason="the extra [bench] is not installed")
pytest.importorskip("jieba", reason="the extra [bench] is not installed")


def entry(image: str, text: str) -> dict[str, Any]:
    human = {"from": "human", "value": "<image>\nOCR this image:"}
    return {"image": image, "conversations": [human, {"from": "gpt", "value": text}]}


def write_set(root: Path, name: str, texts: dict[str, str]) -> None:
    (root / name).mkdir(parents=True)
    (root / f"{name}.json").write_text(
        json.dumps([entry(image, text) for image, text in texts.items()], ensure_ascii=False), encoding="utf-8"
    )
    for image in texts:
        (root / name / image).write_bytes(b"")


def values(text: str, kind: str, prediction: str | None) -> dict[str, float]:
    return {
        name: part.total / part.weight
        for name, (part,) in score_image(ImageTruth(text, kind), prediction).scores.items()
    }


def test_sets_become_samples_with_their_groups(tmp_path: Path) -> None:
    write_set(tmp_path / "OCR_eval_data", "document_en", {"a.png": " some text"})
    write_set(tmp_path / "OCR_eval_data", "scene_text_rec", {"a.png": "STOP"})
    dataset = open_ocean_ocr(tmp_path)
    assert [sample.id for sample in dataset.samples] == ["document_en/a", "scene_text_rec/a"]
    assert dataset.samples[0].source == tmp_path / "OCR_eval_data" / "document_en" / "a.png"
    assert dataset.samples[0].groups == {"set": "document_en", "language": "english"}
    assert dataset.headline == ("edit",)
    names = {metric.name for metric in dataset.metrics}
    assert names == set(values("a", "document_en", "a")) and ("meteor" in names) == has_meteor()


def test_images_that_are_not_there_are_left_out_with_a_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write_set(tmp_path, "handwritten_en", {"a.png": "one", "b.png": "two"})
    (tmp_path / "handwritten_en" / "b.png").unlink()
    with caplog.at_level(logging.WARNING, "rtprune"):
        assert len(open_ocean_ocr(tmp_path).samples) == 1
    assert "images that are not there are left out: 1" in caplog.text
    assert "sets of Ocean-OCR that are not there: document_en, document_zh, handwritten_zh" in caplog.text
    assert len(open_ocean_ocr(tmp_path, images=False).samples) == 2


def test_a_folder_without_the_sets_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="does not exist"):
        open_ocean_ocr(tmp_path / "none")
    with pytest.raises(InputError, match="none of the sets"):
        open_ocean_ocr(tmp_path)
    write_set(tmp_path, "handwritten_en", {"a.png": "one"})
    (tmp_path / "handwritten_en" / "a.png").unlink()
    with pytest.raises(InputError, match="no image of Ocean-OCR"):
        open_ocean_ocr(tmp_path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{}", "is not a list of images"),
        ('[{"image": "a.png", "conversations": []}]', "entry 1 of .* has no image with a text"),
        (json.dumps([entry("../a.png", "text")]), "names no image inside the dataset"),
        ('[\n{"image": }]', "line 2 of .* is not valid JSON"),
    ],
)
def test_a_set_of_another_form_is_refused(tmp_path: Path, content: str, message: str) -> None:
    (tmp_path / "document_en.json").write_text(content)
    with pytest.raises(InputError, match=message):
        open_ocean_ocr(tmp_path)


def test_an_image_that_comes_twice_has_two_ids(tmp_path: Path) -> None:
    (tmp_path / "document_en.json").write_text(json.dumps([entry("a.png", "one"), entry("a.jpg", "two")]))
    samples = open_ocean_ocr(tmp_path, images=False).samples
    assert [sample.id for sample in samples] == ["document_en/a", "document_en/a_2"]


def test_documents_are_compared_without_markdown_and_line_ends() -> None:
    truth = " The title The text with $x_1$ here."
    got = values(truth, "document_en", "# The title\n\n**The text** with \\(x_1\\)\nhere.")
    assert got["edit"] == got["cer"] == got["wer"] == 0
    assert got["f_measure"] == got["precision"] == got["recall"] == 1
    assert got["bleu"] == pytest.approx(1)


def test_handwriting_and_scenes_are_compared_as_eval_py_does() -> None:
    assert comparable("a*b\nc", "handwritten_en") == "a b c"
    assert comparable("\\text{ZOO} (open),\nA-B，C", "scene_text_rec") == "A B C ZOO open"
    assert comparable("a*b (c)", "document_en") == "a*b (c)"


def test_precision_is_of_the_prediction_and_recall_of_the_truth() -> None:
    got = values("one two three four", "document_en", "one two five")
    assert got["precision"] == pytest.approx(2 / 3)
    assert got["recall"] == pytest.approx(1 / 2)
    assert got["f_measure"] == pytest.approx(4 / 7)


def test_a_page_without_prediction_or_without_a_common_word_scores_nothing() -> None:
    for prediction in (None, ""):
        got = values("some text", "document_en", prediction)
        assert got["edit"] == got["cer"] == 1
        assert got["f_measure"] == got["precision"] == got["recall"] == got["bleu"] == 0
    assert score_image(ImageTruth("a", "document_en"), None).notes == {"missing_pages": 1}
    assert edit("", "") == 0


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*n-gram overlaps")
@pytest.mark.filterwarnings("ignore:\\nThe hypothesis")
@pytest.mark.parametrize("alphabet", [["red", "green", "blue", "in", "a", "house"], list("中文字符识别很好")])
def test_metrics_are_nltks_of_the_right_sides(alphabet: list[str]) -> None:
    import nltk
    from nltk.metrics import f_measure, precision, recall
    from nltk.translate.bleu_score import sentence_bleu

    rng = random.Random(0)
    han = len(alphabet[0]) == 1
    for _ in range(10):
        truth, other = ([rng.choice(alphabet) for _ in range(rng.randint(8, 30))] for _ in range(2))
        prediction = truth[:6] + other
        expected, found = (("" if han else " ").join(part) for part in (truth, prediction))
        if han:
            import jieba

            truth, prediction = jieba.lcut(expected), jieba.lcut(found)
        got = values(expected, "document_zh" if han else "document_en", found)
        assert got["f_measure"] == pytest.approx(f_measure(set(truth), set(prediction)))
        assert got["precision"] == pytest.approx(precision(set(truth), set(prediction)))
        assert got["recall"] == pytest.approx(recall(set(truth), set(prediction)))
        assert got["bleu"] == pytest.approx(sentence_bleu([truth], prediction))
        assert got["edit"] == pytest.approx(nltk.edit_distance(expected, found) / max(len(expected), len(found)))
