"""Step sizes, ``delta = softplus(dt W^T + b)``, in one pass: Numba kernels, autograd function and entry.

A matrix product of rank 4 leaves a CPU waiting for memory, and its gradient of ``W`` is ten times slower still. The kernels
take ``weight`` as ``[R, D]``.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from recbole_echomamba.ops.numba.math import LOG2E, kernel, sigmoid, softplus
from recbole_echomamba.ops.numba.threads import (
    add_up,
    apply_in_float,
    as_arrays,
    flatten_tokens,
    in_ranges,
    partial_sums_like,
)


def step_sizes(dt: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """See :func:`recbole_echomamba.ops.reference.step_sizes`."""
    delta = apply_in_float(_StepSizes, dt.dtype, flatten_tokens(dt), weight.T, bias)
    return delta.view(*dt.shape[:-1], len(bias))


class _StepSizes(torch.autograd.Function):
    @staticmethod
    def forward(ctx, dt, weight, bias):
        ctx.save_for_backward(dt, weight, bias)
        delta = dt.new_empty(len(dt), len(bias))
        in_ranges(step_sizes_forward, len(dt), *as_arrays(dt, weight, bias, delta))
        return delta

    @staticmethod
    @once_differentiable
    def backward(ctx, ddelta):
        dt, weight, bias = ctx.saved_tensors
        ddt = torch.empty_like(dt, memory_format=torch.contiguous_format)
        partial_sums = partial_sums_like(len(dt), weight, bias)
        arrays = as_arrays(dt, weight, bias, ddelta, ddt)
        in_ranges(step_sizes_backward, len(dt), *arrays, partial_sums=partial_sums)
        return ddt, *add_up(partial_sums, weight.dtype)


@kernel
def step_sizes_forward(first, last, dt, weight, bias, delta):
    """Rows ``first..last`` of ``delta [P, D]`` from ``dt [P, R]``, ``weight [R, D]`` and ``bias [D]``."""
    channels = len(bias)
    log2e, zero = bias.dtype.type(LOG2E), bias.dtype.type(0)
    total = np.empty_like(bias)
    for t in range(first, last):
        _project(t, dt, weight, bias, total)
        for d in range(channels):
            delta[t, d] = softplus(total[d], zero, log2e)


@kernel
def step_sizes_backward(first, last, dt, weight, bias, ddelta, ddt, dweight, dbias):
    """Gradients; ``dweight`` and ``dbias`` (float64) are this range's partial sums."""
    rank, channels = weight.shape
    log2e, one = bias.dtype.type(LOG2E), bias.dtype.type(1)
    total = np.empty_like(bias)
    dweight_block, dbias_block = np.empty_like(weight), np.empty_like(bias)
    # blocks are short enough to be summed in the working precision
    for begin in range(first, last, 64):
        dweight_block[:] = 0
        dbias_block[:] = 0
        for t in range(begin, min(begin + 64, last)):
            _project(t, dt, weight, bias, total)
            for d in range(channels):
                total[d] = ddelta[t, d] * sigmoid(total[d], log2e, one)
                dbias_block[d] += total[d]
            for r in range(rank):
                value = dt[t, r]
                gradient = bias.dtype.type(0)
                for d in range(channels):
                    dweight_block[r, d] += value * total[d]
                    gradient += weight[r, d] * total[d]
                ddt[t, r] = gradient
        for d in range(channels):
            dbias[d] += dbias_block[d]
        for r in range(rank):
            for d in range(channels):
                dweight[r, d] += dweight_block[r, d]


@kernel
def _project(t, dt, weight, bias, total):
    rank, channels = weight.shape
    total[:] = bias
    for r in range(rank):
        value = dt[t, r]
        for d in range(channels):
            total[d] += value * weight[r, d]
