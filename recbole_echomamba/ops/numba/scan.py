"""The selective scan over all positions: Numba kernels, autograd function and entry.

Rows, walks and ``A2`` are those of :mod:`.scan_at`. Nothing of size ``B * L * D * N`` is kept: the forward pass keeps one state
in ``CHUNK``, from which the backward pass computes the others again.
"""

from __future__ import annotations

import math

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

CHUNK = 16
"""Steps from one kept state to the next, and states held at once in the backward pass."""


def selective_scan(
    x: Tensor, delta: Tensor, A: Tensor, B: Tensor, C: Tensor, D: Tensor, reverse: bool = False
) -> Tensor:
    """See :func:`recbole_echomamba.ops.reference.selective_scan`."""
    walk = Walk.over_all(x.shape[0], x.shape[1], x.device, reverse)
    x_, delta_, B_, C_ = (flatten_tokens(tensor) for tensor in (x, delta, B, C))
    return apply_in_float(_Scan, x.dtype, x_, delta_, A, B_, C_, D, walk).view(x.shape)


class _Scan(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, delta, A, B, C, D, walk):
        y = torch.empty_like(x, memory_format=torch.contiguous_format)
        rows = len(walk.start)
        channels, states = A.shape
        # without a backward pass no state is kept
        chunks = 0
        if any(ctx.needs_input_grad):
            chunks = math.ceil(walk.count.max(initial=0) / CHUNK)
        kept = x.new_empty(rows, chunks, states, channels)
        arrays = as_arrays(x, delta, (A * LOG2E).T, B, C, D, y, kept)
        in_ranges(scan_forward, rows, *walk.towards_position(), *arrays)
        ctx.walk = walk
        ctx.save_for_backward(x, delta, A, B, C, D, kept)
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx, dy):
        x, delta, A, B, C, D, kept = ctx.saved_tensors
        walk = ctx.walk
        rows = len(walk.start)
        dx, ddelta, dB = (walk.empty_gradient(tensor) for tensor in (x, delta, B))
        dC = torch.empty_like(C, memory_format=torch.contiguous_format)
        partial_sums = partial_sums_like(rows, A.T, D)
        arrays = as_arrays(x, delta, (A * LOG2E).T, B, C, D, kept, dy, dx, ddelta, dB, dC)
        in_ranges(scan_backward, rows, *walk.towards_position(), *arrays, partial_sums=partial_sums, work=walk.count)
        dA, dD = add_up(partial_sums, A.dtype)
        return dx, ddelta, dA.T, dB, dC, dD, None


@kernel
def scan_forward(first, last, start, count, step, x, delta, A2, B, C, D, y, kept):
    """Forward of the scan at every token of each walk, in walking order; ``y`` is like ``x``.

    ``kept [rows, chunks, N, D]`` gets the state before every ``CHUNK``-th step; nothing when it has no chunks.
    """
    states, channels = A2.shape
    h, out = np.empty_like(A2), np.empty_like(x[0])
    for row in range(first, last):
        h[:] = 0
        for k in range(count[row]):
            t = start[row] + k * step[row]
            if k % CHUNK == 0 and kept.shape[1]:
                kept[row, k // CHUNK] = h
            for d in range(channels):
                out[d] = D[d] * x[t, d]
            for n in range(states):
                b, c = B[t, n], C[t, n]
                for d in range(channels):
                    state = exp2(A2[n, d] * delta[t, d]) * h[n, d] + b * delta[t, d] * x[t, d]
                    h[n, d] = state
                    out[d] += c * state
            y[t] = out


@kernel
def scan_backward(first, last, start, count, step, x, delta, A2, B, C, D, kept, dy, dx, ddelta, dB, dC, dA, dD):
    """Gradients of :func:`scan_forward`, chunk by chunk from the last; the states inside a chunk are computed again.

    ``dA [N, D]`` and ``dD [D]`` (float64) are this range's partial sums.
    """
    states, channels = A2.shape
    zero = x.dtype.type(0)
    du, slope = np.empty_like(x[0]), np.empty_like(x[0])
    dh, dA_row = np.empty_like(A2), np.empty_like(A2)
    inside = np.empty((CHUNK + 1, states, channels), A2.dtype)
    decays = np.empty((CHUNK, states, channels), A2.dtype)
    for row in range(first, last):
        dh[:] = 0
        dA_row[:] = 0
        for chunk in range((count[row] - 1) // CHUNK, -1, -1):
            begin = chunk * CHUNK
            end = min(begin + CHUNK, count[row])
            inside[0] = kept[row, chunk]
            for k in range(begin, end):
                t = start[row] + k * step[row]
                before, after, decay = inside[k - begin], inside[k - begin + 1], decays[k - begin]
                for n in range(states):
                    b = B[t, n]
                    for d in range(channels):
                        factor = exp2(A2[n, d] * delta[t, d])
                        decay[n, d] = factor
                        after[n, d] = factor * before[n, d] + b * delta[t, d] * x[t, d]
            for k in range(end - 1, begin - 1, -1):
                t = start[row] + k * step[row]
                before, after, decay = inside[k - begin], inside[k - begin + 1], decays[k - begin]
                du[:] = 0
                slope[:] = 0
                for n in range(states):
                    b, c = B[t, n], C[t, n]
                    db, dc = zero, zero
                    for d in range(channels):
                        grad = dh[n, d] + c * dy[t, d]
                        dc += dy[t, d] * after[n, d]
                        db += grad * delta[t, d] * x[t, d]
                        du[d] += grad * b
                        grad *= decay[n, d]
                        dh[n, d] = grad
                        grad *= before[n, d]
                        slope[d] += grad * A2[n, d]
                        dA_row[n, d] += grad * delta[t, d]
                    dB[t, n] = db
                    dC[t, n] = dc
                for d in range(channels):
                    ddelta[t, d] = slope[d] * A2.dtype.type(LN2) + du[d] * x[t, d]
                    dx[t, d] = du[d] * delta[t, d] + D[d] * dy[t, d]
                    dD[d] += dy[t, d] * x[t, d]
        for n in range(states):
            for d in range(channels):
                dA[n, d] += dA_row[n, d]
