"""Cross-entropy over the outputs of a linear layer without holding them: logits over two million items would take 17 GB.

Rows are taken a block at a time. The forward pass already computes the gradients of a block while its logits are in the cache, so
the backward pass only scales them and no logits are computed twice.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

BLOCK_BYTES = {"cpu": 2**20, "cuda": 2**28}
"""Bytes of one block of logits ``[rows, n]``: about a core's cache on a CPU; on a GPU, enough to keep it busy."""

MIN_ROWS = 32
"""Fewer rows than this make matrix products slow, however many classes there are."""


def linear_cross_entropy(encoded: Tensor, weight: Tensor, target: Tensor) -> Tensor:
    """Compute the mean cross-entropy of ``encoded @ weight.T`` against ``target``; a scalar.

    Args:
        encoded: ``[B, d]``.
        weight: ``[n, d]``, one row per class.
        target: ``[B]``, the class of each row.
    """
    if torch.is_autocast_enabled(encoded.device.type):
        encoded = encoded.to(torch.get_autocast_dtype(encoded.device.type))
    rows = BLOCK_BYTES.get(encoded.device.type, 2**28) // (4 * len(weight))
    return _LinearCrossEntropy.apply(encoded, weight, target, max(MIN_ROWS, rows))


class _LinearCrossEntropy(torch.autograd.Function):
    @staticmethod
    def forward(ctx, encoded, weight, target, rows):
        with_gradients = any(ctx.needs_input_grad[:2])
        # half precision (autocast) keeps its products, while the softmax and all sums are float32
        wide = torch.float64 if weight.dtype == torch.float64 else torch.float32
        narrow_weight = weight.to(encoded.dtype)
        total = torch.zeros((), dtype=torch.float64, device=encoded.device)
        dencoded = torch.empty_like(encoded, memory_format=torch.contiguous_format)
        dweight = torch.zeros_like(weight, memory_format=torch.contiguous_format)
        for start in range(0, len(encoded), rows):
            part, classes = encoded[start : start + rows], target[start : start + rows, None]
            logits = (part @ narrow_weight.T).to(wide)
            largest = logits.amax(1, keepdim=True)
            at_target = logits.gather(1, classes)
            exponentials = logits.sub_(largest).exp_()
            normalizer = exponentials.sum(1, keepdim=True)
            total += (normalizer.log() + largest - at_target).sum()
            if not with_gradients:
                continue
            # the gradient of the logits: softmax minus the one-hot target
            gradient = exponentials.div_(normalizer)
            gradient.scatter_add_(1, classes, gradient.new_full((1, 1), -1.0).expand_as(classes))
            gradient = gradient.to(encoded.dtype)
            torch.mm(gradient, narrow_weight, out=dencoded[start : start + rows])
            dweight += gradient.T @ part
        ctx.save_for_backward(dencoded, dweight)
        return (total / len(encoded)).to(wide)

    @staticmethod
    @once_differentiable
    def backward(ctx, dloss):
        dencoded, dweight = ctx.saved_tensors
        scale = dloss / len(dencoded)
        return dencoded * scale.to(dencoded.dtype), dweight * scale.to(dweight.dtype), None, None
