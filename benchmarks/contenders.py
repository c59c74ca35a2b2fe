"""The models that are compared, on the same batch, length, width, items and device."""

from __future__ import annotations

import torch
from recbole.data.interaction import Interaction
from recbole.data.transform import construct_transform

from recbole_echomamba import Config, get_model

N_ITEMS = 3417
"""Items of ML-1M after 5-core, including the padding item."""

FULL = " (full scan)"
"""Suffix of the models that compute the last scan at all positions."""

MODELS = ["SASRec", "BERT4Rec", "Mamba4Rec", "Mamba4Rec" + FULL, "EchoMamba4Rec", "EchoMamba4Rec" + FULL]
"""RecBole's models with its default of two layers, ours with one as in their papers; the other settings are the defaults."""


class Catalogue:
    """Stand in for a dataset; models ask it only for the number of items."""

    def num(self, field: str) -> int:
        """Return the number of items, including the padding item."""
        return N_ITEMS


class Contender:
    """One model with its optimizer and a batch of random histories.

    Args:
        name: one of :data:`MODELS`.
        batch: histories in the batch.
        length: slots per history; the lengths are uniform in ``1..length``.
        device: ``cpu`` or ``cuda``.
    """

    def __init__(self, name: str, batch: int, length: int, device: str = "cpu"):
        self.name = name
        settings = {
            "MAX_ITEM_LIST_LENGTH": length,
            "hidden_size": 64,
            "gpu_id": "0" if device == "cuda" else "",
        }
        if name.endswith(FULL):
            settings["last_position_shortcut"] = False
        model = name.removesuffix(FULL)
        config = Config(model, "ml-100k", config_dict=settings)
        transform = construct_transform(config)
        torch.manual_seed(0)
        histories = draw_histories(batch, length)
        # Only BERT4Rec's transform uses the dataset, for the id of its mask token.
        dataset = Catalogue() if model == "BERT4Rec" else None
        self.interaction = transform(dataset, histories).to(config["device"])
        self.model = get_model(model)(config, Catalogue()).to(config["device"])
        self.optimizer = torch.optim.Adam(self.model.parameters(), lr=1e-3)

    def train_step(self) -> None:
        """Run forward, backward and Adam."""
        self.model.train()
        self.optimizer.zero_grad()
        self.model.calculate_loss(self.interaction).backward()
        self.optimizer.step()

    @torch.no_grad()
    def score(self) -> None:
        """Score all items for every history, as in evaluation."""
        self.model.eval()
        self.model.full_sort_predict(self.interaction)


def draw_histories(batch: int, length: int) -> Interaction:
    """Return random ``item_id_list [B, L]``, right-padded with 0, ``item_length [B]`` and targets ``item_id [B]``."""
    item_seq_len = torch.randint(1, length + 1, (batch,))
    item_seq = torch.randint(1, N_ITEMS, (batch, length))
    item_seq[torch.arange(length) >= item_seq_len[:, None]] = 0
    target = torch.randint(1, N_ITEMS, (batch,))
    return Interaction({"item_id_list": item_seq, "item_length": item_seq_len, "item_id": target})
