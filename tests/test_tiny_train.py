"""Training the bundled model: it runs, resumes, and saves what the tool loads."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest
import torch
from transformers import UnlimitedOcrForConditionalGeneration as OcrNetwork

from rtprune_cli.hub import BUNDLED_CHECKPOINT
from rtprune_cli.model import load
from rtprune_cli.model.adapters import network_config
from rtprune_cli.options import ModelOptions
from rtprune_cli.tiny import evaluate, train
from rtprune_cli.tiny.network import raw_config
from rtprune_cli.tiny.optim import orthogonalise

TINY = Path(train.__file__).parent
CONFIGS = [TINY / "train.json", TINY / "train-full.json"]
LIMIT = 32 * 2**20  # bytes of the weights in the package


def shrunk(config: Path, folder: Path) -> Path:
    """A shipped configuration whose steps take milliseconds; all its kinds of pages come in the first phase."""
    settings = json.loads(config.read_text())
    settings["model"]["sam"].update(
        width=32, layers=1, heads=2, mlp_dim=32, output_channels=16, downsample_channels=[16, 32]
    )
    settings["model"]["clip"].update(width=32, layers=1, heads=2, intermediate_size=32)
    settings["model"]["text"].update(
        hidden_size=48, intermediate_size=48, num_hidden_layers=3, num_attention_heads=6, moe_intermediate_size=32
    )
    settings["training"].update(batch=2, prune_from=0)
    settings["data"]["phases"] = settings["data"]["phases"][-1:]
    path = folder / "train.json"
    path.write_text(json.dumps(settings))
    return path


@pytest.mark.slow
@pytest.mark.parametrize("config", CONFIGS, ids=["cpu", "full"])
def test_training_runs_resumes_and_saves_a_loadable_checkpoint(
    config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(train, "LOG_EVERY", 1)
    settings, run = shrunk(config, tmp_path), tmp_path / "run"
    flags = ["--config", str(settings), "--output", str(run), "--device", "cpu", "--workers", "0"]
    train.main([*flags, "--minutes", "0.01"])
    train.main([*flags, "--minutes", "0.04", "--resume"])
    rows = list(csv.DictReader((run / "log.csv").open()))
    steps = [int(row["step"]) for row in rows]
    assert steps == list(range(1, len(steps) + 1))
    assert all(float(row["total"]) < 1000 for row in rows)  # not a NaN
    checkpoint = run / "checkpoint"
    assert load(ModelOptions(model=str(checkpoint), device="cpu")).mode == "tiny"
    monkeypatch.setattr(evaluate, "MAX_NEW_TOKENS", {"tiny": 20, "base": 20})
    for more in (["--prompt", "markdown"], ["--mode", "base"], ["--size", "28", "30", "--lines", "12", "--tight", "1"]):
        evaluate.main(["--checkpoint", str(checkpoint), "--pages", "1", "--device", "cpu", *more])
    assert "CER" in capsys.readouterr().out


def test_training_goes_on_from_a_checkpoint(tmp_path: Path) -> None:
    settings, first, second = shrunk(CONFIGS[0], tmp_path), tmp_path / "first", tmp_path / "second"
    flags = ["--config", str(settings), "--device", "cpu", "--workers", "0"]
    train.main([*flags, "--output", str(first), "--minutes", "0.005"])
    train.main([*flags, "--output", str(second), "--minutes", "0", "--init", str(first / "checkpoint")])
    weights = [(run / "checkpoint" / "model.safetensors").read_bytes() for run in (first, second)]
    assert weights[0] == weights[1]


@pytest.mark.parametrize("config", CONFIGS, ids=["cpu", "full"])
def test_every_phase_makes_batches(config: Path) -> None:
    settings = json.loads(config.read_text())
    for phase in range(len(settings["data"]["phases"])):
        batch = next(train.batches({"batch": 1}, settings["data"], phase, step=0, workers=0))
        assert batch["ids"].shape[1] > 1


@pytest.mark.parametrize("config", CONFIGS, ids=["cpu", "full"])
def test_the_weights_fit_the_package(config: Path) -> None:
    sizes = json.loads(config.read_text())["model"]
    with torch.device("meta"):
        network = OcrNetwork(network_config(raw_config(sizes)))
    assert 2 * sum(weight.numel() for weight in network.parameters()) <= LIMIT


def test_the_shipped_model_is_of_the_shipped_configuration() -> None:
    shipped = json.loads((BUNDLED_CHECKPOINT / "config.json").read_text())
    assert shipped == raw_config(json.loads(CONFIGS[0].read_text())["model"])


def test_orthogonalised_matrices_have_singular_values_near_one() -> None:
    matrix = torch.randn(2, 24, 16, generator=torch.Generator().manual_seed(0))
    values = torch.linalg.svdvals(orthogonalise(matrix))
    assert values.min() > 0.5
    assert values.max() < 1.5
