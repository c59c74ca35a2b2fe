"""EchoMamba4Rec: Wang, He & Zhu, arXiv 2406.02638; the computation follows the authors' code.

``item_seq`` -> embedding -> ``num_layers`` blocks of (spectral filter, ``num_layers`` bidirectional Mamba pairs, gated
linear unit) -> the hidden state at ``item_seq_len - 1``. Their multi-query attention block is never called there and is
left out here. Padding is not masked: as in the authors' code it enters the filter and the backward branch.
"""

from __future__ import annotations

from torch import Tensor, nn

from recbole_echomamba.layers import BidirectionalMamba, GatedLinearUnit, SpectralFilter, at_position
from recbole_echomamba.models.base import StateSpaceRecommender, mamba_settings


class EchoMambaBlock(nn.Module):
    """Spectral filter, bidirectional Mamba pairs, gated linear unit: ``[B, L, d] -> [B, L, d]``."""

    def __init__(self, d_model: int, length: int, pairs: int, dropout: float, **mamba):
        super().__init__()
        self.filter = SpectralFilter(d_model, length, dropout)
        self.pairs = nn.ModuleList(BidirectionalMamba(d_model, dropout, **mamba) for _ in range(pairs))
        self.glu = GatedLinearUnit(d_model, dropout)

    def forward(self, hidden_states: Tensor) -> Tensor:
        """Every position, ``[B, L, d] -> [B, L, d]``."""
        hidden_states = self.filter(hidden_states)
        for pair in self.pairs:
            hidden_states = pair(hidden_states)
        return self.glu(hidden_states)

    def forward_at(self, hidden_states: Tensor, position: Tensor) -> Tensor:
        """One position of each row, ``[B, L, d], [B] -> [B, d]``: the last pair and the unit are read out there only."""
        hidden_states = self.filter(hidden_states)
        for pair in self.pairs[:-1]:
            hidden_states = pair(hidden_states)
        return self.glu(self.pairs[-1].forward_at(hidden_states, position))


class EchoMamba4Rec(StateSpaceRecommender):
    """Bidirectional Mamba with a learnable spectral filter and gated linear units."""

    def __init__(self, config, dataset):
        super().__init__(config, dataset)
        layers = config["num_layers"]
        self.blocks = nn.ModuleList(
            EchoMambaBlock(
                config["hidden_size"], self.max_seq_length, layers, config["dropout_prob"], **mamba_settings(config)
            )
            for _ in range(layers)
        )
        self.reset_parameters()

    def encode(self, item_seq: Tensor, item_seq_len: Tensor) -> Tensor:
        """``[B, L], [B] -> [B, d]``."""
        position = item_seq_len - 1
        hidden_states = self.embed(item_seq)
        for block in self.blocks[:-1]:
            hidden_states = block(hidden_states)
        if self.shortcut:
            return self.blocks[-1].forward_at(hidden_states, position)
        return at_position(self.blocks[-1](hidden_states), position)
