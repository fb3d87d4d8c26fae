"""Training the bundled model: it runs, resumes, and saves what the tool loads."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest
import torch

from rtprune_cli.model import load
from rtprune_cli.options import ModelOptions
from rtprune_cli.tiny import evaluate, train
from rtprune_cli.tiny.optim import orthogonalise


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """The shipped configuration, shrunk until a step takes milliseconds."""
    settings = json.loads(Path(train.__file__).with_name("train.json").read_text())
    settings["model"]["sam"].update(width=32, heads=2, mlp_dim=32, output_channels=16, downsample_channels=[16, 32])
    settings["model"]["clip"].update(width=32, layers=1, heads=2, intermediate_size=32)
    settings["model"]["text"].update(hidden_size=48, intermediate_size=48, moe_intermediate_size=32)
    settings["training"]["batch"] = 2
    settings["training"]["prune_from"] = 0
    path = tmp_path / "train.json"
    path.write_text(json.dumps(settings))
    return path


def test_training_runs_resumes_and_saves_a_loadable_checkpoint(
    config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(train, "LOG_EVERY", 1)
    flags = ["--config", str(config), "--output", str(tmp_path / "run"), "--device", "cpu", "--workers", "0"]
    train.main([*flags, "--minutes", "0.02"])
    train.main([*flags, "--minutes", "0.05", "--resume"])
    rows = list(csv.DictReader((tmp_path / "run" / "log.csv").open()))
    steps = [int(row["step"]) for row in rows]
    assert steps == list(range(1, len(steps) + 1))
    checkpoint = tmp_path / "run" / "checkpoint"
    assert load(ModelOptions(model=str(checkpoint), device="cpu")).mode == "tiny"
    evaluate.main(["--checkpoint", str(checkpoint), "--pages", "1", "--device", "cpu"])
    assert "CER" in capsys.readouterr().out


def test_orthogonalised_matrices_have_singular_values_near_one() -> None:
    matrix = torch.randn(2, 24, 16, generator=torch.Generator().manual_seed(0))
    values = torch.linalg.svdvals(orthogonalise(matrix))
    assert values.min() > 0.5
    assert values.max() < 1.5
