"""Numba kernels of the step sizes, ``delta = softplus(dt W + b)``: a projection of low rank and softplus in one pass.

A matrix product of rank 4 leaves a CPU waiting for memory, and its gradient of ``W`` is ten times slower still.
"""

from __future__ import annotations

import numpy as np

from recbole_echomamba.ops.cpu_math import LOG2E, kernel, sigmoid, softplus


@kernel
def step_sizes(first, last, dt, weight, bias, delta):
    """Rows ``first..last`` of ``delta [P, D]`` from ``dt [P, R]``, ``weight [R, D]`` and ``bias [D]``."""
    channels = len(bias)
    log2e = bias.dtype.type(LOG2E)
    total = np.empty_like(bias)
    for t in range(first, last):
        _project(t, dt, weight, bias, total)
        for d in range(channels):
            delta[t, d] = softplus(total[d], log2e)


@kernel
def step_sizes_backward(first, last, dt, weight, bias, ddelta, ddt, dweight, dbias):
    """Gradients; ``dweight`` and ``dbias`` (float64) are this range's share."""
    rank, channels = weight.shape
    log2e, one = bias.dtype.type(LOG2E), bias.dtype.type(1)
    total = np.empty_like(bias)
    dweight_block, dbias_block = np.empty_like(weight), np.empty_like(bias)
    for begin in range(first, last, 64):  # blocks short enough to sum in the working precision
        dweight_block[:] = 0
        dbias_block[:] = 0
        for t in range(begin, min(begin + 64, last)):
            _project(t, dt, weight, bias, total)
            for d in range(channels):
                total[d] = ddelta[t, d] * sigmoid(total[d], log2e, one)
                dbias_block[d] += total[d]
            for r in range(rank):
                value, gradient = dt[t, r], one - one
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
