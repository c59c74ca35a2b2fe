"""EchoMamba4Rec without one of its parts, to measure what the part is worth: ``--model=benchmarks/ablations.py:NoFilter``."""

from __future__ import annotations

from torch import Tensor, nn

from recbole_echomamba.layers import at_position
from recbole_echomamba.models.echomamba4rec import BidirectionalMamba, EchoMamba4Rec


class NoFilter(EchoMamba4Rec):
    """Blocks without the spectral filter and its norm."""

    def __init__(self, config, dataset):
        super().__init__(config, dataset)
        for block in self.blocks:
            block.filter = nn.Identity()


class NoBackward(EchoMamba4Rec):
    """Blocks whose Mamba layers read from left to right only."""

    def __init__(self, config, dataset):
        super().__init__(config, dataset)
        for block in self.blocks:
            block.pairs = nn.ModuleList(ForwardOnly(pair) for pair in block.pairs)


class ForwardOnly(nn.Module):
    """The forward branch of a pair: ``LN(Dropout(Mamba_f(h)) + h)``."""

    def __init__(self, pair: BidirectionalMamba):
        super().__init__()
        self.forward_mamba, self.forward_norm = pair.forward_mamba, pair.forward_norm

    def forward(self, hidden_states: Tensor) -> Tensor:
        """Compute every position: ``[B, L, d] -> [B, L, d]``."""
        return self.forward_norm(self.forward_mamba(hidden_states), hidden_states)

    def forward_at(self, hidden_states: Tensor, position: Tensor) -> Tensor:
        """Compute the output at one position of each row: ``[B, L, d], [B] -> [B, d]``."""
        return at_position(self(hidden_states), position)
