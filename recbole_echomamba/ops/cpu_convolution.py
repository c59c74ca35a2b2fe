"""Numba kernels of the depthwise convolution with SiLU, over the walks of :mod:`.cpu_kernels`.

Seen from the read-out position, either direction looks further away: ``out_k = silu(bias + sum_m w[K-1-m] x_{k+m})``,
where ``k`` counts steps of the walk and steps past its end are zero. ``weight`` is ``[K, D]``.
"""

from __future__ import annotations

import numpy as np

from recbole_echomamba.ops.cpu_math import LOG2E, kernel, sigmoid


@kernel
def conv_silu(first, last, start, count, step, x, weight, bias, out):
    """Forward for rows ``first..last``: ``out`` is like ``x``; tokens outside the walks are left alone."""
    taps, channels = weight.shape
    log2e = weight.dtype.type(LOG2E)
    for row in range(first, last):
        for k in range(count[row]):
            t = start[row] + k * step[row]
            out[t] = bias
            for m in range(min(taps, count[row] - k)):
                far = t + m * step[row]
                for d in range(channels):
                    out[t, d] += weight[taps - 1 - m, d] * x[far, d]
            for d in range(channels):
                out[t, d] *= sigmoid(out[t, d], log2e)


@kernel
def conv_silu_backward(first, last, start, count, step, x, weight, bias, dout, dx, dweight, dbias):
    """Gradients; the sum before SiLU is computed again. ``dx`` starts at zero, the other two are this range's share."""
    taps, channels = weight.shape
    log2e = weight.dtype.type(LOG2E)
    slope = np.empty_like(bias)
    dweight_row, dbias_row = np.empty_like(weight), np.empty_like(bias)
    for row in range(first, last):
        dweight_row[:] = 0
        dbias_row[:] = 0
        for k in range(count[row]):
            t = start[row] + k * step[row]
            reach = min(taps, count[row] - k)
            slope[:] = bias
            for m in range(reach):
                far = t + m * step[row]
                for d in range(channels):
                    slope[d] += weight[taps - 1 - m, d] * x[far, d]
            for d in range(channels):
                s = sigmoid(slope[d], log2e)
                slope[d] = dout[t, d] * s * (1 + slope[d] * (1 - s))
                dbias_row[d] += slope[d]
            for m in range(reach):
                far = t + m * step[row]
                for d in range(channels):
                    dweight_row[taps - 1 - m, d] += slope[d] * x[far, d]
                    dx[far, d] += slope[d] * weight[taps - 1 - m, d]
        for d in range(channels):
            dbias[d] += dbias_row[d]
        for m in range(taps):
            for d in range(channels):
                dweight[m, d] += dweight_row[m, d]


@kernel
def copy_rows(first, last, source, index, target):
    """``target[i] = source[index[i]]`` for ``i`` in ``first..last``."""
    for i in range(first, last):
        target[i] = source[index[i]]


@kernel
def spread_rows(first, last, source, index, target):
    """``target[index[i]] = source[i]``; no index occurs twice."""
    for i in range(first, last):
        target[index[i]] = source[i]
