"""Cross-entropy against a sample of the classes, for catalogues whose every item cannot be scored in every step.

The sum over all other classes in the normalizer is estimated by importance sampling: each of ``K`` sampled classes ``j``,
expected ``E_j`` times in the sample, stands for ``1 / E_j`` classes, so its logit is lowered by ``log E_j`` (logQ correction).
The target is never counted as sampled: it enters with its own logit, and where it is in the sample it is left out. That makes
the estimate of the normalizer unbiased, and its gradient the corrected one of Khrylchenko et al. (arXiv 2507.09331).

Several samples in a batch cost no more products than one, as each meets fewer rows, but together they reach more classes in
every step. On Amazon Beauty, one sample of a tenth of the items loses 5% of NDCG@10 against the full cross-entropy, 8 samples
lose 2% and 32 nothing (results/README.md).
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from recbole_echomamba.ops.cross_entropy import BLOCK_BYTES, MIN_ROWS


class ClassSampler:
    """Draw samples of classes in proportion to weights, and those of large weight not twice.

    A class whose share of the sample would be one or more is in every sample. The others lie along a line by falling weight,
    each as long as it is expected in the sample, and every unit of the line gives one: stratified sampling, whose estimates
    vary less than those of independent draws. Only a class on the border of two units can be drawn twice.

    Args:
        weights: ``[n]``, at least 0; a class of weight 0 is never drawn.
        size: classes in a sample, at most as many as have a weight.
    """

    def __init__(self, weights: Tensor, size: int):
        weights, self._classes = weights.double().sort(descending=True, stable=True)
        remaining = weights.flip(0).cumsum(0).flip(0)
        places = size - torch.arange(len(weights))
        # the first class whose share of the remaining places is at most one, and all after it, share them
        shared = int((weights * places <= remaining * (1 + 1e-12)).nonzero()[0])
        expected = torch.ones_like(weights)
        expected[shared:] = weights[shared:] * (places[shared] / remaining[shared])
        self._bounds = expected.cumsum(0)
        self._log_expected = expected.log().float()
        self._last = int(weights.count_nonzero()) - 1
        self.size = size

    def draw(self, samples: int, device: torch.device | str = "cpu") -> tuple[Tensor, Tensor]:
        """Draw several samples by torch's generator.

        Returns:
            The classes ``[samples, size]``, and the logarithm of how often each is expected in a sample.
        """
        points = torch.arange(self.size) + torch.rand(samples, self.size, dtype=torch.float64)
        # the sum of all shares may fall short of the size by rounding
        places = torch.searchsorted(self._bounds, points, right=True).clamp_(max=self._last)
        return self._classes[places].to(device), self._log_expected[places].to(device)


def sampled_cross_entropy(
    encoded: Tensor, target_rows: Tensor, sampled_rows: Tensor, target: Tensor, sampled: Tensor, log_expected: Tensor
) -> Tensor:
    """Estimate the mean cross-entropy over all classes from the targets and samples of the classes; a scalar.

    Row ``b`` has the sample ``b % S``: rows that follow each other, which may be of one history, have different ones.

    Args:
        encoded: ``[B, d]``.
        target_rows: ``[B, d]``, the weights of each row's class.
        sampled_rows: ``[S, K, d]``, the weights of the sampled classes.
        target: ``[B]``, the class of each row.
        sampled: ``[S, K]``, the sampled classes; one may be several times in a sample.
        log_expected: ``[S, K]``, the logarithm of how often each is expected in its sample.
    """
    if torch.is_autocast_enabled(encoded.device.type):
        encoded = encoded.to(torch.get_autocast_dtype(encoded.device.type))
    rows = max(MIN_ROWS, BLOCK_BYTES.get(encoded.device.type, 2**28) // (4 * sampled.shape[1]))
    return _SampledCrossEntropy.apply(encoded, target_rows, sampled_rows, target, sampled, log_expected, rows)


class _SampledCrossEntropy(torch.autograd.Function):
    """Compute the gradients in the forward pass, while the logits of a block of rows are in the cache."""

    @staticmethod
    def forward(ctx, encoded, target_rows, sampled_rows, target, sampled, log_expected, rows):
        # half precision (autocast) keeps its products, while the softmax and all sums are float32
        wide = torch.float64 if sampled_rows.dtype == torch.float64 else torch.float32
        narrow = sampled_rows.to(encoded.dtype)
        total = torch.zeros((), dtype=torch.float64, device=encoded.device)
        dencoded = torch.empty_like(encoded, memory_format=torch.contiguous_format)
        dtarget_rows = torch.empty_like(target_rows, memory_format=torch.contiguous_format)
        dsampled_rows = torch.zeros_like(sampled_rows, memory_format=torch.contiguous_format)
        for sample, block in _blocks(len(encoded), len(sampled), rows):
            part, own_rows = encoded[block], target_rows[block].to(encoded.dtype)
            at_target = (part * own_rows).sum(1, keepdim=True).to(wide)
            logits = (part @ narrow[sample].T).to(wide).sub_(log_expected[sample])
            logits.masked_fill_(sampled[sample] == target[block, None], -torch.inf)
            largest = torch.maximum(logits.amax(1, keepdim=True), at_target)
            exponentials = logits.sub_(largest).exp_()
            exponential_at_target = (at_target - largest).exp()
            normalizer = exponentials.sum(1, keepdim=True) + exponential_at_target
            total += (normalizer.log() + largest - at_target).sum()
            gradient = exponentials.div_(normalizer).to(encoded.dtype)
            gradient_at_target = (exponential_at_target / normalizer - 1).to(encoded.dtype)
            dencoded[block] = gradient @ narrow[sample] + gradient_at_target * own_rows
            dtarget_rows[block] = gradient_at_target * part
            dsampled_rows[sample] += gradient.T @ part
        ctx.save_for_backward(dencoded, dtarget_rows, dsampled_rows)
        return (total / len(encoded)).to(wide)

    @staticmethod
    @once_differentiable
    def backward(ctx, dloss):
        gradients = ctx.saved_tensors
        scale = dloss / len(gradients[0])
        return *(gradient * scale.to(gradient.dtype) for gradient in gradients), None, None, None, None


def _blocks(n_rows: int, samples: int, most: int) -> Iterator[tuple[int, slice]]:
    """Yield the number of a sample and at most so many of its rows, which are ``samples`` apart."""
    for sample in range(samples):
        for first in range(sample, n_rows, samples * most):
            yield sample, slice(first, min(first + samples * most, n_rows), samples)
