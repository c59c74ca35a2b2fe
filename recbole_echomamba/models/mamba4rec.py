"""Mamba4Rec: Liu et al., arXiv 2403.03900; the baseline, computed as in its authors' code.

``item_seq`` -> embedding -> ``num_layers`` of (Mamba, feed-forward) -> the hidden state at ``item_seq_len - 1``. A single
layer has no residual connection around Mamba; several have.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from recbole_echomamba import ops
from recbole_echomamba.layers import DropoutNorm, Mamba, at_position
from recbole_echomamba.models.base import StateSpaceRecommender, mamba_settings


class FeedForward(nn.Module):
    """``LN(Dropout(w_2(Dropout(GELU(w_1(h))))) + h)``, four times as wide inside: ``[..., d] -> [..., d]``."""

    def __init__(self, d_model: int, dropout: float):
        super().__init__()
        self.w_1 = nn.Linear(d_model, 4 * d_model)
        self.w_2 = nn.Linear(4 * d_model, d_model)
        self.norm = DropoutNorm(d_model, dropout)
        self.dropout = nn.Dropout(dropout)

    def forward(self, hidden_states: Tensor) -> Tensor:
        """``[..., d] -> [..., d]``."""
        inner = self.dropout(F.gelu(self.w_1(hidden_states)))
        return self.norm(self.w_2(inner), hidden_states)


class Mamba4RecLayer(nn.Module):
    """Mamba, dropout, optional residual, LayerNorm, feed-forward: ``[B, L, d] -> [B, L, d]``."""

    def __init__(self, d_model: int, dropout: float, residual: bool, **mamba):
        super().__init__()
        self.mamba = Mamba(d_model, **mamba)
        self.norm = DropoutNorm(d_model, dropout)
        self.residual = residual
        self.feed_forward = FeedForward(d_model, dropout)

    def forward(self, hidden_states: Tensor) -> Tensor:
        """Every position, ``[B, L, d] -> [B, L, d]``."""
        return self._close(self.mamba(hidden_states), hidden_states)

    def forward_at(self, hidden_states: Tensor, position: Tensor) -> Tensor:
        """One position of each row, ``[B, L, d], [B] -> [B, d]``."""
        at, [(tokens, walk)] = ops.walks_from(hidden_states, position, (False,))
        return self._close(self.mamba.forward_along(tokens, walk, at), at)

    def _close(self, scanned: Tensor, hidden_states: Tensor) -> Tensor:
        return self.feed_forward(self.norm(scanned, hidden_states if self.residual else None))


class Mamba4Rec(StateSpaceRecommender):
    """A stack of Mamba layers with feed-forward networks."""

    def __init__(self, config, dataset):
        super().__init__(config, dataset)
        layers = config["num_layers"]
        self.layers = nn.ModuleList(
            Mamba4RecLayer(config["hidden_size"], config["dropout_prob"], layers > 1, **mamba_settings(config))
            for _ in range(layers)
        )
        self.reset_parameters()

    def encode(self, item_seq: Tensor, item_seq_len: Tensor) -> Tensor:
        """``[B, L], [B] -> [B, d]``."""
        position = item_seq_len - 1
        hidden_states = self.embed(item_seq)
        for layer in self.layers[:-1]:
            hidden_states = layer(hidden_states)
        if self.shortcut:
            return self.layers[-1].forward_at(hidden_states, position)
        return at_position(self.layers[-1](hidden_states), position)
