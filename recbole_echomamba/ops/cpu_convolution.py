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
    log2e, one = weight.dtype.type(LOG2E), weight.dtype.type(1)
    total = np.empty_like(bias)
    for row in range(first, last):
        begin, length, stride = start[row], count[row], step[row]
        for i in range(length):
            k = i if stride > 0 else length - 1 - i  # memory order, twice as fast as against it
            t = begin + k * stride
            _convolve(t, stride, min(taps, length - k), x, weight, bias, total)
            for d in range(channels):
                out[t, d] = total[d] * sigmoid(total[d], log2e, one)


@kernel
def conv_silu_backward(first, last, start, count, step, x, weight, bias, dout, dout_at, dx, dweight, dbias):
    """Gradients; the sum before SiLU is computed again. ``dweight`` and ``dbias`` (float64) are this range's share.

    ``dout_at`` belongs to the first token of each walk.
    """
    taps, channels = weight.shape
    log2e, one = weight.dtype.type(LOG2E), weight.dtype.type(1)
    slope = np.empty_like(bias)
    dweight_row, dbias_row = np.empty_like(weight), np.empty_like(bias)
    for row in range(first, last):
        begin, length, stride = start[row], count[row], step[row]
        dweight_row[:] = 0
        dbias_row[:] = 0
        for k in range(min(taps, length)):
            dx[begin + k * stride] = 0
        for i in range(length):
            k = i if stride > 0 else length - 1 - i
            t = begin + k * stride
            reach = min(taps, length - k)
            _convolve(t, stride, reach, x, weight, bias, slope)
            for d in range(channels):
                s = sigmoid(slope[d], log2e, one)
                outer = dout[t, d] + dout_at[row, d] if k == 0 else dout[t, d]
                grad = outer * s * (one + slope[d] * (one - s))
                slope[d] = grad
                dbias_row[d] += grad
            for m in range(reach):
                far = t + m * stride
                for d in range(channels):
                    dweight_row[taps - 1 - m, d] += slope[d] * x[far, d]
                # the first gradient to reach a token is set: from its own place or from the furthest tap
                if (m == 0) if stride < 0 else (m == taps - 1 and k > 0):
                    for d in range(channels):
                        dx[far, d] = slope[d] * weight[taps - 1 - m, d]
                else:
                    for d in range(channels):
                        dx[far, d] += slope[d] * weight[taps - 1 - m, d]
        for d in range(channels):
            dbias[d] += dbias_row[d]
        for m in range(taps):
            for d in range(channels):
                dweight[m, d] += dweight_row[m, d]


@kernel
def _convolve(t, stride, reach, x, weight, bias, total):
    taps, channels = weight.shape
    total[:] = bias
    for m in range(reach):
        far = t + m * stride
        for d in range(channels):
            total[d] += weight[taps - 1 - m, d] * x[far, d]
