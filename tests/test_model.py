"""Loading checkpoints: names, sizes, refusals."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from conftest import GOLDEN, GOLDEN2, OCR2, UNLIMITED, make_views
from PIL import Image
from safetensors.torch import load_file, save_file
from transformers import PreTrainedModel, UnlimitedOcrForConditionalGeneration
from transformers.conversion_mapping import get_model_conversion_mapping
from transformers.core_model_loading import WeightConverter, WeightRenaming, rename_source_key, revert_weight_conversion

from rtprune_cli.bench.speed.arch import read_arch, skeleton
from rtprune_cli.decoding import decode
from rtprune_cli.errors import EnvironmentFault, ModelError
from rtprune_cli.hub import cached_models, checkpoint_folder, pull, remove
from rtprune_cli.model import OcrModel, load
from rtprune_cli.model.network import assemble
from rtprune_cli.model.sam import RelativeAttention
from rtprune_cli.options import DecodeOptions, ModelOptions, OcrOptions
from rtprune_cli.pruning import untouched
from rtprune_cli.views import make_views as see

COMMIT = "0123456789abcdef0123456789abcdef01234567"


def full_size(name: str) -> PreTrainedModel:
    """A real architecture without memory for its weights."""
    return skeleton(read_arch(name), torch.device("cpu"), torch.bfloat16)


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    """A copy of the golden checkpoint to spoil."""
    return Path(shutil.copytree(GOLDEN / "checkpoint", tmp_path / "checkpoint"))


def edit_config(checkpoint: Path, **values: object) -> None:
    path = checkpoint / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **values}))


# CLIP's own patch embedding is not used: SAM's features take its place
UNUSED = ["model.vision_model.embeddings.patch_embedding.weight"]


@pytest.mark.parametrize(
    ("name", "file", "count", "unused"),
    [
        ("deepseek-ocr", GOLDEN / "deepseek_ocr_tensors.txt", 2710, UNUSED),
        ("deepseek-ocr-2", GOLDEN2 / "deepseek_ocr2_tensors.txt", 2707, []),
        ("unlimited-ocr", GOLDEN / "deepseek_ocr_tensors.txt", 2710, UNUSED),  # the same names
    ],
)
def test_every_official_tensor_name_finds_its_place(name: str, file: Path, count: int, unused: list[str]) -> None:
    network, names = full_size(name), file.read_text().split()
    transforms = get_model_conversion_mapping(network)
    renamings = [t for t in transforms if isinstance(t, WeightRenaming)]
    converters = [t for t in transforms if isinstance(t, WeightConverter)]
    own = network.state_dict()
    lost = [
        name
        for name in names
        if rename_source_key(name, renamings, converters, network.base_model_prefix, own)[0] not in own
    ]
    assert lost == unused
    assert set(revert_weight_conversion(network, own)) == set(names) - set(lost)
    assert len(names) == count


def test_the_decoder_attends_to_everything_unless_it_has_a_window() -> None:
    assert set(full_size("deepseek-ocr").config.text_config.layer_types) == {"full_attention"}
    text = full_size("unlimited-ocr").config.text_config
    assert (set(text.layer_types), text.sliding_window) == ({"reference_sliding_attention"}, 128)


@pytest.mark.parametrize(("family", "mode"), [(OCR2, "side-768"), (UNLIMITED, "tiny")])
def test_a_copy_that_transformers_wrote_reads_the_same(family: str, mode: str, tmp_path: Path) -> None:
    """Native uploads name transformers' own class and have its config; rotary bases and the window are in them."""
    official = load(ModelOptions(model=str(GOLDEN2 / family / "checkpoint"), device="cpu"))
    official.network.save_pretrained(tmp_path)
    native = load(ModelOptions(model=str(tmp_path), device="cpu"))
    assert native.config["architectures"] == [type(native.network).__name__] == [official.adapter.architectures[-1]]
    assert native.adapter is official.adapter
    view = see(Image.radial_gradient("L").convert("RGB"), native.view_spec(mode))
    seen = [model.encode([view])[0] for model in (official, native)]
    assert torch.equal(seen[0].tokens, seen[1].tokens)
    options = DecodeOptions(max_new_tokens=24, no_repeat_ngram=0, loop_window=0)  # the window has 8
    texts = []
    for model, page in zip((official, native), seen, strict=True):
        prompt = assemble(model.embed([0]), [untouched(page)], model.embed([5, 17, 33]))
        (found,) = decode(model.network, [prompt], options, eos_token_id=-1)
        texts.append((found.token_ids, found.logprobs))
    assert texts[0] == texts[1]
    assert native.resolve(OcrOptions(mode=mode)).decode == official.resolve(OcrOptions(mode=mode)).decode


