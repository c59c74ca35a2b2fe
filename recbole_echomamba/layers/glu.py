"""The gated linear unit that closes an EchoMamba4Rec block (arXiv 2406.02638, section 3.4; Dauphin et al., 1612.08083)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from recbole_echomamba.layers.norm import DropoutNorm


class GatedLinearUnit(nn.Module):
    """``LN(Dropout(fc2(v * sigmoid(g)) + h))`` with ``v, g = fc1(h)``; the dropout covers the residual, as in the authors' code.

    Args:
        d_model: width ``d``. dropout: probability.
    """

    def __init__(self, d_model: int, dropout: float = 0.0):
        super().__init__()
        self.fc1 = nn.Linear(d_model, 2 * d_model)
        self.fc2 = nn.Linear(d_model, d_model)
        self.norm = DropoutNorm(d_model, dropout)

    def forward(self, hidden_states: Tensor) -> Tensor:
        """``[..., d] -> [..., d]``."""
        value, gate = self.fc1(hidden_states).chunk(2, dim=-1)
        return self.norm(self.fc2(value * torch.sigmoid(gate)) + hidden_states)
