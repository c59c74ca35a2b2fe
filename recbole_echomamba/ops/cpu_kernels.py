"""Numba kernels of the selective scan: loops over one range of rows, no Python objects, no lock.

A row is a walk through a flat list of tokens: ``count`` of them from ``start``, each ``step`` (+1 or -1) further. The same
kernels serve padded ``[B, L]`` batches and packed ones. Channels are the inner, vectorised axis, so ``A`` comes
transposed, ``[N, D]``, and ``A2`` is ``A * log2(e)``: ``exp(delta A) = 2 ** (delta A2)``. Gradients of shared parameters
are summed in the working precision over one row and in float64 over a range of rows.
"""

from __future__ import annotations

import numpy as np

from recbole_echomamba.ops.cpu_math import LN2, exp2, kernel

CHUNK = 16
"""Steps whose states are kept at once in the backward pass of the full scan."""


@kernel
def scan_at(first, last, start, count, step, x, delta, A2, B, C_at, D, y):
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
    """Gradients of :func:`scan_at`; ``dA [N, D]`` and ``dD [D]`` (float64) are this range's share.

    The first loop walks away from the read-out position and leaves the gradients of ``passed`` and of ``delta x`` in
    ``ddelta`` and ``dx``; the second walks back, since every ``delta`` is part of ``passed`` at all tokens further out.
    """
    states, channels = A2.shape
    zero = np.zeros_like(x[0])
    passed, weight, slope, pull, reach = (zero.copy(), zero.copy(), zero.copy(), zero.copy(), zero.copy())
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
                dgate = zero[0]
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


@kernel
def scan(first, last, start, count, step, x, delta, A2, B, C, D, y):
    """Forward of the scan at every token of each walk, in walking order; ``y`` is like ``x``."""
    states, channels = A2.shape
    h, out = np.empty_like(A2), np.empty_like(x[0])
    for row in range(first, last):
        h[:] = 0
        for k in range(count[row]):
            t = start[row] + k * step[row]
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
def scan_backward(first, last, start, count, step, x, delta, A2, B, C, D, dy, dx, ddelta, dB, dC, dA, dD):
    """Gradients of :func:`scan`. The states are recomputed: one in ``CHUNK`` over the row, then all inside a chunk."""
    states, channels = A2.shape
    zero = np.zeros_like(x[0])
    du, slope = zero.copy(), zero.copy()
    dh, dA_row, h = np.empty_like(A2), np.empty_like(A2), np.empty_like(A2)
    longest = 0
    for row in range(first, last):
        longest = max(longest, count[row])
    kept = np.empty(((longest + CHUNK - 1) // CHUNK, states, channels), A2.dtype)
    inside = np.empty((CHUNK + 1, states, channels), A2.dtype)
    for row in range(first, last):
        h[:] = 0
        dh[:] = 0
        dA_row[:] = 0
        for k in range(count[row]):
            t = start[row] + k * step[row]
            if k % CHUNK == 0:
                kept[k // CHUNK] = h
            for n in range(states):
                b = B[t, n]
                for d in range(channels):
                    h[n, d] = exp2(A2[n, d] * delta[t, d]) * h[n, d] + b * delta[t, d] * x[t, d]
        for chunk in range((count[row] - 1) // CHUNK, -1, -1):
            begin = chunk * CHUNK
            end = min(begin + CHUNK, count[row])
            inside[0] = kept[chunk]
            for k in range(begin, end):
                t = start[row] + k * step[row]
                before, after = inside[k - begin], inside[k - begin + 1]
                for n in range(states):
                    b = B[t, n]
                    for d in range(channels):
                        after[n, d] = exp2(A2[n, d] * delta[t, d]) * before[n, d] + b * delta[t, d] * x[t, d]
            for k in range(end - 1, begin - 1, -1):
                t = start[row] + k * step[row]
                before, after = inside[k - begin], inside[k - begin + 1]
                du[:] = 0
                slope[:] = 0
                for n in range(states):
                    b, c = B[t, n], C[t, n]
                    db, dc = zero[0], zero[0]
                    for d in range(channels):
                        grad = dh[n, d] + c * dy[t, d]
                        dc += dy[t, d] * after[n, d]
                        db += grad * delta[t, d] * x[t, d]
                        du[d] += grad * b
                        grad *= exp2(A2[n, d] * delta[t, d])
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
