"""Causal depthwise convolution with SiLU along the walks of :mod:`.scan_at`: Numba kernels, autograd function and entry.

Seen from the read-out position, either direction looks further away: ``out_k = silu(bias + sum_m w[K-1-m] x_{k+m})``, where
``k`` counts the steps of a walk and tokens past its end are zero. The kernels take ``weight`` as ``[K, D]``.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from recbole_echomamba.ops.numba.math import LOG2E, kernel, sigmoid
from recbole_echomamba.ops.numba.threads import (
    add_up,
    apply_in_float,
    as_arrays,
    flatten_tokens,
    in_ranges,
    partial_sums_like,
)
from recbole_echomamba.ops.walk import Walk


def conv_silu(x: Tensor, weight: Tensor, bias: Tensor, walk: Walk) -> tuple[Tensor, Tensor]:
    """See :func:`recbole_echomamba.ops.reference.conv_silu`; the tokens may be padded or packed."""
    out, out_at = apply_in_float(_ConvSilu, x.dtype, flatten_tokens(x), weight.squeeze(1).T, bias, walk)
    return out.view(x.shape), out_at


class _ConvSilu(torch.autograd.Function):
    """Return the output at the read-out positions as well: taking it by an index would cost a gradient of full size."""

    @staticmethod
    def forward(ctx, x, weight, bias, walk):
        ctx.set_materialize_grads(False)
        out = walk.empty_gradient(x)
        arrays = as_arrays(x, weight, bias, out)
        in_ranges(conv_silu_forward, len(walk.start), walk.start, walk.count, walk.step, *arrays)
        ctx.walk = walk
        ctx.save_for_backward(x, weight, bias)
        return out, out[torch.from_numpy(walk.start)]

    @staticmethod
    @once_differentiable
    def backward(ctx, dout, dout_at):
        x, weight, bias = ctx.saved_tensors
        walk = ctx.walk
        rows = len(walk.start)
        dx = walk.empty_gradient(x)
        dout = torch.zeros_like(x) if dout is None else dout
        dout_at = x.new_zeros(rows, x.shape[1]) if dout_at is None else dout_at
        partial_sums = partial_sums_like(rows, weight, bias)
        arrays = as_arrays(x, weight, bias, dout, dout_at, dx)
        in_ranges(conv_silu_backward, rows, walk.start, walk.count, walk.step, *arrays, partial_sums=partial_sums)
        return dx, *add_up(partial_sums, weight.dtype), None


@kernel
def conv_silu_forward(first, last, start, count, step, x, weight, bias, out):
    """Forward for rows ``first..last``: ``out`` is like ``x``; tokens outside the walks are left alone."""
    taps, channels = weight.shape
    log2e, one = weight.dtype.type(LOG2E), weight.dtype.type(1)
    total = np.empty_like(bias)
    for row in range(first, last):
        begin, length, stride = start[row], count[row], step[row]
        for i in range(length):
            # in memory order, which is twice as fast as against it
            k = i if stride > 0 else length - 1 - i
            t = begin + k * stride
            _convolve(t, stride, min(taps, length - k), x, weight, bias, total)
            for d in range(channels):
                out[t, d] = total[d] * sigmoid(total[d], log2e, one)


@kernel
def conv_silu_backward(first, last, start, count, step, x, weight, bias, dout, dout_at, dx, dweight, dbias):
    """Gradients; the sum before SiLU is computed again. ``dweight`` and ``dbias`` (float64) are this range's partial sums.

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
                # the first gradient to reach a token is set, the others are added; it comes from the token's own place on
                # a walk down in memory, and from the furthest tap on a walk up
                is_first_write = m == 0 if stride < 0 else m == taps - 1 and k > 0
                if is_first_write:
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
