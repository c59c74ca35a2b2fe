"""Whether RecBole's own data set class and ours give the same samples: ``python -m benchmarks.same_data --dataset=ml-1m``.

The test suite does this on ml-100k; RecBole's class takes minutes and gigabytes for more.
"""

from __future__ import annotations

import argparse
import time

import torch
from recbole.data import data_preparation as stock_preparation
from recbole.data.dataset import SequentialDataset
from recbole.utils import init_seed

from recbole_echomamba import Config, create_dataset, data_preparation

ROWS = 100_000


def main() -> None:
    """Compare every field of every sample of the three parts, and the first batches; exit code 1 when one differs."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--dataset", default="ml-1m")
    parser.add_argument("--data_path", default="dataset")
    parser.add_argument("--length", type=int, default=50, help="MAX_ITEM_LIST_LENGTH")
    options = parser.parse_args()
    settings = {"data_path": options.data_path, "MAX_ITEM_LIST_LENGTH": options.length, "use_gpu": False}
    loaders = []
    for stock in (True, False):
        config = Config("SASRec", options.dataset, config_dict=settings)
        init_seed(config["seed"], True)
        begin = time.perf_counter()
        dataset = SequentialDataset(config) if stock else create_dataset(config)
        loaders.append(stock_preparation(config, dataset) if stock else data_preparation(config, dataset))
        print(f"{'RecBole' if stock else 'ours'}: {time.perf_counter() - begin:.1f} s")
    same = True
    for name, theirs, ours in zip(("train", "valid", "test"), *loaders, strict=True):
        their_samples, samples = theirs.dataset.inter_feat, ours.dataset.inter_feat
        equal = len(samples) == len(their_samples)
        for start in range(0, len(samples), ROWS):
            equal &= same_fields(their_samples[start : start + ROWS], samples.cut(slice(start, start + ROWS)))
        batches = all(
            same_fields(a, b) for _, a, b in zip(range(5), map(first, theirs), map(first, ours), strict=False)
        )
        print(
            f"{name}: {len(samples)} samples {'equal' if equal else 'DIFFER'}, batches {'equal' if batches else 'DIFFER'}"
        )
        same &= equal and batches
    raise SystemExit(0 if same else 1)


def first(batch):
    """Evaluation batches come with the places of their targets."""
    return batch[0] if isinstance(batch, tuple) else batch


def same_fields(theirs, ours) -> bool:
    """Names, types and every number."""
    return theirs.columns == ours.columns and all(
        theirs[field].dtype == ours[field].dtype and torch.equal(theirs[field], ours[field]) for field in ours.columns
    )


if __name__ == "__main__":
    main()
