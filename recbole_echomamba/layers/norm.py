"""Dropout, residual connection and LayerNorm, which close every sub-layer of the models."""

from __future__ import annotations

from torch import Tensor, nn

from recbole_echomamba import ops


class DropoutNorm(nn.LayerNorm):
    """Compute ``LN(Dropout(x) + residual)``, in one pass where the backend can.

    Args:
        d_model: width ``d``.
        dropout: probability.
        eps: added to the variance.
    """

    def __init__(self, d_model: int, dropout: float = 0.0, eps: float = 1e-12):
        super().__init__(d_model, eps=eps)
        self.dropout = dropout

    def forward(self, x: Tensor, residual: Tensor | None = None) -> Tensor:
        """Normalise ``[..., d] -> [..., d]``; without ``residual`` there is no residual connection."""
        dropout = self.dropout if self.training else 0.0
        return ops.dropout_norm(x, residual, self.weight, self.bias, dropout, self.eps)
