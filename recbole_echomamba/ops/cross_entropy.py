"""Cross-entropy of a linear layer's outputs without keeping them: logits over two million items need 17 GB at once."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.checkpoint import checkpoint

LOGITS_BYTES = 2**28
"""Logits ``[rows, n]`` held at a time; smaller ones are computed in one piece."""


def linear_cross_entropy(encoded: Tensor, weight: Tensor, target: Tensor) -> Tensor:
    """Mean cross-entropy of ``encoded @ weight.T`` against ``target``, a scalar.

    Args:
        encoded: ``[B, d]``. weight: ``[n, d]``. target: ``[B]``, classes.

    Where the logits are large they are computed for some rows at a time, with their gradients: by PyTorch's own function, which
    appeared in 2.13, or in chunks that are recomputed in the backward pass.
    """
    rows = max(1, LOGITS_BYTES // (4 * len(weight)))
    if rows >= len(encoded):
        return F.cross_entropy(encoded @ weight.T, target)
    if hasattr(F, "linear_cross_entropy") and not torch.is_autocast_enabled(encoded.device.type):
        options = torch.nn.LinearCrossEntropyOptions(batch_chunk_size=rows, chunking_method=None)
        return F.linear_cross_entropy(encoded, weight, target, options=options)
    return in_chunks(encoded, weight, target, rows)


def in_chunks(encoded: Tensor, weight: Tensor, target: Tensor, rows: int) -> Tensor:
    """:func:`linear_cross_entropy`, ``rows`` at a time."""

    def summed(encoded, target):
        return F.cross_entropy(encoded @ weight.T, target, reduction="sum")

    parts = zip(encoded.split(rows), target.split(rows), strict=True)
    return sum(checkpoint(summed, *part, use_reentrant=False) for part in parts) / len(target)
