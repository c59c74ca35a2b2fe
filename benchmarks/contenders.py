"""The models that are compared, on the same batch, length, width, items and device."""

from __future__ import annotations

import torch
from recbole.data.interaction import Interaction
from recbole.data.transform import construct_transform

from recbole_echomamba import Config, get_model

N_ITEMS = 3417  # ML-1M after 5-core, the padding item included
FULL = " (full scan)"
MODELS = ["SASRec", "BERT4Rec", "Mamba4Rec", "Mamba4Rec" + FULL, "EchoMamba4Rec", "EchoMamba4Rec" + FULL]
"""RecBole's models with its default two layers, ours with one as their authors set them; each with its own defaults."""


class Catalogue:
    """Stands for a data set: models ask it for the number of items only."""

    def num(self, field: str) -> int:
        """Items, the padding item included."""
        return N_ITEMS


class Contender:
    """One model with its optimiser, and a batch of random histories whose lengths are uniform in ``1..L``."""

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
        histories = random_histories(batch, length)
        self.interaction = transform(None, histories) if model != "BERT4Rec" else transform(Catalogue(), histories)
        self.interaction = self.interaction.to(config["device"])
        self.model = get_model(model)(config, Catalogue()).to(config["device"])
        self.optimizer = torch.optim.Adam(self.model.parameters(), lr=1e-3)

    def train_step(self) -> None:
        """Forward, backward and Adam."""
        self.model.train()
        self.optimizer.zero_grad()
        self.model.calculate_loss(self.interaction).backward()
        self.optimizer.step()

    @torch.no_grad()
    def score(self) -> None:
        """Scores of all items for every history, as in evaluation."""
        self.model.eval()
        self.model.full_sort_predict(self.interaction)


def random_histories(batch: int, length: int) -> Interaction:
    """``item_id_list [B, L]``, right-padded, ``item_length [B]`` and targets ``item_id [B]``."""
    item_seq_len = torch.randint(1, length + 1, (batch,))
    item_seq = torch.randint(1, N_ITEMS, (batch, length))
    item_seq[torch.arange(length) >= item_seq_len[:, None]] = 0
    target = torch.randint(1, N_ITEMS, (batch,))
    return Interaction({"item_id_list": item_seq, "item_length": item_seq_len, "item_id": target})
