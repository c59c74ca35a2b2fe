"""A learnable filter in the frequency domain (EchoMamba4Rec, arXiv 2406.02638, section 3.2; FMLP-Rec, arXiv 2202.13556)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from recbole_echomamba import ops
from recbole_echomamba.layers.norm import DropoutNorm


class SpectralFilter(nn.Module):
    """``LN(Dropout(irfft(rfft(h) * W)) + h)``: a circular convolution over all ``L`` slots, one kernel per channel.

    Args:
        d_model: width ``d``. length: the fixed number of slots ``L``. dropout: probability.
    """

    def __init__(self, d_model: int, length: int, dropout: float = 0.0):
        super().__init__()
        self.length = length
        self.weight = nn.Parameter(0.02 * torch.randn(length // 2 + 1, d_model, 2))  # real and imaginary part
        self.norm = DropoutNorm(d_model, dropout)

    def forward(self, hidden_states: Tensor) -> Tensor:
        """``[B, L, d] -> [B, L, d]``; raises ValueError when ``L`` is not the length the filter was built for."""
        if hidden_states.shape[1] != self.length:
            raise ValueError(f"the filter is built for {self.length} slots, the input has {hidden_states.shape[1]}")
        return self.norm(ops.spectral_filter(hidden_states, self.weight), hidden_states)
