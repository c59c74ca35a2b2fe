"""Train the SASRec of RecTools for :mod:`benchmarks.time_to_accuracy`, which runs this in the environment of RecTools."""

from __future__ import annotations

import argparse
import json
from importlib.metadata import version

import numpy as np
import pandas as pd
import torch
from pytorch_lightning import Callback, Trainer, seed_everything
from rectools.dataset import Dataset
from rectools.models import SASRecModel

from benchmarks.learning_curve import K, LearningCurve


class MeasureDuringTraining(Callback):
    """Tell a learning curve when training starts and when steps and epochs end; stop when its budget is spent."""

    def __init__(self, curve: LearningCurve):
        self.curve = curve

    def __deepcopy__(self, memo):
        # RecTools trains with a copy of the trainer that it is given
        return self

    def on_train_start(self, trainer, module):
        """Start the clocks."""
        self.curve.start()

    def on_train_batch_end(self, trainer, module, outputs, batch, batch_idx):
        """Count a step."""
        if self.curve.end_step():
            trainer.should_stop = True

    def on_train_epoch_end(self, trainer, module):
        """Count an epoch, unless the budget ended before it did."""
        if not trainer.should_stop:
            self.curve.end_epoch()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("interactions", help="CSV file with user_id, item_id, datetime and part: train, valid or test")
    parser.add_argument("curve", help="curve file to write")
    parser.add_argument("--header", type=json.loads, required=True, help="first line of the curve file, as JSON")
    parser.add_argument("--every", type=float, required=True)
    parser.add_argument("--budget", type=float, required=True)
    parser.add_argument("--length", type=int, required=True)
    parser.add_argument("--threads", type=int, required=True)
    parser.add_argument("--seed", type=int, required=True)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    seed_everything(options.seed)

    interactions = pd.read_csv(options.interactions)
    train, valid = (interactions[interactions["part"] == part].drop(columns="part") for part in ("train", "valid"))
    dataset = Dataset.construct(train.assign(weight=1.0))

    def rank_targets() -> tuple[np.ndarray, np.ndarray]:
        # recommend() asks for it, and fit() sets it only at its end
        model.is_fitted = True
        ranks = [rank(model, dataset, valid, filter_viewed) for filter_viewed in (False, True)]
        model.lightning_model.train()
        return ranks[0], ranks[1]

    header = {**options.header, "versions": {name: version(name) for name in ("rectools", "torch", "numpy")}}
    curve = LearningCurve(options.curve, header, options.every, options.budget, rank_targets)
    model = SASRecModel(
        n_blocks=2,
        n_factors=64,
        session_max_len=options.length,
        batch_size=128,
        dropout_rate=0.2,
        lr=1e-3,
        loss="softmax",
        recommend_torch_device="cpu",
        get_trainer_func=lambda: Trainer(
            accelerator="cpu",
            devices=1,
            max_epochs=-1,
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            callbacks=[MeasureDuringTraining(curve)],
        ),
    )
    model.fit(dataset)
    curve.finish("budget")


def rank(model: SASRecModel, dataset: Dataset, valid: pd.DataFrame, filter_viewed: bool) -> np.ndarray:
    """Return the ranks of the validation targets, ``[users]``, infinity beyond rank 10.

    Args:
        model: a model that has been given ``dataset``.
        dataset: the histories.
        valid: ``user_id`` and ``item_id`` of the targets.
        filter_viewed: whether items of the history are left out.
    """
    table = model.recommend(valid["user_id"].to_numpy(), dataset, k=K, filter_viewed=filter_viewed)
    found = valid.merge(table, on=["user_id", "item_id"], how="left")["rank"]
    return found.fillna(np.inf).to_numpy()


if __name__ == "__main__":
    main()
