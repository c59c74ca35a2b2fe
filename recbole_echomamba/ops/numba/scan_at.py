"""The selective scan read out at one position of each row: Numba kernels, autograd function and entry.

A kernel processes one range of rows. A row is a walk through a flat list of tokens: ``count`` tokens from ``start``, each
``step`` (+1 or -1) further, so the same kernels serve padded ``[B, L]`` batches and packed ones. Channels are the inner,
vectorised axis: ``A`` comes transposed, ``[N, D]``, and ``A2`` is ``A * log2(e)``, so that ``exp(delta A) = 2 ** (delta A2)``.
Gradients of shared parameters are summed in the working precision over one row and in float64 over a range of rows.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from recbole_echomamba.ops.numba.math import LN2, LOG2E, exp2, kernel
from recbole_echomamba.ops.numba.threads import (
    add_up,
    apply_in_float,
    as_arrays,
    flatten_tokens,
    in_ranges,
    partial_sums_like,
)
from recbole_echomamba.ops.walk import Walk


def scan_at(x: Tensor, delta: Tensor, A: Tensor, B: Tensor, C_at: Tensor, D: Tensor, walk: Walk) -> Tensor:
    """See :func:`recbole_echomamba.ops.reference.scan_at`; the tokens may be padded or packed."""
    return apply_in_float(
        _ScanAt, x.dtype, flatten_tokens(x), flatten_tokens(delta), A, flatten_tokens(B), C_at, D, walk
    )


class _ScanAt(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, delta, A, B, C_at, D, walk):
        y = x.new_empty(len(walk.start), x.shape[1])
        arrays = as_arrays(x, delta, (A * LOG2E).T, B, C_at, D, y)
        in_ranges(scan_at_forward, len(y), walk.start, walk.count, walk.step, *arrays, work=walk.count)
        ctx.walk = walk
        ctx.save_for_backward(x, delta, A, B, C_at, D)
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx, dy):
        x, delta, A, B, C_at, D = ctx.saved_tensors
        walk = ctx.walk
        rows = len(walk.start)
        dx, ddelta, dB = (walk.empty_gradient(tensor) for tensor in (x, delta, B))
        dC_at = torch.empty_like(C_at, memory_format=torch.contiguous_format)
        partial_sums = partial_sums_like(rows, A.T, D)
        arrays = as_arrays(x, delta, (A * LOG2E).T, B, C_at, D, dy, dx, ddelta, dB, dC_at)
        in_ranges(
            scan_at_backward,
            rows,
            walk.start,
            walk.count,
            walk.step,
            *arrays,
            partial_sums=partial_sums,
            work=walk.count,
        )
        dA, dD = add_up(partial_sums, A.dtype)
        return dx, ddelta, dA.T, dB, dC_at, dD, None


@kernel
def scan_at_forward(first, last, start, count, step, x, delta, A2, B, C_at, D, y):
    """Forward of the scan read out at the first token of each walk: rows ``first..last`` of ``y [rows, D]``."""
    states, channels = A2.shape
    passed, weight, total = np.empty_like(x[0]), np.empty_like(x[0]), np.empty_like(x[0])
    for row in range(first, last):
        passed[:] = 0
        total[:] = 0
        for k in range(count[row]):
            t = start[row] + k * step[row]
            weight[:] = 0
            for n in range(states):
                gate = B[t, n] * C_at[row, n]
                for d in range(channels):
                    weight[d] += gate * exp2(A2[n, d] * passed[d])
            for d in range(channels):
                total[d] += delta[t, d] * x[t, d] * weight[d]
                passed[d] += delta[t, d]
        t = start[row]
        for d in range(channels):
            y[row, d] = total[d] + D[d] * x[t, d]


@kernel
def scan_at_backward(first, last, start, count, step, x, delta, A2, B, C_at, D, dy, dx, ddelta, dB, dC_at, dA, dD):
    """Gradients of :func:`scan_at`; ``dA [N, D]`` and ``dD [D]`` (float64) are this range's partial sums.

    The first loop walks away from the read-out position and leaves the gradients of ``passed`` and of ``delta x`` in
    ``ddelta`` and ``dx``; the second walks back, since every ``delta`` is part of ``passed`` at all tokens further out.
    """
    states, channels = A2.shape
    zero = x.dtype.type(0)
    passed, weight, slope = np.empty_like(x[0]), np.empty_like(x[0]), np.empty_like(x[0])
    pull, reach = np.empty_like(x[0]), np.empty_like(x[0])
    dA_row = np.empty_like(A2)
    for row in range(first, last):
        passed[:] = 0
        dA_row[:] = 0
        dC_at[row] = 0
        for k in range(count[row]):
            t = start[row] + k * step[row]
            for d in range(channels):
                weight[d] = 0
                slope[d] = 0
                pull[d] = dy[row, d] * delta[t, d] * x[t, d]
                reach[d] = pull[d] * passed[d]
            for n in range(states):
                gate = B[t, n] * C_at[row, n]
                dgate = zero
                for d in range(channels):
                    decay = exp2(A2[n, d] * passed[d])
                    gated = gate * decay
                    weight[d] += gated
                    slope[d] += gated * A2[n, d]
                    dA_row[n, d] += gated * reach[d]
                    dgate += decay * pull[d]
                dB[t, n] = dgate * C_at[row, n]
                dC_at[row, n] += dgate * B[t, n]
            for d in range(channels):
                ddelta[t, d] = pull[d] * slope[d]
                dx[t, d] = dy[row, d] * weight[d]
                passed[d] += delta[t, d]
        passed[:] = 0
        for k in range(count[row] - 1, -1, -1):
            t = start[row] + k * step[row]
            for d in range(channels):
                further = passed[d]
                passed[d] += ddelta[t, d]
                ddelta[t, d] = further * A2.dtype.type(LN2) + dx[t, d] * x[t, d]
                dx[t, d] *= delta[t, d]
        t = start[row]
        for d in range(channels):
            dx[t, d] += dy[row, d] * D[d]
            dD[d] += dy[row, d] * x[t, d]
        for n in range(states):
            for d in range(channels):
                dA[n, d] += dA_row[n, d]
