"""A forward and a backward Mamba side by side, as EchoMamba4Rec pairs them (arXiv 2406.02638, section 3.3)."""

from __future__ import annotations

from torch import Tensor, nn

from recbole_echomamba import ops
from recbole_echomamba.layers.mamba import Mamba
from recbole_echomamba.layers.norm import DropoutNorm


class BidirectionalMamba(nn.Module):
    """``LN(Dropout(Mamba_f(h)) + h) + LN(Dropout(Mamba_b(h)) + h)``; separate weights, the backward one reads right to left.

    Args:
        d_model: width ``d``. dropout: probability. mamba: arguments of :class:`Mamba`.
    """

    def __init__(self, d_model: int, dropout: float = 0.0, **mamba):
        super().__init__()
        self.forward_mamba = Mamba(d_model, **mamba)
        self.backward_mamba = Mamba(d_model, **mamba)
        self.forward_norm = DropoutNorm(d_model, dropout, eps=1e-5)
        self.backward_norm = DropoutNorm(d_model, dropout, eps=1e-5)

    def forward(self, hidden_states: Tensor) -> Tensor:
        """``[B, L, d] -> [B, L, d]``."""
        return self._merge(
            self.forward_mamba(hidden_states), self.backward_mamba(hidden_states, reverse=True), hidden_states
        )

    def forward_at(self, hidden_states: Tensor, position: Tensor) -> Tensor:
        """The output at one position of each row: ``[B, L, d], [B] -> [B, d]``.

        The forward branch walks slots ``0..T``, the backward one ``T..L-1``: ``L + 1`` steps instead of ``2 L``.
        """
        at, (ahead, behind) = ops.walks_from(hidden_states, position, (False, True))
        return self._merge(
            self.forward_mamba.forward_along(*ahead, at), self.backward_mamba.forward_along(*behind, at), at
        )

    def _merge(self, ahead: Tensor, behind: Tensor, residual: Tensor) -> Tensor:
        return self.forward_norm(ahead, residual) + self.backward_norm(behind, residual)
