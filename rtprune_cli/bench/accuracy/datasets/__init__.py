"""The datasets of the benchmark, by name."""

from rtprune_cli.bench.accuracy.datasets.base import Dataset, Sample
from rtprune_cli.bench.accuracy.datasets.opening import DATASETS, SYNTHETIC, choose_samples, open_dataset
from rtprune_cli.bench.accuracy.datasets.published import open_published

__all__ = ["DATASETS", "SYNTHETIC", "Dataset", "Sample", "choose_samples", "open_dataset", "open_published"]