def test_a_missing_tensor_is_named(checkpoint: Path) -> None:
    tensors = load_file(checkpoint / "model.safetensors")
    del tensors["model.norm.weight"]
    save_file(tensors, checkpoint / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ModelError, match=r"norm\.weight"):
        load(ModelOptions(model=str(checkpoint)))


def test_a_tensor_of_the_wrong_size_is_named(checkpoint: Path) -> None:
    tensors = load_file(checkpoint / "model.safetensors")
    tensors["model.norm.weight"] = torch.ones(3)
    save_file(tensors, checkpoint / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ModelError, match=r"norm\.weight"):
        load(ModelOptions(model=str(checkpoint)))


def test_truncated_weights_are_an_error_with_a_next_step(checkpoint: Path) -> None:
    weights = checkpoint / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    with pytest.raises(ModelError, match=r"cannot be loaded\. Pull"):
        load(ModelOptions(model=str(checkpoint)))


@pytest.mark.parametrize("before", [None, "0"])
def test_weights_are_loaded_without_threads_that_run_ahead(
    checkpoint: Path, before: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They would keep half as much memory again as the weights take (model/loading.py says why)."""
    variable = "HF_DEACTIVATE_ASYNC_LOAD"
    monkeypatch.delenv(variable, raising=False) if before is None else monkeypatch.setenv(variable, before)
    monkeypatch.setattr("transformers.core_model_loading.ThreadPoolExecutor", None)  # a call would fail
    load(ModelOptions(model=str(checkpoint), device="cpu"))
    (checkpoint / "model.safetensors").write_bytes(b"")
    with pytest.raises(ModelError, match="cannot be loaded"):
        load(ModelOptions(model=str(checkpoint), device="cpu"))
    assert os.environ.get(variable) == before  # whatever else uses transformers here loads as before


def test_pickle_weights_are_refused_with_the_reason(checkpoint: Path) -> None:
    (checkpoint / "model.safetensors").rename(checkpoint / "pytorch_model.bin")
    with pytest.raises(ModelError, match="can run code"):
        load(ModelOptions(model=str(checkpoint)))


def test_a_folder_without_weights_is_refused(checkpoint: Path) -> None:
    (checkpoint / "model.safetensors").unlink()
    with pytest.raises(ModelError, match=r"no model\.safetensors"):
        load(ModelOptions(model=str(checkpoint)))


def spoil(checkpoint: Path, spoilt: dict[str, Any]) -> None:
    """Config keys and tensors added, files written in place of the weights, metadata of the weights."""
    edit_config(checkpoint, **spoilt.get("config", {}))
    tensors = {**load_file(checkpoint / "model.safetensors"), **spoilt.get("tensors", {})}
    save_file(tensors, checkpoint / "model.safetensors", metadata=spoilt.get("metadata", {"format": "pt"}))
    if "files" in spoilt:
        (checkpoint / "model.safetensors").unlink()
    for name, text in spoilt.get("files", {}).items():
        (checkpoint / name).write_text(text)


def quantised(**values: object) -> dict[str, Any]:
    return {"config": {"quantization_config": values}}


CODES = torch.zeros(4, 4, dtype=torch.uint8)
LAYER = "model.layers.0.mlp.down_proj"


@pytest.mark.parametrize(
    ("kind", "spoilt"),
    [
        ("a GGUF copy", {"files": {"model-Q4_K_M.gguf": ""}}),
        ("a LoRA adapter", {"files": {"adapter_config.json": "{}", "adapter_model.safetensors": ""}}),
        ("a LoRA adapter", {"files": {"adapter_model.bin": ""}}),
        ("an unmerged adapter", {"tensors": {f"base_model.model.{LAYER}.weight": torch.ones(2)}}),
        ("an unmerged adapter", {"tensors": {f"{LAYER}.base_layer.weight": torch.ones(2)}}),
        ("an unmerged adapter", {"tensors": {f"{LAYER}.lora_A.default.weight": torch.ones(2)}}),
        ("an MLX copy", {"config": {"quantization": {"group_size": 64, "bits": 4}}}),
        ("an MLX copy", {"metadata": {"format": "mlx"}}),
        (r"\(bitsandbytes, 4-bit\)", quantised(quant_method="bitsandbytes", load_in_4bit=True)),
        (r"\(bitsandbytes, 8-bit\)", quantised(quant_method="bitsandbytes", load_in_8bit=True)),
        (r"\(awq, 4-bit\)", quantised(quant_method="awq", bits=4)),
        (r"\(fp8\)", {"config": {"language_config": {"quantization_config": {"quant_method": "fp8"}}}}),
        (r"\(bitsandbytes, 4-bit\)", {"tensors": {f"{LAYER}.weight": CODES, f"{LAYER}.weight.absmax": torch.ones(2)}}),
        (r"\(bitsandbytes, 8-bit\)", {"tensors": {f"{LAYER}.weight": CODES, f"{LAYER}.SCB": torch.ones(2)}}),
        (r"\(gptq or awq\)", {"tensors": {f"{LAYER}.qweight": CODES, f"{LAYER}.scales": torch.ones(2)}}),
        (r"\(fp8\)", {"tensors": {f"{LAYER}.weight_scale_inv": torch.ones(2)}}),
        (r"\(weights of type U8\)", {"tensors": {f"{LAYER}.weight": CODES}}),
    ],
)  # fmt: skip
def test_a_form_that_is_not_loaded_is_refused_by_its_name(
    checkpoint: Path, kind: str, spoilt: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(UnlimitedOcrForConditionalGeneration, "from_pretrained", None)  # a call would fail
    spoil(checkpoint, spoilt)
    way_out = "Merge it into" if "adapter" in kind else "--model deepseek-ai/DeepSeek-OCR"
    with pytest.raises(ModelError, match=f"{kind}.*, which is not loaded.*{way_out}"):
        load(ModelOptions(model=str(checkpoint)))


def test_an_adapter_names_the_model_to_merge_it_into(tmp_path: Path) -> None:
    (tmp_path / "adapter_config.json").write_text('{"base_model_name_or_path": "someone/base"}')
    with pytest.raises(ModelError, match="Merge it into someone/base first"):
        checkpoint_folder(str(tmp_path))


@pytest.mark.parametrize(
    "spoilt",
    [
        {"config": {"quantization_config": None}},
        {"tensors": {f"{LAYER}.weight": torch.zeros(64, 96, dtype=torch.float8_e4m3fn)}},  # without scales: plain
    ],
)
def test_plain_weights_are_not_refused(checkpoint: Path, spoilt: dict[str, Any]) -> None:
    spoil(checkpoint, spoilt)
    load(ModelOptions(model=str(checkpoint), device="cpu"))


def test_what_a_finished_merge_leaves_behind_is_not_refused(checkpoint: Path) -> None:
    (checkpoint / "adapter_config.json").write_text("{}")
    assert checkpoint_folder(str(checkpoint)).folder == checkpoint


def test_a_quantised_hub_model_is_refused_before_its_weights_are_fetched(
    checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    edit_config(checkpoint, quantization_config={"quant_method": "gptq", "bits": 8})
    fetched = []

    def fetch(*_: object, allow_patterns: list[str], **__: object) -> str:
        fetched.extend(allow_patterns)
        return str(checkpoint)

    monkeypatch.setattr("huggingface_hub.snapshot_download", fetch)
    with pytest.raises(ModelError, match=r"someone/ocr is a quantised copy \(gptq, 8-bit\)"):
        pull("someone/ocr")
    assert fetched == ["config.json"]


@pytest.mark.parametrize(
    ("name", "answer"),
    [
        ("x.gguf", r"x\.gguf is a GGUF copy"),
        ("model.safetensors", "is a file, not a checkpoint's folder. Give the folder"),
    ],
)
def test_a_file_instead_of_a_folder_is_refused(tmp_path: Path, name: str, answer: str) -> None:
    (tmp_path / name).touch()
    with pytest.raises(ModelError, match=answer):
        checkpoint_folder(str(tmp_path / name))


def test_the_home_folder_is_expanded(checkpoint: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(checkpoint.parent))
    monkeypatch.setenv("USERPROFILE", str(checkpoint.parent))
    assert checkpoint_folder("~/checkpoint").folder == checkpoint


def test_an_unknown_architecture_is_refused(checkpoint: Path) -> None:
    edit_config(checkpoint, architectures=["LlamaForCausalLM"])
    with pytest.raises(ModelError, match="LlamaForCausalLM is not supported"):
        load(ModelOptions(model=str(checkpoint)))


def test_a_config_without_vision_sizes_is_refused(checkpoint: Path) -> None:
    edit_config(checkpoint, vision_config={})
    with pytest.raises(ModelError, match="width"):
        load(ModelOptions(model=str(checkpoint)))


@pytest.mark.parametrize("text", ["", "{", "[]"])
def test_a_broken_config_is_refused(checkpoint: Path, text: str) -> None:
    (checkpoint / "config.json").write_text(text)
    with pytest.raises(ModelError, match="cannot be read"):
        load(ModelOptions(model=str(checkpoint)))


def test_a_missing_tokenizer_is_named_when_it_is_needed(golden_model: OcrModel) -> None:
    with pytest.raises(ModelError, match=r"no tokenizer\.json"):
        golden_model.prompt_ids("free")


def test_an_absent_model_offline_says_how_to_get_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(ModelError, match="rtprune models pull someone/something"):
        checkpoint_folder("someone/something", offline=True)


@pytest.fixture
def cached(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache with one revision of someone/ocr: its snapshot."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    repository = tmp_path / "models--someone--ocr"
    snapshot = repository / "snapshots" / COMMIT
    shutil.copytree(GOLDEN / "checkpoint", snapshot)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text(COMMIT)
    return snapshot


def test_an_absent_revision_offline_is_named_with_those_that_are_here(cached: Path) -> None:
    answer = f"revision 'nope' of someone/ocr is not on this machine. Here is --revision {COMMIT}, main"
    with pytest.raises(ModelError, match=answer):
        checkpoint_folder("someone/ocr", "nope", offline=True)
    with pytest.raises(
        ModelError, match=r"'nope' of someone/other is .*\. On a machine with network: .* --revision nope"
    ):
        checkpoint_folder("someone/other", "nope", offline=True)


@pytest.mark.parametrize("name", ["Tiny", "TINY"])
def test_the_bundled_model_in_other_letters_is_suggested(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ModelError, match=f"'{name}' is neither a folder nor a hub id. Did you mean tiny?"):
        checkpoint_folder(name)
    Path(name).mkdir()
    with pytest.raises(ModelError, match=f"{name} holds no model"):
        checkpoint_folder(name)


def test_a_name_that_is_no_hub_id_is_refused() -> None:
    with pytest.raises(ModelError, match="neither a folder nor a hub id"):
        pull("a/b/c d", offline=True)


def test_the_bundled_model_is_listed_and_cannot_be_removed() -> None:
    assert cached_models()[0].name == "tiny"
    with pytest.raises(ModelError, match="part of the package"):
        remove("tiny")


def test_a_cached_model_is_listed_found_loaded_and_removed(cached: Path) -> None:
    assert [(m.name, m.revision) for m in cached_models()][1:] == [("someone/ocr", COMMIT)]
    model = load(ModelOptions(model="someone/ocr", offline=True, device="cpu"))
    assert (model.revision, model.folder) == (COMMIT, cached)
    assert remove("someone/ocr") > 0
    assert len(cached_models()) == 1
    assert not cached.exists()


def test_removing_what_is_not_there_is_an_error() -> None:
    with pytest.raises(ModelError, match="not in the cache"):
        remove("someone/something")


@pytest.mark.slow
def test_pages_encoded_together_equal_pages_alone(golden_model: OcrModel) -> None:
    pages = [Image.new("RGB", size, color) for size, color in (((700, 500), "white"), ((300, 300), "gray"))]
    views = [make_views(page, "gundam") for page in pages]
    together = golden_model.encode(views)
    for view, tokens in zip(views, together, strict=True):
        torch.testing.assert_close(golden_model.encode([view])[0].tokens, tokens.tokens, rtol=0, atol=1e-4)
        assert tokens.newline.shape == tokens.tokens.shape[:1]


@pytest.mark.parametrize(("window", "height", "width"), [(0, 6, 6), (0, 3, 5), (4, 4, 4)])
def test_sams_attention_is_that_of_transformers_without_its_table(window: int, height: int, width: int) -> None:
    from transformers.models.unlimited_ocr.modeling_unlimited_ocr import UnlimitedOcrSamVisionSdpaAttention

    config = SimpleNamespace(
        image_size=96, patch_size=16, num_attention_heads=3, hidden_size=30, attention_dropout=0.0, qkv_bias=True
    )
    torch.manual_seed(0)
    module = UnlimitedOcrSamVisionSdpaAttention(SimpleNamespace(**vars(config), use_rel_pos=True), window).double()
    for table in (module.rel_pos_h, module.rel_pos_w):
        torch.nn.init.normal_(table)
    hidden = torch.randn(2, height, width, 30, dtype=torch.float64)
    with torch.no_grad():
        torch.testing.assert_close(RelativeAttention(module)(hidden)[0], module(hidden)[0])


def test_sams_relative_positions_are_worked_out_once(golden_model: OcrModel, monkeypatch: pytest.MonkeyPatch) -> None:
    views = [make_views(Image.new("RGB", (300, 300), "white"), "tiny")]
    before = golden_model.encode(views)[0].tokens
    layer = golden_model.network.model.vision_tower.sam_encoder.layers[0].attn
    monkeypatch.setattr(layer, "get_rel_pos", None)  # would raise
    assert torch.equal(golden_model.encode(views)[0].tokens, before)


def test_a_prompt_is_embedded_once(tiny: OcrModel) -> None:
    before, after = tiny.prompt_embeds("free")
    assert torch.equal(after, tiny.embed(tiny.prompt_ids("free")[1]))
    assert tiny.prompt_embeds("free")[0] is before


def test_weights_that_do_not_fit_say_so(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(UnlimitedOcrForConditionalGeneration, "to", fail)
    with pytest.raises(EnvironmentFault, match=r"tiny, 0\.0 GB on disk, do not fit into the memory of cpu"):
        load(ModelOptions(model="tiny", device="cpu"))
