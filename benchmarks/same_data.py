"""Check that RecBole's dataset class and ours give the same samples: ``python -m benchmarks.same_data --dataset=ml-1m``.

The test suite does this on ml-100k; RecBole's class takes minutes and gigabytes for larger datasets.
"""

from __future__ import annotations

import argparse
import time
from itertools import islice

import torch
from recbole.data import data_preparation as recbole_data_preparation
from recbole.data.dataset import SequentialDataset
from recbole.utils import init_seed

from recbole_echomamba import Config, create_dataset, data_preparation

ROWS = 100_000
"""Samples that are compared at once."""

BATCHES = 5


def main() -> None:
    """Compare every field of every sample of the three parts, and the first batches; exit with 1 when one differs."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--dataset", default="ml-1m", help="name of a prepared dataset (default: ml-1m)")
    parser.add_argument("--data_path", default="dataset", help="folder that holds it (default: dataset)")
    parser.add_argument("--length", type=int, default=50, help="MAX_ITEM_LIST_LENGTH (default: 50)")
    options = parser.parse_args()
    settings = {"data_path": options.data_path, "MAX_ITEM_LIST_LENGTH": options.length, "use_gpu": False}
    recbole_loaders = load(options.dataset, settings, use_recbole=True)
    our_loaders = load(options.dataset, settings, use_recbole=False)
    same = True
    for part, theirs, ours in zip(("train", "valid", "test"), recbole_loaders, our_loaders, strict=True):
        same_samples = compare_samples(theirs.dataset.inter_feat, ours.dataset.inter_feat)
        same_batches = compare_batches(theirs, ours)
        print(
            f"{part}: {len(ours.dataset.inter_feat)} samples {'equal' if same_samples else 'DIFFER'}, "
            f"batches {'equal' if same_batches else 'DIFFER'}"
        )
        same = same and same_samples and same_batches
    raise SystemExit(0 if same else 1)


def load(dataset_name: str, settings: dict, use_recbole: bool):
    """Return the loaders for training, validation and test, and print the seconds that took."""
    config = Config("SASRec", dataset_name, config_dict=settings)
    init_seed(config["seed"], True)
    begin = time.perf_counter()
    if use_recbole:
        loaders = recbole_data_preparation(config, SequentialDataset(config))
    else:
        loaders = data_preparation(config, create_dataset(config))
    print(f"{'RecBole' if use_recbole else 'ours'}: {time.perf_counter() - begin:.1f} s")
    return loaders


def compare_samples(theirs, ours) -> bool:
    """Return whether all samples of one part are equal."""
    if len(theirs) != len(ours):
        return False
    for start in range(0, len(ours), ROWS):
        if not have_same_fields(theirs[start : start + ROWS], ours.cut(slice(start, start + ROWS))):
            return False
    return True


def compare_batches(theirs, ours) -> bool:
    """Return whether the first batches of two loaders are equal."""
    pairs = islice(zip(theirs, ours, strict=False), BATCHES)
    return all(have_same_fields(_interaction_of(their_batch), _interaction_of(batch)) for their_batch, batch in pairs)


def _interaction_of(batch):
    """Return the interaction of a batch; evaluation batches are tuples that begin with it."""
    return batch[0] if isinstance(batch, tuple) else batch


def have_same_fields(theirs, ours) -> bool:
    """Return whether names, types and all values are equal."""
    if theirs.columns != ours.columns:
        return False
    return all(
        theirs[field].dtype == ours[field].dtype and torch.equal(theirs[field], ours[field]) for field in ours.columns
    )


if __name__ == "__main__":
    main()
