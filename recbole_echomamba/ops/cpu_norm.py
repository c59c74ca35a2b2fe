"""Numba kernels of dropout, residual connection and LayerNorm in one pass.

The mask is a hash of ``seed`` and the number of the element, so the backward pass computes it again and threads share no
generator. torch draws masks one number after the other, on one thread.
"""

from __future__ import annotations

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from recbole_echomamba.ops.cpu_math import kernel


@intrinsic
def _uniform(typingctx, index, seed):
    """A number in ``[0, 1)`` with 24 random bits: two rounds of a 32-bit finaliser (C. Wellons' ``lowbias32``)."""

    def codegen(context, builder, signature, args):
        def number(value):
            return ir.Constant(ir.IntType(32), value)

        def mix(h):
            h = builder.mul(builder.xor(h, builder.lshr(h, number(16))), number(0x7FEB352D))
            h = builder.mul(builder.xor(h, builder.lshr(h, number(15))), number(0x846CA68B))
            return builder.xor(h, builder.lshr(h, number(16)))

        h = builder.lshr(mix(builder.add(mix(args[0]), args[1])), number(8))
        return builder.fmul(builder.sitofp(h, ir.FloatType()), ir.Constant(ir.FloatType(), 2.0**-24))

    return types.float32(types.int32, types.int32), codegen


@kernel
def dropout_norm(first, last, seed, p, scale, eps, x, residual, weight, bias, out, mean, rstd):
    """Rows ``first..last`` of ``out = LN(dropout(x) + residual)``; ``residual`` is empty when there is none."""
    width = x.shape[1]
    total = np.empty_like(weight)
    for row in range(first, last):
        _add_dropped(row, seed, p, scale, x, residual, total)
        average = weight.dtype.type(0)
        for d in range(width):
            average += total[d]
        average /= width
        variance = weight.dtype.type(0)
        for d in range(width):
            variance += (total[d] - average) ** 2
        deviation = 1 / np.sqrt(variance / width + eps)
        mean[row] = average
        rstd[row] = deviation
        for d in range(width):
            out[row, d] = (total[d] - average) * deviation * weight[d] + bias[d]


@kernel
def dropout_norm_backward(
    first, last, seed, p, scale, x, residual, weight, mean, rstd, dout, dx, dresidual, dweight, dbias
):
    """Gradients of :func:`dropout_norm`; ``dweight`` and ``dbias`` (float64) are this range's share."""
    width = x.shape[1]
    total = np.empty_like(weight)
    for row in range(first, last):
        _add_dropped(row, seed, p, scale, x, residual, total)
        plain, along = weight.dtype.type(0), weight.dtype.type(0)
        for d in range(width):
            total[d] = (total[d] - mean[row]) * rstd[row]
            pull = dout[row, d] * weight[d]
            plain += pull
            along += pull * total[d]
            dweight[d] += dout[row, d] * total[d]
            dbias[d] += dout[row, d]
        plain /= width
        along /= width
        for d in range(width):
            total[d] = rstd[row] * (dout[row, d] * weight[d] - plain - total[d] * along)
        if len(dresidual):
            for d in range(width):
                dresidual[row, d] = total[d]
        if p > 0:
            base = np.int32(row * width)
            for d in range(width):
                dx[row, d] = total[d] * scale if _uniform(np.int32(base + d), seed) >= p else 0
        else:
            for d in range(width):
                dx[row, d] = total[d]


@kernel
def _add_dropped(row, seed, p, scale, x, residual, total):
    width = x.shape[1]
    if p > 0:
        base = np.int32(row * width)
        for d in range(width):
            total[d] = x[row, d] * scale if _uniform(np.int32(base + d), seed) >= p else 0
    else:
        for d in range(width):
            total[d] = x[row, d]
    if len(residual):
        for d in range(width):
            total[d] += residual[row, d]
