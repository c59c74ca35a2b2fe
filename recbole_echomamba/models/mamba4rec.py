"""Mamba4Rec, the whole architecture: Liu et al., arXiv 2403.03900, as the authors' code computes it.

    h = LN(Dropout(Embedding(item_seq)))                            StateSpaceRecommender.embed
    num_layers times:                                               Mamba4RecLayer
        h = LN(Dropout(Mamba(h)) [+ h])                             the residual only when num_layers > 1
        h = LN(Dropout(w_2(Dropout(GELU(w_1(h))))) + h)             FeedForward
    scores = h[item_seq_len - 1] . Embedding                        StateSpaceRecommender.score

Glossary: ``B`` histories, ``L`` slots of a history (right-padded with item 0), ``d`` hidden size. Every part is causal: no
position reads a later item.
"""

from __future__ import annotations

from typing import cast

import torch.nn.functional as F
from torch import Tensor, nn

from recbole_echomamba import ops
from recbole_echomamba.layers import DropoutNorm, Mamba, at_position
from recbole_echomamba.models.base import StateSpaceRecommender, mamba_settings


class FeedForward(nn.Module):
    """Compute ``LN(Dropout(w_2(Dropout(GELU(w_1(h))))) + h)``, four times as wide inside.

    Args:
        d_model: width ``d``.
        dropout: probability.
    """

    def __init__(self, d_model: int, dropout: float):
        super().__init__()
        self.w_1 = nn.Linear(d_model, 4 * d_model)
        self.w_2 = nn.Linear(4 * d_model, d_model)
        self.norm = DropoutNorm(d_model, dropout)
        self.dropout = nn.Dropout(dropout)

    def forward(self, hidden_states: Tensor) -> Tensor:
        """Compute the network for every token: ``[..., d] -> [..., d]``."""
        inner = self.dropout(F.gelu(self.w_1(hidden_states)))
        return self.norm(self.w_2(inner), hidden_states)


class Mamba4RecLayer(nn.Module):
    """One layer: Mamba, dropout, optional residual connection, LayerNorm, feed-forward network.

    Args:
        d_model: width ``d``.
        dropout: probability.
        residual: whether the input is added to Mamba's output.
        mamba: arguments of :class:`~recbole_echomamba.layers.Mamba`.
    """

    def __init__(self, d_model: int, dropout: float, residual: bool, **mamba):
        super().__init__()
        self.mamba = Mamba(d_model, **mamba)
        self.norm = DropoutNorm(d_model, dropout)
        self.residual = residual
        self.feed_forward = FeedForward(d_model, dropout)

    def forward(self, hidden_states: Tensor) -> Tensor:
        """Compute every position: ``[B, L, d] -> [B, L, d]``."""
        return self._after_mamba(self.mamba(hidden_states), hidden_states)

    def forward_at(self, hidden_states: Tensor, position: Tensor) -> Tensor:
        """Compute one position of each row: ``[B, L, d], [B] -> [B, d]``."""
        at, [(tokens, walk)] = ops.walks_from(hidden_states, position, (False,))
        return self._after_mamba(self.mamba.forward_along(tokens, walk, at), at)

    def _after_mamba(self, mixed: Tensor, hidden_states: Tensor) -> Tensor:
        return self.feed_forward(self.norm(mixed, hidden_states if self.residual else None))


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

    def encode(self, item_seq: Tensor, item_seq_len: Tensor, time_seq: Tensor | None = None) -> Tensor:
        """Encode histories: ``[B, L], [B] -> [B, d]``."""
        position = item_seq_len - 1
        hidden_states = self.embed(item_seq, time_seq)
        for layer in self.layers[:-1]:
            hidden_states = layer(hidden_states)
        if self.shortcut:
            return cast(Mamba4RecLayer, self.layers[-1]).forward_at(hidden_states, position)
        return at_position(self.layers[-1](hidden_states), position)

    @property
    def ignores_padding(self) -> bool:
        """Whether a layer computes every slot: padding lies behind the position that is read, and every part is causal."""
        return len(self.layers) > 1 or not self.shortcut

    def encode_all(self, item_seq: Tensor, time_seq: Tensor | None = None) -> Tensor:
        """Encode the history up to every position: ``[B, L] -> [B, L, d]``."""
        hidden_states = self.embed(item_seq, time_seq)
        for layer in self.layers:
            hidden_states = layer(hidden_states)
        return hidden_states
