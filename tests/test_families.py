"""DeepSeek-OCR-2 and Unlimited-OCR through the commands: what works, and what says that it cannot."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, get_args

import pytest
from checkpoints import make_checkpoint
from conftest import GOLDEN2, OCR2, UNLIMITED, command_line
from PIL import Image, ImageDraw
from safetensors.torch import load_file, save_file
from stubs import Says, writes

from rtprune_cli.bench.accuracy import timing
from rtprune_cli.bench.accuracy.datasets.base import Sample
from rtprune_cli.bench.accuracy.plan import AccuracyPlan
from rtprune_cli.bench.accuracy.reader import configured
from rtprune_cli.errors import ModelError, UsageError
from rtprune_cli.hub import checkpoint_folder
from rtprune_cli.model import Checkpoint, locate
from rtprune_cli.options import DecodeOptions, InputOptions, Method, ModelOptions, OcrOptions, PruneOptions
from rtprune_cli.views.grid import NO_PLACE

SLOW_FIXTURES = {"read"}  # what uses one of them is slow
FAMILIES = [OCR2, UNLIMITED]
SYNTHETIC = ("--dataset", "synthetic")
FAST = ("--mode", "side-768", "--workers", "0")  # the smallest view that both can see
# The same page in the two forms: label, box, content
PAGE = (
    ("title", "[100, 50, 900, 120]", "Größe"),
    ("image", "[100, 300, 500, 600]", ""),
    ("image_caption", "[100, 610, 500, 640]", "Bild 1"),
    ("table", "[100, 650, 900, 800]", "<table><tr><td>a</td><td>7</td></tr></table>"),
    ("page_number", "[480, 960, 520, 980]", "12"),
)
TEXTS = {
    OCR2: "".join(f"<|ref|>{label}<|/ref|><|det|>[{box}]<|/det|>\n{content}\n" for label, box, content in PAGE),
    UNLIMITED: "".join(f"<|det|>{label} {box}<|/det|>{content}\n" for label, box, content in PAGE),
}
MARKDOWN = "# Größe\n\n![](images/page-0001-1.png)\n\nBild 1\n\n{}\n\n12\n".format(
    "<table><tr><td>a</td><td>7</td></tr></table>"
)


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The small checkpoints."""
    root = tmp_path_factory.mktemp("families")
    return {name: make_checkpoint(GOLDEN2 / name / "checkpoint", root / name) for name in FAMILIES}


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A page of 1,000 x 1,000 pixels with two lines of ink."""
    image = Image.new("RGB", (1000, 1000), "white")
    for y in (60, 320):
        ImageDraw.Draw(image).rectangle((100, y, 500, y + 40), fill="black")
    path = tmp_path_factory.mktemp("page") / "page.png"
    image.save(path)
    return path


@dataclass(frozen=True)
class Read:
    """A run of `rtprune ocr --html --raw`: its family, its folder, what it said."""

    family: str
    root: Path
    said: str

    @property
    def report(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads((self.root / "page" / "page.report.json").read_bytes())
        return found


@pytest.fixture(scope="module", params=FAMILIES)
def read(
    request: pytest.FixtureRequest, folders: dict[str, Path], page: Path, tmp_path_factory: pytest.TempPathFactory
) -> Read:
    """The page read with recommended settings but for the mode, by a network that writes TEXTS."""
    root = tmp_path_factory.mktemp("read") / "out"
    with pytest.MonkeyPatch.context() as patch, command_line() as rtprune:
        writes(patch, [TEXTS[request.param]])
        found = rtprune("ocr", page, "--model", folders[request.param], *FAST, "--html", "--raw", "-o", root)
    assert found.exit_code == 0, found.output
    return Read(request.param, root, found.output)


def checkpoint(folders: dict[str, Path], name: str) -> Checkpoint:
    return locate(ModelOptions(model=str(folders[name]), device="cpu"))


# --- ocr -------------------------------------------------------------------------------------------------------------


def test_both_output_forms_become_one_page(read: Read) -> None:
    place = read.root / "page"
    assert (place / "page.md").read_text("utf-8").partition("-->\n")[2].strip() == MARKDOWN.strip()
    assert TEXTS[read.family].strip() in (place / "page.raw.txt").read_text("utf-8")
    (blocks,) = (found["blocks"] for found in json.loads((place / "page.json").read_bytes())["pages"])
    assert [block["label"] for block in blocks] == [label for label, _, _ in PAGE]
    assert [block["box"] for block in blocks] == [[n * 1000 // 999 for n in json.loads(box)] for _, box, _ in PAGE]
    assert all(block["confidence"] is not None and block["confidence"] <= 0 for block in blocks)
    assert Image.open(place / blocks[1]["crop"]).size == (400, 300)


def test_reports_say_the_settings_that_were_resolved(read: Read) -> None:
    settings = read.report["settings"]
    ours = {**settings["prune"], **settings["decode"], **settings["input"], **settings}
    best = {
        OCR2: {"ratio": 1.0, "dpi": 200, "max_new_tokens": 8192, "no_repeat_ngram": 30, "no_repeat_window": 90},
        UNLIMITED: {"ratio": "dynamic", "dpi": 300, "max_new_tokens": 32768, "no_repeat_ngram": 35,
                    "no_repeat_window": 128},
    }  # fmt: skip
    assert {name: ours[name] for name in best[read.family]} == best[read.family]
    assert (ours["mode"], ours["prompt"]) == ("side-768", "markdown")
    assert f"dpi</th><td>{ours['dpi']}<" in (read.root / "report.html").read_text("utf-8")
    (row,) = read.report["pages"]
    assert (row["merged"] == 0) == (read.family == OCR2)


def test_a_mode_that_the_authors_do_not_publish_is_warned_of(read: Read) -> None:
    known = {OCR2: "only for gundam", UNLIMITED: "only for base, gundam"}
    assert f"was not trained for mode side-768, {known[read.family]}" in read.said


def test_the_report_draws_no_token_that_has_no_place(read: Read) -> None:
    found = json.loads((read.root / "page" / "report" / "page-0001.json").read_bytes())
    assert [grid["kind"] for grid in found["grids"]] == ([] if read.family == OCR2 else ["global"])
    assert found["norms"] and found["stays"] and len(found["boxes"]) == len(PAGE)
    assert NO_PLACE in (read.root / "report.html").read_text("utf-8")  # hidden where there are grids


@pytest.mark.slow
def test_a_run_that_was_stopped_goes_on(
    folders: dict[str, Path], monkeypatch: pytest.MonkeyPatch, rtprune: Any, make_pdf: Any, tmp_path: Path
) -> None:
    run = ("ocr", make_pdf("one", "two"), "--model", folders[OCR2], *FAST, "--batch-size", "1", "-o", tmp_path / "o")
    with monkeypatch.context() as patch:
        writes(patch, ["one", Says("x", fault=KeyboardInterrupt())])  # type: ignore[arg-type]
        assert rtprune(*run).exit_code == 130
    networks = writes(monkeypatch, ["two"])
    found = rtprune(*run)
    assert found.exit_code == 0, found.output
    assert [len(network.prompts) for network in networks] == [1]
    written = (tmp_path / "o" / "doc" / "doc.md").read_text("utf-8")
    assert written.index("one") < written.index("two")


@pytest.mark.parametrize(("given", "expected"), [(None, None), ("auto", None), ("dynamic", "dynamic"), (0.5, 0.5)])
def test_a_ratio_that_is_given_wins(folders: dict[str, Path], given: Any, expected: Any) -> None:
    for name, best in ((OCR2, 1.0), (UNLIMITED, "dynamic")):
        resolved = checkpoint(folders, name).resolve(OcrOptions(prune=PruneOptions(ratio=given)))
        assert resolved.prune.ratio == (best if expected is None else expected)


def test_each_model_knows_the_modes_and_tasks_that_its_authors_publish(folders: dict[str, Path]) -> None:
    found = {name: checkpoint(folders, name) for name in FAMILIES}
    assert {name: (each.trained_modes, each.trained_prompts) for name, each in found.items()} == {
        OCR2: (("gundam",), ("markdown", "free")),
        UNLIMITED: (("base", "gundam"), ("markdown",)),
    }


# --- What a model cannot do ------------------------------------------------------------------------------------------


def test_methods_that_look_at_clip_are_refused_where_there_is_none(folders: dict[str, Path]) -> None:
    every = [PruneOptions(method=method) for method in get_args(Method)]
    every.append(PruneOptions(method="cdpruner", variant="authors"))
    refused = []
    for prune in every:
        checkpoint(folders, UNLIMITED).resolve(OcrOptions(prune=prune))
        try:
            checkpoint(folders, OCR2).resolve(OcrOptions(prune=prune))
        except UsageError:
            refused.append((prune.method, prune.variant))
    clip = [("visionzip", "ours"), ("scope", "ours"), ("vispruner", "ours"), ("cdpruner", "authors")]
    assert refused == clip


@pytest.mark.parametrize(
    ("command", "message"),
    [
        (
            ("bench", *SYNTHETIC, "--methods", "none,rtprune,scope"),
            "the method scope looks at CLIP, which DeepSeek-OCR-2 does not",
        ),
        (
            ("bench", *SYNTHETIC, "--modes", "gundam,large"),
            "DeepSeek-OCR-2 cannot see views of 1280 pixels (mode large)",
        ),
        (("bench", *SYNTHETIC, "--view-sides", "512"), "DeepSeek-OCR-2 cannot see views of 512 pixels (mode tiny)"),
        (("bench", "glyphs"), f"cannot be measured with DeepSeek-OCR-2: {NO_PLACE}"),
        (("inspect", "PAGE", "--mode", "small"), "DeepSeek-OCR-2 cannot see views of 640 pixels (mode small)"),
        (("analyze", "PAGE", "--mode", "tiny"), "DeepSeek-OCR-2 cannot see views of 512 pixels (mode tiny)"),
        (("ocr", "PAGE", "--pages-per-context", "auto"), "reads one page at a time"),
    ],
)
def test_what_cannot_be_done_is_said_before_anything_is_read(
    command: tuple[str, ...], message: str, folders: dict[str, Path], page: Path, rtprune: Any, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setattr(Checkpoint, "load", None)  # a call would fail
    given = [page if word == "PAGE" else word for word in command]
    found = rtprune(*given, "--model", folders[OCR2], "-o", tmp_path / "out")
    assert (found.exit_code, message in found.output) == (2, True), found.output
    assert not list((tmp_path / "out").rglob("*.p*")), "pages were made, or read"
    assert "was not trained" not in found.output


@pytest.mark.parametrize(("ratio", "said"), [((), True), (("--ratio", "0.5"), False)])
def test_inspect_says_that_a_model_is_not_pruned_by_default(
    folders: dict[str, Path], page: Path, rtprune: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    ratio: tuple[str, ...], said: bool,
) -> None:  # fmt: skip
    def stop(_: Checkpoint) -> None:
        raise ModelError("no further", "Stop")

    monkeypatch.setattr(Checkpoint, "load", stop)
    found = {name: rtprune("inspect", page, "--model", folders[name], *ratio, "-o", tmp_path) for name in FAMILIES}
    assert all("no further" in each.output for each in found.values())
    assert (NO_PLACE in found[OCR2].output, NO_PLACE in found[UNLIMITED].output) == (True, False)
    assert ("is not pruned by default" in found[OCR2].output) == said
    assert "is not pruned by default" not in found[UNLIMITED].output


@pytest.mark.slow
def test_inspect_draws_what_needs_no_place(folders: dict[str, Path], page: Path, rtprune: Any, tmp_path: Path) -> None:
    out = tmp_path / "out" / "page"
    out.mkdir(parents=True)
    (out / "page-0001.kept.png").touch()  # of a run with another model
    trial = ("--leave-one-out", "--tokens", "3", "--max-new-tokens", "4")
    found = rtprune(
        "inspect", page, "--model", folders[OCR2], *FAST[:2], "--ratio", "0.5", *trial, "-o", tmp_path / "out"
    )
    assert found.exit_code == 0 and NO_PLACE in found.output, found.output
    assert {path.name.removeprefix("page-0001.") for path in out.iterdir()} == {
        "json", "density.png", "norms.png", "leave-one-out.png"
    }  # fmt: skip
    record = json.loads((out / "page-0001.json").read_bytes())
    assert record["placed"] is False and record["counts"] == {
        "total": 145, "kept": 72, "merged": 72, "newlines_dropped": 0
    }  # fmt: skip
    assert all(token["box"] is None and "density" not in token and token["norm"] > 0 for token in record["tokens"])
    assert len(record["density"]) == 144 and record["leave_one_out"]["tried"] == 3
    assert sum(record["density"]) / 144 == pytest.approx(record["r_density"], abs=1e-4)


# --- bench and analyze -----------------------------------------------------------------------------------------------


def test_pages_are_timed_at_the_models_own_resolution(
    folders: dict[str, Path], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    drawn: list[int | None] = []

    def image(_: Sample, options: InputOptions) -> None:
        drawn.append(options.dpi)  # type: ignore[arg-type]

    monkeypatch.setattr(timing, "page_image", image)
    plan, options = AccuracyPlan(modes=("base",)).configurations(), OcrOptions()
    for name in FAMILIES:
        found = checkpoint(folders, name)
        sample: Any = None
        timing.take_times(found, [sample], plan, lambda each: configured(options, each), lambda *_: None)  # type: ignore[arg-type]
    assert drawn == [200, 300]


@pytest.mark.slow
def test_bench_reads_in_the_modes_and_settings_of_the_model(
    folders: dict[str, Path], rtprune: Any, tmp_path: Path
) -> None:
    run = ("bench", *SYNTHETIC, "--sheet", "card", "--limit", "1", "--resamples", "100", "--worst", "0")
    given = ("--model", folders[UNLIMITED], "--modes", "tiny", "--max-new-tokens", "8", "--workers", "0")
    found = rtprune(*run, *given, "-o", tmp_path)
    assert found.exit_code == 0 and "was not trained for tiny, only for base, gundam" in found.output, found.output
    summary = json.loads((tmp_path / "summary.json").read_bytes())
    assert [each["name"] for each in summary["configurations"]] == ["none", "rtprune dynamic"]
    (first, _) = map(json.loads, (tmp_path / "results.jsonl").read_text("utf-8").splitlines())
    for settings in (summary["settings"], first["settings"]):
        decode = settings["decode"]
        assert (settings["mode"], settings["input"]["dpi"], decode["no_repeat_ngram"]) == ("tiny", 300, 35)


@pytest.mark.slow
@pytest.mark.parametrize(("family", "mode"), [(OCR2, "side-768"), (UNLIMITED, "tiny")])
def test_analyze_needs_no_place(
    folders: dict[str, Path], family: str, mode: str, page: Path, rtprune: Any, tmp_path: Path
) -> None:
    """Nor does it mind a window of 8 tokens, which has slid when the text ends."""
    run = ("analyze", page, "--model", folders[family], "--mode", mode, "--max-tokens", "12")
    found = rtprune(*run, "-o", tmp_path / "out")
    assert found.exit_code == 0, found.output
    result = json.loads((tmp_path / "out" / "analysis.json").read_bytes())
    assert result["settings"]["no_repeat_ngram"] == {OCR2: 30, UNLIMITED: 35}[family]
    (row,) = map(json.loads, (tmp_path / "out" / "pages.jsonl").read_text("utf-8").splitlines())
    assert row["tokens"]["high"] + row["tokens"]["low"] == {OCR2: 144, UNLIMITED: 64}[family]
    assert row["tokens"]["layout"] == {OCR2: 1, UNLIMITED: 9}[family]  # the separator, and newlines
    assert sum(row["mass"].values()) == pytest.approx(1, abs=1e-4)


# --- Weights ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def as_published(folders: dict[str, Path], tmp_path: Path) -> Callable[[str], Path]:
    """A function that copies a checkpoint with its weights as the hub has them: one numbered file, and an index."""

    def make(name: str) -> Path:
        folder, weights = tmp_path / name, "model-00001-of-000001.safetensors"
        shutil.copytree(folders[name], folder)
        (folder / "model.safetensors").rename(folder / weights)
        tensors = load_file(folder / weights)
        index = {"metadata": {}, "weight_map": dict.fromkeys(tensors, weights)}
        (folder / "model.safetensors.index.json").write_text(json.dumps(index))
        return folder

    return make


@pytest.mark.parametrize("name", FAMILIES)
def test_numbered_weights_are_found(as_published: Callable[[str], Path], name: str) -> None:
    found = locate(ModelOptions(model=str(as_published(name)), device="cpu"))
    assert found.is_small and found.load().eos_token_id == 1


@pytest.mark.parametrize("name", FAMILIES)
@pytest.mark.parametrize("section", ["language_config", "text_config", ""])
def test_a_quantised_copy_is_refused(as_published: Callable[[str], Path], name: str, section: str) -> None:
    folder = as_published(name)
    config = json.loads((folder / "config.json").read_text())
    about = {"quantization_config": {"quant_method": "awq", "bits": 4}}
    config = {**config, **({section: about} if section else about)}
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(ModelError, match=r"is a quantised copy \(awq, 4-bit\), which is not loaded"):
        checkpoint_folder(str(folder))


def test_scales_in_numbered_weights_are_seen(as_published: Callable[[str], Path]) -> None:
    folder = as_published(UNLIMITED)
    path = folder / "model-00001-of-000001.safetensors"
    tensors = load_file(path)
    name = next(name for name in tensors if name.endswith("down_proj.weight"))
    save_file({**tensors, f"{name}_scale_inv": tensors[name][:1].clone()}, path)
    with pytest.raises(ModelError, match=r"is a quantised copy \(fp8\)"):
        checkpoint_folder(str(folder))


def test_decoding_settings_that_are_given_win(folders: dict[str, Path]) -> None:
    decode = DecodeOptions(max_new_tokens=7, no_repeat_ngram=0)
    options = replace(OcrOptions(), decode=decode, input=InputOptions(dpi=100))
    resolved = checkpoint(folders, UNLIMITED).resolve(options)
    found = resolved.decode
    assert (found.max_new_tokens, found.no_repeat_ngram, found.no_repeat_window) == (7, 0, 128)
    assert resolved.input.dpi == 100
