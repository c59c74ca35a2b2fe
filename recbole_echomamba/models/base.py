"""What both state-space recommenders share: item embedding, loss, prediction and scoring. A model adds ``encode``."""

from __future__ import annotations

import torch
from recbole.model.abstract_recommender import SequentialRecommender
from recbole.model.loss import BPRLoss
from torch import Tensor, nn

from recbole_echomamba.layers import DropoutNorm, Mamba
from recbole_echomamba.ops.cross_entropy import linear_cross_entropy
from recbole_echomamba.system.errors import UserError

INITIALIZER_RANGE = 0.02
"""Standard deviation of the weights at the start, as in the authors' code of both models."""


class StateSpaceRecommender(SequentialRecommender):
    """A RecBole sequential model that scores items by their embedding against one vector per history.

    Configuration: ``hidden_size``, ``dropout_prob``, ``loss_type`` (CE or BPR), ``ssm_init``, ``last_position_shortcut``.
    """

    def __init__(self, config, dataset):
        super().__init__(config, dataset)
        self.loss_type = config["loss_type"]
        if self.loss_type not in ("CE", "BPR"):
            raise UserError(f"loss_type is {self.loss_type!r}; choose CE or BPR")
        self.ssm_init = config["ssm_init"]
        if self.ssm_init not in ("mamba", "normal"):
            raise UserError(f"ssm_init is {self.ssm_init!r}; choose mamba or normal")
        self.shortcut = config["last_position_shortcut"]
        self.item_embedding = nn.Embedding(self.n_items, config["hidden_size"], padding_idx=0)
        self.input_norm = DropoutNorm(config["hidden_size"], config["dropout_prob"])
        self.bpr_loss = BPRLoss()

    def reset_parameters(self) -> None:
        """Redraw embeddings and linear weights as N(0, 0.02) with zero biases.

        With ``ssm_init: mamba`` the Mamba layers keep their own start, in which ``delta`` spans 0.001 .. 0.1.
        ``ssm_init: normal`` redraws their linear layers too, as the authors' code does; ``delta`` then starts near 0.69.
        """
        kept = set()
        if self.ssm_init == "mamba":
            kept = {part for module in self.modules() if isinstance(module, Mamba) for part in module.modules()}
        for module in self.modules():
            if module in kept or not isinstance(module, nn.Linear | nn.Embedding):
                continue
            nn.init.normal_(module.weight, std=INITIALIZER_RANGE)
            if getattr(module, "bias", None) is not None:
                nn.init.zeros_(module.bias)
        with torch.no_grad():
            self.item_embedding.weight[0] = 0  # the padding item stays neutral

    def embed(self, item_seq: Tensor) -> Tensor:
        """``[B, L]`` item ids to ``[B, L, d]``: no positions, the order is the recurrence's own."""
        return self.input_norm(self.item_embedding(item_seq))

    def encode(self, item_seq: Tensor, item_seq_len: Tensor) -> Tensor:
        """``item_seq [B, L]`` (right-padded with 0) and ``item_seq_len [B]`` to one vector per history, ``[B, d]``."""
        raise NotImplementedError

    def forward(self, item_seq: Tensor, item_seq_len: Tensor) -> Tensor:
        """RecBole's name for :meth:`encode`."""
        return self.encode(item_seq, item_seq_len)

    def calculate_loss(self, interaction) -> Tensor:
        """Cross-entropy of the next item over all items, or BPR against one sampled item; a scalar."""
        encoded = self._encode(interaction)
        target = interaction[self.POS_ITEM_ID]
        if self.loss_type == "CE":
            return linear_cross_entropy(encoded, self.item_embedding.weight, target)
        positive = (encoded * self.item_embedding(target)).sum(-1)
        negative = (encoded * self.item_embedding(interaction[self.NEG_ITEM_ID])).sum(-1)
        return self.bpr_loss(positive, negative)

    def predict(self, interaction) -> Tensor:
        """The score of one item per row, ``[B]``."""
        return (self._encode(interaction) * self.item_embedding(interaction[self.ITEM_ID])).sum(-1)

    def full_sort_predict(self, interaction) -> Tensor:
        """The scores of all items, ``[B, n_items]``."""
        return self.score(self._encode(interaction))

    def score(self, encoded: Tensor) -> Tensor:
        """``[B, d]`` to the scores of all items, ``[B, n_items]``; column 0 is the padding item."""
        return encoded @ self.item_embedding.weight.T

    def _encode(self, interaction) -> Tensor:
        return self.encode(interaction[self.ITEM_SEQ], interaction[self.ITEM_SEQ_LEN])


def mamba_settings(config) -> dict:
    """The arguments of :class:`~recbole_echomamba.layers.Mamba` that a configuration sets."""
    return {key: config[key] for key in ("d_state", "d_conv", "expand")}
